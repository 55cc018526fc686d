import numpy as np
import onnx_ir as ir
import pytest

from lepton_ai.graph.rule import Ledger
from lepton_ai.graph.rules.drop_no_ops import DropNoOps

X = np.random.default_rng(0).normal(size=(2, 3, 1, 4)).astype("f")


def one(node, declared="float[n, 3, 1, m]", opset=17):
    """``node`` between two others, so that neither of its ends is the model's."""
    return f"""
    <ir_version: 8, opset_import: ["" : {opset}]>
    g (float[n, 3, 1, m] x) => (float[n, 3, 1, m] y)
    <int64[4] as_it_was = {{0, 3, 1, -1}}, int64[4] ones = {{1, 1, 1, 1}}, int64[4] none = {{0,
        0, 0, 0}},
     int64[8] no_pads = {{0, 0, 0, 0, 0, 0, 0, 0}}, int64[1] all = {{9223372036854775807}},
     int64[1] three = {{3}}, int64[1] one_axis = {{1}}, int64[1] zero_axis = {{0}},
         int64[1] last = {{2}},
     float zero = {{0.0}}, float one = {{1.0}}, float[1, 3, 1, 1] wide_zero = {{0.0, 0.0, 0.0}},
     float[4] fours = {{0.0, 0.0, 0.0, 0.0}}, bool yes = {{1}}, bool no = {{0}},
         float half = {{0.5}}>
    {{ a = Relu (x)  {node}  y = Exp (b) }}
    """


IDLE = [
    "b = Identity (a)",
    "b = Cast <to = 1> (a)",
    "b = Reshape (a, as_it_was)",
    "b = Expand (a, ones)",
    "b = Tile (a, ones)",
    "b = Pad (a, no_pads)",
    "b = Transpose <perm = [0, 1, 2, 3]> (a)",
    "b = Slice (a, zero_axis, all, one_axis)",
    "b = Slice (a, zero_axis, three, one_axis)",
    "s = Shape (a) d = Gather (s, last) b = Slice (a, zero_axis, d, last)",
    "b = Concat <axis = 1> (a)",
    "b = Split <axis = 1> (a, three)",
    "b = Max (a)",
    "b = Dropout (a, half)",
    "b = ReduceMax <axes = [2]> (a)",
    "b = ReduceSum <noop_with_empty_axes = 1> (a)",
    "b = Add (a, zero)",
    "b = Add (wide_zero, a)",
    "b = Sub (a, zero)",
    "b = Mul (one, a)",
    "b = Div (a, one)",
    "b = Pow (a, one)",
    "b = Where (yes, a, zero)",
    "b = Where (no, zero, a)",
]
BUSY = [
    "h = Cast <to = 10> (a)  b = Cast <to = 1> (h)",
    "b = Slice (a, zero_axis, one_axis, one_axis)",
    "t = Transpose <perm = [0, 1, 3, 2]> (a)  e = Exp (t) b = Transpose <perm = [0, 1, 3, 2]> (e)",
    "b = Sub (zero, a)",
    "b = Div (one, a)",
    "b = Mul (a, zero)",
    "b = Dropout (a, half, yes)",
]


@pytest.mark.parametrize("node", IDLE)
def test_a_node_that_changes_nothing_goes(apply, node):
    done = apply(DropNoOps, one(node), {"x": X})
    assert [firing.site for firing in done.ledger.firings] == ["b"]
    assert done.operators == {"Relu": 1, "Exp": 1}


@pytest.mark.parametrize("node", BUSY[:-1])
def test_a_node_that_changes_something_stays(apply, node):
    assert apply(DropNoOps, one(node), {"x": X}).ledger.firings == []


def test_a_dropout_in_training_stays(write):
    ledger = Ledger(rule="drop-no-ops")
    DropNoOps().apply(ir.load(write(one(BUSY[-1]))), ledger)
    assert ledger.firings == []


def test_a_constant_that_widens_is_not_nothing(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 1] x) => (float[n, 3] y, float[1, n, 1] z, float[n, k] w)
    <float[3] zeros = {0.0, 0.0, 0.0}, float[1, 1, 1] zero = {0.0}, bool[1, 3] yes = {1, 1, 1}>
    { a = Relu (x)  y = Add (a, zeros)  z = Add (a, zero)  w = Where (yes, a, a) }
    """
    assert apply(DropNoOps, text, {"x": X[:, :1, 0, 0]}).ledger.firings == []


def test_sizes_of_other_names_are_other_sizes(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, m] x, int64[2] s) => (float[p, q] y)
    { a = Relu (x)  b = Reshape (a, s)  y = Exp (b) }
    """
    done = apply(DropNoOps, text, {"x": X[:, 0, 0, :], "s": np.int64([4, 2])})
    assert done.ledger.firings == []


def test_axes_of_one_may_swap(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 1, 1, m] x) => (float[n, 1, 1, m] y)
    { a = Relu (x)  b = Transpose <perm = [0, 2, 1, 3]> (a)  y = Exp (b) }
    """
    assert apply(DropNoOps, text, {"x": X[:, :1]}).operators == {"Relu": 1, "Exp": 1}


def test_an_output_takes_the_place_of_what_computes_it(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x) => (float[n] y, float[n] z) { a = Relu (x)  y = Identity (a)  z = Exp (a) }
    """
    done = apply(DropNoOps, text, {"x": np.float32([-1, 2])})
    assert done.operators == {"Relu": 1, "Exp": 1}


def test_between_an_input_and_an_output_a_node_has_to_stay(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x) => (float[n] y, float[n] z) { y = Identity (x)  z = Cast <to = 1> (x) }
    """
    done = apply(DropNoOps, text, {"x": np.float32([-1, 2])})
    assert done.ledger.firings == []
    assert "computed by a node" in done.ledger.near_misses[0].why


def test_a_mask_that_is_read_keeps_its_dropout(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x) => (float[n] y, bool[n] m) { a = Relu (x)  b, m = Dropout (a)  y = Exp (b) }
    """
    done = apply(DropNoOps, text, {"x": np.float32([-1, 2])})
    assert done.ledger.firings == []
    assert "another of its outputs" in done.ledger.near_misses[0].why


def test_inside_branches_too(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (bool c, float[n] x) => (float[n] y)
    {
        a = Relu (x)
        y = If (c) <
            then_branch = t () => (float[n] u) { p = Identity (a)  q = Exp (p)  u = Identity (q) },
            else_branch = e () => (float[n] v) { v = Identity (a) }
        >
    }
    """
    done = apply(DropNoOps, text, {"c": np.array(True), "x": np.float32([-1, 2])})
    assert [firing.site for firing in done.ledger.firings] == ["p", "u"]


def test_a_denied_node_stays(apply):
    done = apply(DropNoOps, one(IDLE[0]), {"x": X}, denied=frozenset({"b"}))
    assert done.operators["Identity"] == 1


@pytest.mark.parametrize(("dtype", "left"), [("float", 3), ("int32", 2)])
def test_a_clip_without_bounds_goes_where_there_is_no_infinity(apply, dtype, left):
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g ({dtype}[n] x) => ({dtype}[n] y) {{ a = Neg (x)  b = Clip (a)  y = Abs (b) }}
    """
    x = np.float32([np.inf, -np.inf, 1]) if dtype == "float" else np.int32([1, -2, 3])
    assert apply(DropNoOps, text, {"x": x}).operators.total() == left


def test_an_output_keeps_its_type_where_nothing_else_tells_it(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    g (float[n] x) => (float[n] y)
    { a = com.microsoft.QuickGelu (x)  b = Neg (a)  y = Identity (b) }
    """
    done = apply(DropNoOps, text, {"x": np.float32([1, -2])})
    assert done.operators == {"com.microsoft.QuickGelu": 1, "Neg": 1}
