import numpy as np
import onnx_ir as ir
import pytest

from lepton_ai.graph.rule import Ledger
from lepton_ai.graph.rules.merge_chains import MergeChains

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
X = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("f") * 4


def chain(nodes, given="float[n, 3, m, 5] x", gives="float[a, b, c, d] y", weights=""):
    return HEAD + f"g ({given}) => ({gives}) {weights} {{ {nodes} }}"


def sites(done):
    return [firing.site for firing in done.ledger.firings]


# Casts


@pytest.mark.parametrize(
    ("given", "between", "last", "left"),
    [
        ("bool", 1, 6, 1),
        ("int32", 7, 1, 1),
        ("float16", 1, 11, 1),
        ("int8", 10, 1, 1),
        ("float", 11, 10, 1),
        ("int32", 11, 6, 0),
        # These lose something on the way.
        ("float", 10, 1, 2),
        ("double", 1, 10, 2),
        ("float", 6, 1, 2),
        ("int32", 1, 6, 2),
        ("int64", 6, 7, 2),
        ("uint8", 3, 6, 2),
        ("float", 9, 1, 2),
    ],
)
def test_casts_merge_where_the_first_loses_nothing(apply, given, between, last, left):
    text = chain(
        f"p = Identity (x) a = Cast <to = {between}> (p)  b = Cast <to = {last}> (a) "
        "y = Cast <to = 7> (b)",
        f"{given}[n] x",
        "int64[n] y",
    )
    dtype = {"float": "f", "double": "d"}.get(given, given)
    feed = {"x": np.array([0, 1, 3, 1, 100]).astype(dtype)}
    done = apply(MergeChains, text, feed, denied=frozenset({"y<b", "y<a", "y<p"}))
    assert done.operators["Cast"] == left + 1
    if left == 2:
        assert "does not hold each value" in done.ledger.near_misses[0].why


# Bounds

NUMBERS = """<float low = {-1.0}, float zero = {0.0}, float high = {2.0}, float six = {6.0},
float minus = {-3.0}, float[1] row = {1.5}, float[5] rows = {1.0, 2.0, 3.0, 4.0, 5.0}>"""


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ("a = Relu (x)  y = Relu (a)", {"Relu": 1}),
        ("a = Relu (x)  y = Clip (a, zero, six)", {"Clip": 1}),
        ("a = Clip (x, zero, six)  y = Relu (a)", {"Clip": 1}),
        ("a = Clip (x, low, six)  y = Relu (a)", {"Clip": 1}),
        ("a = Clip (x, low, six)  y = Clip (a, zero, high)", {"Clip": 1}),
        ("a = Clip (x, , high)  y = Clip (a, low)", {"Clip": 1}),
        ("a = Max (x, zero)  y = Min (a, six)", {"Clip": 1}),
        ("a = Min (x, six)  y = Max (a, zero)", {"Clip": 1}),
        ("a = Max (x, zero)  y = Max (a, row)", {"Max": 1}),
        ("a = Min (x, row)  y = Min (a, six)", {"Min": 1}),
        ("a = Relu (x)  b = Min (a, six)  y = Max (b, row)", {"Clip": 1}),
        # Bounds that cross: the last ones hold.
        ("a = Clip (x, minus, low)  y = Clip (a, zero, six)", {"Clip": 1}),
        ("a = Clip (x, high, six)  y = Clip (a, minus, low)", {"Clip": 1}),
        ("a = Clip (x, minus, low)  y = Relu (a)", {"Clip": 1}),
        ("a = Clip (x, six, low)  y = Max (a, minus)", {"Clip": 1}),
        # Not lone numbers.
        ("a = Max (x, rows)  y = Min (a, six)", {"Max": 1, "Min": 1}),
    ],
)
def test_bounds_merge(apply, nodes, left):
    x = X.copy()
    x.flat[:3] = np.nan, np.inf, -np.inf
    text = chain(nodes, gives="float[n, 3, m, 5] y", weights=NUMBERS)
    done = apply(MergeChains, text, {"x": x})
    assert done.operators == left
    np.testing.assert_array_equal(done.before["y"], done.after["y"])


def test_bounds_that_are_read_in_between_stay(apply):
    text = chain(
        "a = Max (x, low)  b = Min (a, six)  c = Add (a, b)  d = Relu (c)  e = Relu (d)  "
        "y = Add (d, e)",
        gives="float[n, 3, m, 5] y",
        weights=NUMBERS,
    )
    done = apply(MergeChains, text, {"x": X})
    # The second Relu has nothing to do, whoever reads the first.
    assert sites(done) == ["e<d"]
    assert "read elsewhere" in done.ledger.near_misses[0].why


def test_bounds_in_half_precision(apply):
    text = chain("a = Clip (x)  y = Relu (a)", "float16[n] x", "float16[n] y")
    feed = {"x": np.array([-np.inf, np.inf, 3, -3], dtype=np.float16)}
    done = apply(MergeChains, text, feed)
    assert done.operators == {"Clip": 1}
    np.testing.assert_array_equal(done.before["y"], done.after["y"])


# Twice


@pytest.mark.parametrize(("operator", "left"), [("Neg", 0), ("Abs", 1), ("Floor", 1), ("Sign", 1)])
def test_the_same_twice(apply, operator, left):
    text = chain(
        f"p = Exp (x)  a = {operator} (p)  b = {operator} (a)  y = Exp (b)",
        gives="float[n, 3, m, 5] y",
    )
    assert apply(MergeChains, text, {"x": X}).operators[operator] == left


def test_a_pair_between_an_input_and_an_output_stays(apply):
    done = apply(MergeChains, chain("a = Neg (x)  y = Neg (a)"), {"x": X})
    assert done.ledger.firings == []
    assert "computed by a node" in done.ledger.near_misses[0].why


# Reshapes

SHAPES = """<int64[2] flat = {0, -1}, int64[3] three = {-1, 3, 5}, int64[4] back = {-1, 3, 4, 5},
int64[1] ax0 = {0}, int64[1] ax1 = {1}, int64[1] ax2 = {2}, int64[2] both = {0, 2},
int64[1] last = {-1}, float two = {2.0}, int64[3] bundled = {-1, 0, 5}>"""


STATIC = "float[n, 3, 4, 5] x"
DYNAMIC = "float[n, k, m, 5] x"


@pytest.mark.parametrize(
    ("nodes", "left", "given", "rank"),
    [
        ("a = Reshape (x, flat)  y = Reshape (a, three)", {"Reshape": 1}, STATIC, 3),
        ("a = Flatten (x)  y = Reshape (a, three)", {"Reshape": 1}, STATIC, 3),
        ("a = Reshape (x, three)  y = Flatten (a)", {"Reshape": 1}, STATIC, 2),
        ("a = Unsqueeze (x, ax0)  y = Unsqueeze (a, last)", {"Unsqueeze": 1}, DYNAMIC, 6),
        ("a = Unsqueeze (x, ax2)  y = Unsqueeze (a, ax1)", {"Unsqueeze": 1}, DYNAMIC, 6),
        ("a = Unsqueeze (x, ax0)  y = Reshape (a, flat)", {"Reshape": 1}, DYNAMIC, 2),
        # Cancelling.
        (
            "p = Exp (x)  a = Unsqueeze (p, ax2)  b = Squeeze (a, ax2)  y = Exp (b)",
            {"Exp": 2},
            DYNAMIC,
            4,
        ),
        (
            "p = Exp (x)  a = Reshape (p, flat)  b = Reshape (a, back)  y = Exp (b)",
            {"Exp": 2},
            STATIC,
            4,
        ),
        # What is copied lies between, and two sizes depend on the call.
        (
            "a = Reshape (x, bundled)  y = Unsqueeze (a, ax1)",
            {"Reshape": 1, "Unsqueeze": 1},
            DYNAMIC,
            4,
        ),
        # Element by element in between.
        (
            "p = Exp (x)  a = Reshape (p, flat)  b = Relu (a)  y = Reshape (b, back)",
            {"Exp": 1, "Relu": 1},
            STATIC,
            4,
        ),
        (
            "a = Reshape (x, flat)  b = Mul (two, a)  c = Sub (b, two)  y = Reshape (c, three)",
            {"Reshape": 1, "Mul": 1, "Sub": 1},
            STATIC,
            3,
        ),
        (
            "a = Reshape (x, flat)  b = Softmax (a)  y = Reshape (b, back)",
            {"Reshape": 2, "Softmax": 1},
            STATIC,
            4,
        ),
    ],
)
def test_reshapes_merge(apply, nodes, left, given, rank):
    gives = f"float[{', '.join('abcdef'[:rank])}] y"
    done = apply(MergeChains, chain(nodes, given, gives, SHAPES), {"x": X})
    assert done.operators == left


def test_squeezes_merge(apply):
    text = chain(
        "a = Squeeze (x, both)  y = Squeeze (a, ax1)",
        "float[1, n, 1, 1, m] x",
        "float[n, m] y",
        SHAPES,
    )
    done = apply(MergeChains, text, {"x": X[:1, :1].reshape(1, 4, 1, 1, 5)})
    assert done.operators == {"Squeeze": 1}
    squeeze = next(iter(done.model.graph))
    assert squeeze.inputs[1].const_value.numpy().tolist() == [0, 2, 3]


def test_a_reshape_that_others_read_is_passed_by(apply):
    text = chain(
        "a = Reshape (x, flat)  b = Reshape (a, three)  c = Exp (b)  "
        "d = ReduceSum <keepdims = 0> (a)  "
        "y = Add (c, d)",
        "float[n, 3, 4, 5] x",
        "float[p, 3, 5] y",
        SHAPES,
    )
    done = apply(MergeChains, text, {"x": X})
    assert sites(done) == ["b<a"]
    assert done.operators["Reshape"] == 2


def test_a_reshape_that_is_an_output_stays_one(apply):
    text = chain(
        "p = Exp (x)  a = Reshape (p, flat)  b = Reshape (a, back)  y = Exp (b)",
        "float[n, 3, 4, 5] x",
        "float[n, 60] a, float[n, 3, 4, 5] y",
        SHAPES,
    )
    assert apply(MergeChains, text, {"x": X}).operators == {"Exp": 2, "Reshape": 1}


# Transposes


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        (
            "a = Transpose <perm = [1, 0, 2, 3]> (x)  y = Transpose <perm = [0, 2, 1, 3]> (a)",
            {"Transpose": 1},
        ),
        ("a = Transpose (x)  y = Transpose <perm = [0, 2, 1, 3]> (a)", {"Transpose": 1}),
        ("p = Exp (x)  a = Transpose (p)  b = Transpose (a)  y = Exp (b)", {"Exp": 2}),
        (
            "p = Exp (x) a = Transpose <perm = [1, 2, 0, 3]> (p)  b = Relu (a)  "
            "y = Transpose <perm = [2, 0, 1, 3]> (b)",
            {"Exp": 1, "Relu": 1},
        ),
        (
            "a = Transpose <perm = [1, 2, 0, 3]> (x)  b = Relu (a)  c = Neg (b)  "
            "y = Transpose <perm = [1, 2, 0, 3]> (c)",
            {"Transpose": 1, "Relu": 1, "Neg": 1},
        ),
        (
            "a = Transpose <perm = [1, 2, 0, 3]> (x)  b = Softmax (a)  "
            "y = Transpose <perm = [2, 0, 1, 3]> (b)",
            {"Transpose": 2, "Softmax": 1},
        ),
        (
            "a = Reshape (x, three)  b = Transpose <perm = [0, 2, 1]> (a)  y = Reshape (b, four)",
            {"Transpose": 1},
        ),
        (
            "a = Reshape (x, three)  b = Transpose <perm = [0, 2, 1]> (a)  y = Reshape (b, other)",
            {"Reshape": 2, "Transpose": 1},
        ),
        (
            "t = Transpose <perm = [0, 2, 1, 3]> (x) a = Reshape (t, bundle)  "
            "b = Transpose <perm = [0, 2, 1]> (a)  y = Reshape (b, unbundle)",
            {"Transpose": 1},
        ),
        (
            "t = Transpose <perm = [0, 2, 1, 3]> (x)  e = Exp (t)  a = Reshape (e, bundle)  "
            "b = Transpose <perm = [0, 2, 1]> (a)  y = Reshape (b, unbundle)",
            {"Transpose": 1, "Exp": 1},
        ),
    ],
)
def test_transposes_merge(apply, nodes, left):
    weights = """<int64[3] three = {-1, 4, 5}, int64[4] four = {-1, 3, 5, 4},
        int64[4] other = {-1, 3, 4, 5},
    int64[3] bundle = {-1, 3, 5}, int64[4] unbundle = {-1, 4, 5, 3}>"""
    done = apply(MergeChains, chain(nodes, "float[n, 3, 4, 5] x", weights=weights), {"x": X})
    assert done.operators == left


def test_a_transpose_of_axes_of_one_is_a_reshape_among_reshapes(apply):
    text = chain(
        "a = Reshape (x, wide)  b = Transpose <perm = [0, 2, 1, 3]> (a)  y = Reshape (b, flat)",
        "float[n, 3, 4, 5] x",
        "float[n, 60] y",
        "<int64[4] wide = {0, 1, 12, 5}, int64[2] flat = {-1, 60}>",
    )
    assert apply(MergeChains, text, {"x": X}).operators == {"Reshape": 1}


def test_a_transpose_that_is_an_output_stays(apply):
    text = chain(
        "p = Exp (x)  a = Transpose (p)  b = Transpose (a)  y = Exp (b)",
        gives="float[5, m, 3, n] a, float[n, 3, m, 5] y",
    )
    assert apply(MergeChains, text, {"x": X}).operators == {"Exp": 2, "Transpose": 1}


LAST = "<perm = [0, 2, 3, 1]>"
FIRST = "<perm = [0, 3, 1, 2]>"


def test_a_sum_of_what_was_transposed_is_transposed_later(apply):
    text = chain(
        f"s = Softmax (x)  a = Transpose {FIRST} (s)  b = Transpose {FIRST} (x)  c = Add (a, b)  "
        f"d = Transpose {LAST} (c)  e = Softmax (d)  f = Softmax <axis = 1> (c)  "
        f"h = Transpose {LAST} (f)  y = Sub (e, h)",
        "float[n, 3, m, 5] x",
    )
    done = apply(MergeChains, text, {"x": X})
    assert done.operators == {"Softmax": 3, "Add": 1, "Sub": 1, "Transpose": 2}


def test_a_residual_in_another_order_moves_the_transpose_to_where_it_spares_one(apply):
    text = chain(
        f"s = Softmax (x)  a = Transpose {FIRST} (s)  c = Mul (a, z)  d = Transpose {LAST} (c)  "
        "y = Softmax (d)",
        "float[n, 3, m, 5] x, float[n, 5, 3, 1] z",
        "float[n, 3, m, 5] y",
    )
    done = apply(MergeChains, text, {"x": X, "z": X[:, :3, :1].transpose(0, 3, 1, 2)})
    assert sites(done) == ["d:lift"]
    assert done.operators == {"Softmax": 2, "Mul": 1, "Transpose": 1}


def test_of_another_rank_a_residual_is_not_transposed(apply):
    text = chain(
        f"s = Softmax (x)  a = Transpose {FIRST} (s)  c = Mul (a, z)  d = Transpose {LAST} (c)  "
        "y = Softmax (d)",
        "float[n, 3, m, 5] x, float[m] z",
        "float[n, 3, m, 5] y",
    )
    done = apply(MergeChains, text, {"x": X, "z": X[0, 0, :, 0]})
    assert done.ledger.firings == []


# Slices

CUTS = """<int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] i3 = {3},
    int64[1] i5 = {5},
int64[1] back = {-1}, int64[1] end = {9223372036854775807},
    int64[1] start = {-9223372036854775808}>"""


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ("a = Slice (x, i1, i3, i1)  y = Slice (a, i1, i5, i3, i2)", 1),
        ("a = Slice (x, i0, end, i2, i2)  y = Slice (a, i1, end, i3, i2)", 1),
        ("a = Slice (x, i1, end, i3)  y = Slice (a, i1, i3, i3)", 1),
        ("a = Slice (x, i0, end, i3, i2)  y = Slice (a, i1, end, i3)", 1),
        ("a = Slice (x, back, start, i3, back)  y = Slice (a, i1, end, i3, i2)", 1),
        ("a = Slice (x, i3, end, i3)  y = Slice (a, back, start, i3, back)", 1),
        ("a = Slice (x, i1, end, i3)  y = Slice (a, i5, end, i3)", 1),
        # How far the first goes depends on the call.
        ("a = Slice (x, i1, end, i2)  y = Slice (a, i1, end, i2)", 2),
    ],
)
def test_slices_merge(apply, nodes, left):
    text = chain(nodes, weights=CUTS)
    done = apply(MergeChains, text, {"x": X})
    assert done.operators["Slice"] == left


def test_slices_that_share_out_an_axis_are_a_split(apply):
    text = chain(
        "a = Slice (x, i2, end, i3)  b = Slice (x, i0, i1, i3)  c = Slice (x, i1, i2, i3)  "
        "d = Slice (x, i1, i3, i1)  y = Exp (a)  z = Exp (c)  w = Exp (d)",
        gives="float[n, 3, m, 3] y, float[n, 3, m, 1] b, float[n, 3, m, 1] z, float[n, 2, m, 5] w",
        weights=CUTS,
    )
    done = apply(MergeChains, text, {"x": X})
    assert sites(done) == ["b"]
    assert done.operators == {"Split": 1, "Slice": 1, "Exp": 3}


def test_slices_that_leave_something_out_or_overlap_stay(apply):
    text = chain(
        "a = Slice (x, i1, end, i3)  b = Slice (x, i0, i2, i3)  c = Slice (x, i0, i1, i1)  "
        "d = Slice (x, i2, end, i1)  y = Exp (a)  z = Exp (b)  w = Exp (c)  v = Exp (d)",
        gives="float[n, 3, m, 4] y, float[n, 3, m, 2] z, float[n, 1, m, 5] w, float[n, 1, m, 5] v",
        weights=CUTS,
    )
    assert apply(MergeChains, text, {"x": X}).ledger.firings == []


# Joins


def test_joins_of_joins_are_one(apply):
    text = chain(
        "a = Concat <axis = 1> (w, x)  b = Concat <axis = 1> (x, w, x)  "
        "c = Concat <axis = 0> (x, x)  "
        "d = Exp (c)  e = Slice (d, i0, i2)  y = Concat <axis = -3> (w, a, e, b)",
        "float[2, 3, 4, 5] x",
        weights=CUTS,
    )
    done = apply(MergeChains, text, {"x": X}, {"w": X[:, :1]})
    assert sites(done) == ["y"]
    joined = list(done.model.graph)[-1]
    assert [value.name for value in joined.inputs] == ["w", "w", "x", "e", "x", "w", "x"]


def test_a_join_that_others_read_stays(apply):
    text = chain(
        "a = Concat <axis = 1> (x, x)  b = Concat <axis = 1> (a, x)  "
        "c = ReduceSum <keepdims = 0> (a)  y = Add (b, c)"
    )
    assert apply(MergeChains, text, {"x": X}).ledger.firings == []


@pytest.mark.parametrize(
    ("axis", "left"), [(3, {"Exp": 2}), (1, {"Exp": 2, "Split": 1, "Concat": 1})]
)
def test_a_join_undoes_its_split(apply, axis, left):
    text = chain(
        f"p = Exp (x)  a, b = Split <axis = 3> (p)  c = Concat <axis = {axis}> (a, b)  y = Exp (c)",
        "float[n, 3, m, 4] x",
    )
    assert apply(MergeChains, text, {"x": X[..., :4]}).operators == left


def test_a_join_in_another_order_does_not_undo_a_split(apply):
    text = chain(
        "p = Exp (x)  a, b = Split <axis = 3> (p)  c = Concat <axis = 3> (b, a)  y = Exp (c)",
        "float[n, 3, m, 4] x",
    )
    assert apply(MergeChains, text, {"x": X[..., :4]}).ledger.firings == []


# Pads


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        ("(x, p)", "(a, q)", 1),
        ("(x, p, zero)", "(a, q)", 1),
        ("(x, p, one)", "(a, q, one)", 1),
        ("(x, p, one)", "(a, q)", 2),
        ("(x, p)", "(a, cut)", 2),
        ('<mode = "edge"> (x, p)', "(a, q)", 2),
    ],
)
def test_pads_merge(apply, first, second, left):
    text = chain(
        f"a = Pad {first}  y = Pad {second}",
        weights="""<int64[8] p = {0, 1, 0, 2, 0, 0, 3, 0}, int64[8] q = {1, 1, 0, 0, 0, 0, 0, 4},
        int64[8] cut = {0, -1, 0, 0, 0, 0, 0, 0}, float zero = {0.0}, float one = {1.0}>""",
    )
    assert apply(MergeChains, text, {"x": X}).operators == {"Pad": left}


# Everywhere


def test_inside_branches_with_what_is_outside(apply):
    text = (
        HEAD
        + """
    g (bool c, float[n, 3] x) => (float[n, 3] y)
    {
        e = Exp (x)
        a = Transpose (e)
        y = If (c) <
            then_branch = t () => (float[n, 3] u) { p = Transpose (a)  u = Relu (p) },
            else_branch = f () => (float[n, 3] v) { v = Transpose (a) }
        >
    }
    """
    )
    done = apply(MergeChains, text, {"c": np.array(True), "x": X[:, :, 0, 0]})
    assert sites(done) == ["p<a"]
    assert done.operators["Transpose"] == 2


def test_denied_sites_stay(apply):
    text = chain("a = Relu (x)  b = Relu (a)  y = Relu (b)", gives="float[n, 3, m, 5] y")
    done = apply(MergeChains, text, {"x": X}, denied=frozenset({"b<a", "y<b"}))
    assert done.operators["Relu"] == 3


def test_a_long_chain_takes_linear_time(write):
    nodes = " ".join(f"a{i} = Transpose (a{i - 1})  " for i in range(1, 4001))
    model = ir.load(
        write(HEAD + f"g (float[n, m] a0) => (float[n, m] y) {{ {nodes} y = Relu (a4000) }}")
    )
    ledger = Ledger(rule="merge-chains")
    MergeChains().apply(model, ledger)
    assert [node.op_type for node in model.graph] == ["Relu"]
    assert len(ledger.firings) == 2000


def test_how_a_number_is_spelt_depends_on_the_first_cast(apply):
    text = chain("a = Cast <to = 11> (x) y = Cast <to = 8> (a)", "float[n] x", "string[n] y")
    assert apply(MergeChains, text, {"x": np.float32([0.1, 2])}).ledger.firings == []


@pytest.mark.parametrize(("opset", "left"), [(11, {"Max": 1, "Min": 1}), (12, {"Clip": 1})])
def test_doubles_are_clipped_where_engines_can(apply, opset, left):
    text = chain("a = Max (x, low)  y = Min (a, high)", "double[n] x", "double[n] y")
    text = text.replace("17", str(opset))
    text = text.replace("{ a", "<double low = {0.0}, double high = {6.0}> { a")
    assert apply(MergeChains, text, {"x": np.array([-1.0, 2.0, 7.0])}).operators == left


def test_a_declared_output_of_another_size_is_not_written_down(apply):
    text = chain(
        "r = Reshape (x, t) y = Flatten (r)",
        "float[n, 2, 3] x",
        "float[1, 6] y",
        "<int64[3] t = {0, 3, 2}>",
    )
    apply(MergeChains, text, {"x": np.zeros((4, 2, 3), "f")})


def test_joins_that_follow_one_another_are_merged_in_one_go(apply):
    count = 300
    steps = "".join(f"c{at} = Concat <axis = 1> (c{at - 1}, x) " for at in range(1, count))
    text = chain(f"c0 = Concat <axis = 1> (x, x) {steps} y = Neg (c{count - 1})")
    done = apply(MergeChains, text, {"x": X})
    assert done.operators == {"Concat": 1, "Neg": 1}
    assert len(done.ledger.firings) == 1
