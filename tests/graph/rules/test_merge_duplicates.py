import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from lepton_ai.graph.rule import Ledger
from lepton_ai.graph.rules import merge_duplicates
from lepton_ai.graph.rules.merge_duplicates import MergeDuplicates

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
FEED = {"x": np.random.default_rng(1).normal(size=(2, 8)).astype("f")}
LAYERS = (
    HEAD
    + """
g (float[n, 8] x) => (float[n, 8] y) { a = MatMul (x, v)  b = Relu (a)  y = MatMul (b, w) }
"""
)


def matrix(seed=0, size=(8, 8)):
    return np.random.default_rng(seed).normal(size=size).astype("f")


def sites(done):
    return [firing.site for firing in done.ledger.firings]


def test_equal_weights_are_one(apply):
    done = apply(MergeDuplicates, LAYERS, FEED, {"v": matrix(), "w": matrix()})
    assert sites(done) == ["w"]
    assert list(done.model.graph.initializers) == ["v"]


@pytest.mark.parametrize("other", ["last", "shape", "dtype", "zero"])
def test_weights_that_differ_stay(apply, other):
    first = np.zeros((30, 30), "f")
    second = {
        "last": np.pad([[1.0]], ((29, 0), (29, 0))).astype("f"),
        "shape": np.zeros((1, 900), "f"),
        "dtype": np.zeros((30, 30), "d"),
        # Equal as numbers, but not byte by byte.
        "zero": -first,
    }[other]
    text = (
        HEAD
        + """
    g (float[n, 8] x) => (float[n, 8] y, float z, float t)
    {
        y = Neg (x)
        z = ReduceSum <keepdims = 0> (v)
        cast = Cast <to = 1> (w)
        t = ReduceMax <keepdims = 0> (cast)
    }
    """
    )
    assert sites(apply(MergeDuplicates, text, FEED, {"v": first, "w": second})) == []


def test_a_weight_of_a_branch_is_the_one_outside(apply):
    text = (
        HEAD
        + """
    g (bool c, float[n, 2] x) => (float[n, 2] y)
    <float[2] k = {1.0, 2.0}>
    {
        a = Add (x, k)
        y = If (c) <
            then_branch = t () => (float[n, 2] u) <float[2] k1 = {1.0, 2.0}> { u = Mul (a, k1) },
            else_branch = e () => (float[n, 2] v) <float[2] k2 = {1.0, 2.0}> { v = Div (a, k2) }
        >
    }
    """
    )
    feed = {"c": np.array(True), "x": np.ones((1, 2), "f")}
    assert sites(apply(MergeDuplicates, text, feed)) == ["k1", "k2"]


def test_weights_too_large_to_compare_are_a_near_miss_unless_they_lie_in_one_place(
    write, monkeypatch, tmp_path
):
    monkeypatch.setattr(merge_duplicates, "MOST_BYTES_HASHED", 100)
    model = ir.load(write(LAYERS, v=matrix(), w=matrix()))
    ledger = Ledger(rule="merge-duplicates")
    MergeDuplicates().apply(model, ledger)
    assert ledger.firings == []
    assert {"too large" in miss.why for miss in ledger.near_misses} == {True}
    model = ir.load(write(LAYERS, v=matrix()))
    held = ir.ExternalTensor(
        "weights", 0, 256, ir.DataType.FLOAT, name="v", shape=ir.Shape((8, 8)), base_dir=tmp_path
    )
    matrix().tofile(tmp_path / "weights")
    graph = model.graph
    for name in ("v", "w"):
        value = ir.Value(
            name=name,
            shape=ir.Shape((8, 8)),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=held if name == "v" else ir.ExternalTensor(**_parts(held, tmp_path)),
        )
        if name in graph.initializers:
            graph.initializers[name].const_value = value.const_value
        else:
            graph.register_initializer(value)
            graph[2].replace_input_with(1, value)
    ledger = Ledger(rule="merge-duplicates")
    MergeDuplicates().apply(model, ledger)
    assert [firing.site for firing in ledger.firings] == ["w"]


def _parts(held, folder):
    return {
        "location": held.location,
        "offset": held.offset,
        "length": held.length,
        "dtype": held.dtype,
        "shape": held.shape,
        "name": "w",
        "base_dir": folder,
    }


def test_a_weight_that_a_caller_may_give_stays(write):
    path = write(LAYERS, v=matrix(), w=matrix())
    proto = onnx.load(path)
    proto.graph.input.append(
        onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [8, 8])
    )
    assert numpy_helper.to_array(proto.graph.initializer[1]).shape == (8, 8)
    ledger = Ledger(rule="merge-duplicates")
    MergeDuplicates().apply(ir.from_proto(proto), ledger)
    assert ledger.firings == []


def test_equal_nodes_are_one_and_so_is_what_they_lead_to(apply):
    text = (
        HEAD
        + """
    g (float[n, 8] x, float[n, 8] z) => (float[n, 8] y)
    {
        a = Add (x, z)  b = Add (z, x)
        c = Softmax <axis = 1> (a)  d = Softmax <axis = 1> (b)
        e = Softmax <axis = 0> (b)
        p = Mul (c, d)  y = Mul (p, e)
    }
    """
    )
    done = apply(MergeDuplicates, text, {**FEED, "z": FEED["x"] + 1})
    assert sites(done) == ["b", "d"]
    assert done.operators == {"Add": 1, "Softmax": 2, "Mul": 2}


def test_the_order_of_a_difference_matters(apply):
    text = (
        HEAD
        + """
    g (float[n, 8] x, float[n, 8] z) => (float[n, 8] y)
    { a = Sub (x, z)  b = Sub (z, x)  y = Mul (a, b) }
    """
    )
    assert sites(apply(MergeDuplicates, text, {**FEED, "z": FEED["x"] + 1})) == []


def test_a_node_that_is_an_output_gives_its_name_to_the_first(apply):
    text = (
        HEAD
        + """
    g (float[n, 8] x) => (float[n, 8] y, float[n, 8] b)
    { a = Exp (x)  b = Exp (x)  y = Neg (a) }
    """
    )
    done = apply(MergeDuplicates, text, FEED)
    assert done.operators == {"Exp": 1, "Neg": 1}


def test_two_outputs_stay_two(apply):
    text = HEAD + "g (float[n, 8] x) => (float[n, 8] a, float[n, 8] b) { a = Exp (x) b = Exp (x) }"
    done = apply(MergeDuplicates, text, FEED)
    assert done.ledger.firings == []
    assert "a value of its own" in done.ledger.near_misses[0].why


def test_numbers_drawn_by_chance_are_each_their_own(apply):
    text = (
        HEAD
        + """
    g (float[n, 8] x) => (bool[n, 8] y)
    <float none = {0.0}>
    {
        a = RandomUniformLike (x)  b = RandomUniformLike (x)
        c = Equal (a, b)  y = Not (c)
    }
    """
    )
    done = apply(MergeDuplicates, text, FEED)
    assert done.ledger.firings == []
    assert "draws numbers" in done.ledger.near_misses[0].why


def test_a_branch_reads_what_was_computed_before_it_but_not_what_comes_after(apply):
    text = (
        HEAD
        + """
    g (bool c, float[n, 8] x) => (float[n, 8] y, float[n, 8] z)
    {
        a = Exp (x)
        y = If (c) <
            then_branch = t () => (float[n, 8] u) { p = Exp (x)  q = Cos (x)  u = Add (p, q) },
            else_branch = e () => (float[n, 8] v) { r = Cos (x)  v = Add (a, r) }
        >
        s = Cos (x)
        z = Sub (a, s)
    }
    """
    )
    done = apply(MergeDuplicates, text, {"c": np.array(True), **FEED})
    assert sites(done) == ["p"]
    assert done.operators["Cos"] == 3


def test_a_denied_node_stays(apply):
    text = (
        HEAD
        + """
    g (float[n, 8] x) => (float[n, 8] y) { a = Exp (x)  b = Exp (x)  y = Add (a, b) }
    """
    )
    done = apply(MergeDuplicates, text, FEED, denied=frozenset({"b"}))
    assert done.operators["Exp"] == 2


@pytest.mark.parametrize("dtype", [ir.DataType.INT4, ir.DataType.FLOAT8E4M3FN])
def test_weights_of_dtypes_foreign_to_numpy_are_compared(write, dtype):
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (float[4] x) => (float[4] y) <float scale = {0.5}>
    {
        a = DequantizeLinear (v, scale)
        b = DequantizeLinear (w, scale)
        c = Mul (x, a)
        y = Add (c, b)
    }
    """
    model = ir.load(write(text))
    held = np.arange(4).astype(dtype.numpy())
    for name in ("v", "w"):
        value = next(one for node in model.graph for one in node.inputs if one.name == name)
        value.const_value = ir.tensor(held, name=name)
        model.graph.register_initializer(value)
    ledger = Ledger(rule="merge-duplicates")
    MergeDuplicates().apply(model, ledger)
    assert [firing.site for firing in ledger.firings] == ["w", "b"]


def test_the_two_zeros_of_an_attribute_are_not_the_same(apply):
    text = (
        HEAD
        + """
    g (float[n] x) => (float[n] y, float[n] z)
    {
        a = LeakyRelu <alpha = 0.0> (x)  y = Reciprocal (a)
        b = LeakyRelu <alpha = -0.0> (x)  z = Reciprocal (b)
    }
    """
    )
    assert sites(apply(MergeDuplicates, text, {"x": np.float32([-1, 2])})) == []
