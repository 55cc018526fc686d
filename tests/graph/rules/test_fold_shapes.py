import numpy as np
import pytest

from lepton_ai.graph.rules.fold_shapes import FoldShapes

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
WEIGHTS = """
<int64 zero = {0}, int64 one = {1}, int64[1] ax0 = {0}, int64[1] heads = {4}, int64[1] width = {2},
 int64[1] rest = {-1}, int64[1] seven = {7}, int64[1] first = {0}, int64[1] two = {2}>
"""
X = np.random.default_rng(0).normal(size=(3, 5, 8)).astype("f")


def sites(done):
    return [firing.site for firing in done.ledger.firings]


def weight(done, name):
    return done.model.graph.initializers[name].const_value.numpy().tolist()


def reshaped(done, node="Reshape"):
    found = next(one for one in done.model.graph if one.op_type == node)
    return found.inputs[1].const_value.numpy().tolist()


def test_a_shape_of_sizes_that_are_copied_is_written_down(apply):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x) => (float[n, m, 4, 2] y)
    """
        + WEIGHTS
        + """
    {
        s = Shape (x)
        a = Gather <axis = 0> (s, zero)  b = Gather <axis = 0> (s, one)
        c = Unsqueeze (a, ax0)  d = Unsqueeze (b, ax0)
        t = Concat <axis = 0> (c, d, heads, width)
        y = Reshape (x, t)
    }
    """
    )
    done = apply(FoldShapes, text, {"x": X})
    assert "y:1" in sites(done)
    assert done.operators == {"Reshape": 1}
    assert reshaped(done) == [0, 0, 4, 2]


def test_one_size_is_inferred_where_the_others_are_numbers(apply):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x) => (float[p, 8] y)
    """
        + WEIGHTS
        + """
    {
        s = Shape (x)
        a = Gather <axis = 0> (s, zero)  b = Gather <axis = 0> (s, one)
        p = Mul (a, b)  c = Unsqueeze (p, ax0)
        e = Constant <value_ints = [8]> ()
        t = Concat <axis = 0> (c, e)
        y = Reshape (x, t)
    }
    """
    )
    assert reshaped(apply(FoldShapes, text, {"x": X})) == [-1, 8]


def test_one_size_is_not_inferred_where_there_may_be_no_elements(apply):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x) => (float[n, p] y)
    """
        + WEIGHTS
        + """
    {
        s = Shape (x)  a = Shape <start = 0, end = 1> (x)  b = Shape <start = 1, end = 2> (x)
        e = Constant <value_ints = [8]> ()
        p = Mul (b, e)
        t = Concat <axis = 0> (a, p)
        y = Reshape (x, t)
    }
    """
    )
    done = apply(FoldShapes, text, {"x": X})
    assert "y:1" not in sites(done)
    assert "where another size may be zero" in done.ledger.near_misses[0].why
    # It does have none, and the shape that is computed says how many.
    assert apply(FoldShapes, text, {"x": X[:0]}).after["y"].shape == (0, 40)


def test_two_sizes_that_depend_on_the_call_are_a_near_miss(apply):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x) => (float[m, n, 8] y)
    {
        a = Shape <start = 0, end = 1> (x)  b = Shape <start = 1, end = 2> (x)
        c = Shape <start = 2, end = 3> (x)
        t = Concat <axis = 0> (b, a, c)
        y = Reshape (x, t)
    }
    """
    )
    done = apply(FoldShapes, text, {"x": X})
    assert sites(done) == ["c"]
    assert "m, n" in done.ledger.near_misses[0].why


def test_zeros_that_mean_none_are_not_copies(apply):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x, float[4, k] z) => (float[n, m, 8] y)
    <int64[1] none = {0}>
    {
        a = Shape <start = 0, end = 1> (x)
        t = Concat <axis = 0> (a, none)
        e = Slice (z, none, none)
        w = Reshape <allowzero = 1> (e, t)
        s = ReduceSum <keepdims = 0> (w)
        y = Add (x, s)
    }
    """
    )
    done = apply(FoldShapes, text, {"x": X, "z": np.ones((4, 2), "f")})
    assert "w:1" not in sites(done)
    assert "no elements" in done.ledger.near_misses[0].why


def test_where_zero_means_zero_a_copied_axis_is_still_copied(apply):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x) => (float[n, p] y)
    <int64[1] rest = {-1}>
    { a = Shape <end = 1> (x)  t = Concat <axis = 0> (a, rest)  y = Reshape <allowzero = 1> (x, t) }
    """
    )
    done = apply(FoldShapes, text, {"x": X})
    assert reshaped(done) == [0, -1]
    assert "allowzero" not in next(iter(done.model.graph)).attributes


def test_a_widening_keeps_the_axes_that_stay(apply):
    text = (
        HEAD
        + """
    g (float[n, 1, 8] x) => (float[2, n, 7, 8] y)
    """
        + WEIGHTS
        + """
    {
        a = Shape <start = 0, end = 1> (x)
        e = Constant <value_ints = [8]> ()
        t = Concat <axis = 0> (two, a, seven, e)
        y = Expand (x, t)
    }
    """
    )
    done = apply(FoldShapes, text, {"x": X[:, :1]})
    assert reshaped(done, "Expand") == [2, 1, 7, 8]


def test_a_widening_to_a_size_of_the_call_is_a_near_miss(apply):
    text = (
        HEAD
        + """
    g (float[n, 1] x, float[m] z) => (float[n, m] y)
    <int64[1] one = {1}>
    { a = Shape (z)  t = Concat <axis = 0> (one, a)  y = Expand (x, t) }
    """
    )
    done = apply(FoldShapes, text, {"x": X[:, :1, 0], "z": X[0, 0]})
    assert done.ledger.firings == []
    assert done.ledger.near_misses[0].why == "it is widened to a size that depends on the call: m"


def test_minus_one_in_an_exported_widening_is_chosen_away(apply):
    text = (
        HEAD
        + """
    g (float[n, 1, 8] x) => (float[n, 1, 8] y)
    <int64[1] keep = {-1}, int64[3] minus = {-1, -1, -1}, int64[3] ones = {1, 1, 1},
        int64[1] e = {8}>
    {
        a = Shape <start = 0, end = 1> (x)
        t = Concat <axis = 0> (a, keep, e)
        q = Equal (t, minus)
        w = Where (q, ones, t)
        y = Expand (x, w)
    }
    """
    )
    done = apply(FoldShapes, text, {"x": X[:, :1]})
    assert done.operators == {"Expand": 1}
    assert reshaped(done, "Expand") == [1, 1, 8]


@pytest.mark.parametrize(("bits", "dtype"), [(7, "int64"), (6, "int32")])
def test_an_end_that_is_the_size_of_the_axis_is_to_the_last(apply, bits, dtype):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x, float[n, m] z) => (float[n, m, 8] y)
    <DTYPE[1] first = {0}, DTYPE[1] axis = {1}>
    {
        a = Shape <start = 1, end = 2> (z)  e = Cast <to = BITS> (a)
        y = Slice (x, first, e, axis)
    }
    """.replace("BITS", str(bits)).replace("DTYPE", dtype)
    )
    done = apply(FoldShapes, text, {"x": X, "z": X[:, :, 0]})
    assert sites(done)[-1] == "y:2"
    assert done.operators == {"Slice": 1}


def test_a_size_that_is_known_is_a_constant(apply):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x) => (float[n, m, 8] y)
    <int64 last = {-1}>
    { s = Shape (x)  a = Gather <axis = 0> (s, last)  f = Cast <to = 1> (a)  y = Div (x, f) }
    """
    )
    done = apply(FoldShapes, text, {"x": X})
    assert sites(done) == ["a"]
    assert done.operators == {"Cast": 1, "Div": 1}
    assert weight(done, "a_known") == 8


def test_sizes_of_one_name_are_computed_once(apply):
    text = (
        HEAD
        + """
    g (float[n, m] x, float[n, k] z) => (float[n] y, float[k] w)
    <float start = {0.0}, int64 i = {0}>
    {
        a = Shape <start = 0, end = 1> (x)
        b = Shape <start = 0, end = 1> (z)
        c = Shape <start = 1, end = 2> (z)
        p = ConstantOfShape (a)  q = ConstantOfShape (b)  w = ConstantOfShape (c)
        y = Add (p, q)
    }
    """
    )
    done = apply(FoldShapes, text, {"x": X[0], "z": X[0, :, :3]})
    assert sites(done) == ["b"]
    assert done.operators["Shape"] == 2


def test_a_size_that_went_with_its_reader_is_not_shared(apply):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x, float[k, k] z) => (float[n, m, 8] y, float[n, m, 8] w)
    <int64[1] e = {8}>
    {
        a = Shape <start = 0, end = 2> (x)  t = Concat <axis = 0> (a, e)
        y = Reshape (x, t)
        b = Shape <start = 0, end = 2> (y)  u = Concat <axis = 0> (b, e)
        w = ConstantOfShape (u)
    }
    """
    )
    done = apply(FoldShapes, text, {"x": X, "z": X[0, :2, :2]})
    assert done.operators == {"Reshape": 1, "Shape": 1, "Concat": 1, "ConstantOfShape": 1}


def test_a_part_of_a_shape_is_asked_for_at_once(apply):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x) => (float[n] y, float[m, k] z)
    """
        + WEIGHTS
        + """
    {
        s = Shape (x)  a = Gather <axis = 0> (s, zero)  b = Unsqueeze (a, ax0)
        y = ConstantOfShape (b)
        r = Relu (x)  t = Shape (r)  c = Slice (t, two, rest)  d = Slice (t, heads, seven)
        f = Concat <axis = 0> (c, d)  v = Shape <start = 1> (x)
        z = ConstantOfShape (v)
    }
    """
    )
    done = apply(FoldShapes, text, {"x": X})
    assert "b:part" in sites(done)
    assert done.operators == {"Shape": 2, "ConstantOfShape": 2}


def test_what_an_output_declares_is_not_believed(apply):
    text = (
        HEAD
        + """
    g (float[n, m] x, int64[1] s) => (float[n] y, float[k] z)
    {
        y = ConstantOfShape (s)
        a = Shape (y)  b = Shape <start = 0, end = 1> (x)
        p = ConstantOfShape (a)  q = ConstantOfShape (b)
        z = Concat <axis = 0> (p, q)
    }
    """
    )
    done = apply(FoldShapes, text, {"x": X[0], "s": np.int64([2])})
    assert done.after["z"].shape == (7,)


def test_a_loop_runs_with_sizes_of_its_own(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    g (float[n] x) => (float[k] y, float[n] z)
    <int64 times = {3}, bool yes = {1}>
    {
        s = Shape (x)
        y = Loop (times, yes, x) <body = b (int64 i, bool c, float[n] grown) =>
            (bool go, float[m] next)
            {
                go = Identity (c)
                t = Shape (grown)
                u = ConstantOfShape (t)
                o = ConstantOfShape (s)
                next = Concat <axis = 0> (grown, u, o)
            }
        >
        z = ConstantOfShape (s)
    }
    """
    done = apply(FoldShapes, text, {"x": X[0, 0]})
    assert "t" not in sites(done)
    assert done.after["y"].shape == (8 * 8 + 7 * 8,)


def test_a_branch_shares_what_was_computed_outside(apply):
    text = (
        HEAD
        + """
    g (bool c, float[n, m] x, float[n] w) => (float[n] y, float[n] z)
    {
        a = Shape <end = 1> (x)
        z = ConstantOfShape (a)
        y = If (c) <
            then_branch = t () => (float[n] u) { b = Shape (w)  d = ConstantOfShape (b)
                u = Add (d, w) },
            else_branch = e () => (float[n] v) { v = Relu (w) }
        >
    }
    """
    )
    done = apply(FoldShapes, text, {"c": np.array(True), "x": X[0], "w": X[0, :, 0]})
    assert sites(done) == ["b"]


def test_denied_sites_stay(apply):
    text = (
        HEAD
        + """
    g (float[n, m, 8] x) => (float[n, p] y)
    <int64[1] rest = {-1}>
    { a = Shape <end = 1> (x)  t = Concat <axis = 0> (a, rest)  y = Reshape (x, t) }
    """
    )
    done = apply(FoldShapes, text, {"x": X}, denied=frozenset({"y:1"}))
    assert done.operators == {"Shape": 1, "Concat": 1, "Reshape": 1}


@pytest.mark.parametrize(
    ("dtype", "to", "most"), [("int64", 7, 2**63 - 1), ("int32", 6, 2**31 - 1)]
)
def test_arithmetic_that_wraps_around_is_left_to_the_engine(apply, dtype, to, most):
    text = f"""
    {HEAD}
    g (float[3, 4] x, {dtype}[2] z) => ({dtype}[2] y) <{dtype}[1] most = {{{most}}}>
    {{ s = Shape (x)  c = Cast <to = {to}> (s)  a = Add (c, most)  y = Add (a, z) }}
    """
    done = apply(FoldShapes, text, {"x": np.zeros((3, 4), "f"), "z": np.zeros(2, dtype)})
    assert "a" not in sites(done)


def test_a_range_may_be_empty_where_its_end_is_below_its_start(apply):
    text = (
        HEAD
        + """
    g (float[n, 4] x) => (int64[1] y)
    <int64 zero = {0}, int64 one = {1}, int64 five = {5}, int64[1] first = {0}, int64[1] k = {1}>
    {
        s = Shape (x)  n = Gather (s, zero)  m = Sub (n, five)
        r = Range (zero, m, one)  t = Shape (r)  u = Add (t, k)
        v = Unsqueeze (m, first)  w = Add (v, k)  y = Sub (u, w)
    }
    """
    )
    apply(FoldShapes, text, {"x": np.zeros((3, 4), "f")})
