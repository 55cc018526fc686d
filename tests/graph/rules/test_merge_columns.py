import numpy as np

from lepton_ai.graph.rules.merge_columns import MergeColumns

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("f")


STACKED = (
    HEAD
    + """
g (float[batch, 4] x) => (float[batch, N] y)
<int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2}, int64 i3 = {-1}, int64[1] one = {1}>
{
    c0 = Gather <axis = 1> (x, i0)
    c1 = Gather <axis = 1> (x, i1)
    c2 = Gather <axis = 1> (x, i2)
    c3 = Gather <axis = 1> (x, i3)
    u0 = Unsqueeze (c0, one)
    u1 = Unsqueeze (c1, one)
    u2 = Unsqueeze (c2, one)
    u3 = Unsqueeze (c3, one)
    z = Concat <axis = 1> (ORDER)
    y = Neg (z)
}
"""
)


def stacked(order, count):
    return STACKED.replace("ORDER", order).replace("N", str(count), 1)


def test_columns_put_together_as_they_were_are_the_tensor_itself(apply):
    done = apply(MergeColumns, stacked("u0, u1, u2, u3", 4), {"x": draw(3, 4)})
    assert done.operators == {"Neg": 1}


def test_columns_in_another_order_are_taken_out_together(apply):
    done = apply(MergeColumns, stacked("u3, u1, u0", 3), {"x": draw(3, 4)})
    assert done.operators == {"Gather": 1, "Neg": 1}


def test_neighbouring_columns_are_one_slice(apply):
    done = apply(MergeColumns, stacked("u1, u2, u3", 3), {"x": draw(3, 4)})
    assert done.operators == {"Slice": 1, "Neg": 1}


def test_a_column_put_in_twice_is_taken_out_twice(apply):
    done = apply(MergeColumns, stacked("u0, u2, u2", 3), {"x": draw(3, 4)})
    assert done.operators == {"Gather": 1, "Neg": 1}
    assert np.array_equal(done.after["y"][:, 1], done.after["y"][:, 2])


def test_what_stands_between_columns_stays_between_them(apply):
    text = stacked("u0, u1, x, u2, u3", 8)
    done = apply(MergeColumns, text, {"x": draw(3, 4)})
    assert done.operators == {"Split": 1, "Concat": 1, "Neg": 1}


def test_a_column_that_is_an_output_stays(apply):
    text = stacked("u0, u1, u2, u3", 4).replace(") y)", ") y, float[batch] c1)")
    text = text.replace("[batch, 4] y)", "[batch, 4] y, float[batch] c1)")
    done = apply(MergeColumns, text, {"x": draw(3, 4)})
    assert done.operators == {"Gather": 1, "Neg": 1}
    assert done.after["c1"].shape == (3,)


def test_a_concat_that_is_an_output_keeps_its_name(apply):
    text = stacked("u0, u1, u2, u3", 4).replace("y = Neg (z)", "").replace("    z =", "    y =")
    done = apply(MergeColumns, text, {"x": draw(3, 4)})
    assert done.operators == {"Identity": 1}


def test_a_denied_site_is_left_alone(apply):
    text = stacked("u0, u1, u2, u3", 4)
    done = apply(MergeColumns, text, {"x": draw(3, 4)}, denied=frozenset({"z:x:0:0"}))
    assert done.operators["Concat"] == 1


SLICES = (
    HEAD
    + """
g (float[batch, 6] x) => (float[batch, 2] a, float[batch, W] b)
<int64[1] zero = {0}, int64[1] two = {2}, int64[1] end = {END}, int64[1] axis = {1}>
{
    a0 = Slice (x, zero, two, axis)
    b0 = Slice (x, START, end, axis)
    a = Neg (a0)
    b = Exp (b0)
}
"""
)


def slices(start="two", end="9223372036854775807", width=4):
    return SLICES.replace("START", start).replace("END", end).replace("W", str(width), 1)


def test_slices_that_cover_a_tensor_are_one_split(apply):
    done = apply(MergeColumns, slices(), {"x": draw(3, 6)})
    assert done.operators == {"Split": 1, "Neg": 1, "Exp": 1}
    assert [firing.site for firing in done.ledger.firings] == ["a0"]


def test_slices_that_leave_something_out_or_overlap_stay(apply):
    for text in (slices(end="5", width=3), slices(start="zero", end="6", width=6)):
        done = apply(MergeColumns, text, {"x": draw(3, 6)})
        assert done.operators["Slice"] == 2


def test_slices_along_a_size_that_is_not_known_stay(apply):
    text = (
        slices()
        .replace("float[batch, 6] x", "float[batch, n] x")
        .replace("batch, 4] b", "batch, m] b")
    )
    done = apply(MergeColumns, text, {"x": draw(3, 6)})
    assert done.operators["Slice"] == 2


def test_slices_of_a_shape_are_left_to_be_folded(apply):
    text = (
        HEAD
        + """
g (float[a, b] x) => (int64[1] y, int64[1] z)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}>
{
    s = Shape (x)
    y = Slice (s, zero, one)
    z = Slice (s, one, two)
}
"""
    )
    done = apply(MergeColumns, text, {"x": draw(3, 6)})
    assert done.operators["Slice"] == 2


def test_columns_that_cover_a_tensor_but_lose_its_axis_are_a_near_miss(apply):
    text = (
        HEAD
        + """
g (float[batch, 2] x) => (float[batch] y, float[batch] z)
<int64 zero = {0}, int64 one = {1}>
{
    y = Gather <axis = 1> (x, zero)
    z = Gather <axis = 1> (x, one)
}
"""
    )
    done = apply(MergeColumns, text, {"x": draw(3, 2)})
    assert done.ledger.firings == []
    assert "an axis" in done.ledger.near_misses[0].why


PACKED = (
    HEAD
    + """
g (float[batch, tokens, 24] x) => (float[batch, 2, tokens, 4] q, float[batch, 2, tokens, 4] k,
                                   float[batch, 2, tokens, 4] v)
<int64[5] target = {TARGET}, int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2}>
{
    r = Reshape (x, target)
    t = Transpose <perm = [2, 0, 3, 1, 4]> (r)
    q = Gather (t, i0)
    k = Gather (t, i1)
    v = Gather (t, i2)
}
"""
)


def test_query_key_and_value_told_apart_by_index_are_split_by_heads(apply):
    text = PACKED.replace("TARGET", "0, 0, 3, 2, 4")
    done = apply(MergeColumns, text, {"x": draw(2, 5, 24)})
    assert done.operators == {"Reshape": 1, "Transpose": 1, "Split": 1}


def test_a_packed_projection_that_is_read_elsewhere_is_left(apply):
    text = PACKED.replace("TARGET", "0, 0, 3, 2, 4").replace(
        "v = Gather (t, i2)", "v = Gather (t, i2)\n    w = ReduceSum <keepdims = 0> (t)"
    )
    text = text.replace("tokens, 4] v)", "tokens, 4] v, float w)")
    done = apply(MergeColumns, text, {"x": draw(2, 5, 24)})
    assert done.operators["Gather"] == 3


def test_before_opset_13_attributes_say_what_inputs_say_since(apply):
    text = slices().replace('"" : 17', '"" : 12')
    done = apply(MergeColumns, text, {"x": draw(3, 6)})
    split = next(node for node in done.model.graph if node.op_type == "Split")
    assert list(split.attributes.get_ints("split")) == [2, 4]


def test_a_branch_puts_columns_of_the_outer_graph_together(apply):
    text = (
        HEAD
        + """
g (bool flag, float[batch, 2] x) => (float[batch, 2] y)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}>
{
    y = If (flag) <
        then_branch = t () => (float[batch, 2] yt) {
            a = Slice (x, zero, one, one)
            b = Slice (x, one, two, one)
            c = Concat <axis = 1> (b, a)
            d = Concat <axis = 1> (a, b)
            yt = Add (c, d)
        },
        else_branch = e () => (float[batch, 2] ye) { ye = Neg (x) }
    >
}
"""
    )
    done = apply(MergeColumns, text, {"flag": np.array(True), "x": draw(3, 2)})
    assert done.operators == {"If": 1, "Gather": 1, "Add": 1, "Neg": 1}


def test_before_opset_10_a_stretch_is_gathered(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 9]>
    g (float[n, 4] x) => (float[n, 2] y) <int64[1] a = {1}, int64[1] b = {2}>
    {
        p = Gather <axis = 1> (x, a)
        q = Gather <axis = 1> (x, b)
        c = Concat <axis = 1> (p, q)
        y = Neg (c)
    }
    """
    done = apply(MergeColumns, text, {"x": draw(3, 4)})
    assert done.operators == {"Gather": 1, "Neg": 1}


def test_a_slice_of_no_axis_is_no_column(apply):
    text = HEAD + "g (float[n, 2] x) => (float[n, 2] y) <int64[0] e = {}> { y = Slice (x, e, e) }"
    assert apply(MergeColumns, text, {"x": draw(3, 2)}).ledger.firings == []
