import numpy as np
import onnx_ir as ir
import pytest

from lepton_ai.graph.matching.flat_nodes import sequences_of
from lepton_ai.graph.rules.flat_convolution import FlatConvolution

HEAD = '<ir_version: 8, opset_import: ["" : 20]>\n'
TEXT = (
    HEAD
    + """
g (float[n, 16, t] x) => (float[n, c, l] y)
<int64[6] pads = {0, 0, 2, 0, 0, 1}, int64[2] some = {2, 1}, int64[1] axis = {-1}>
{
    p = Conv <pads = [4, 0], dilations = [2], kernel_shape = [3]> (x, w, b)
    q = MIDDLE
    y = Conv (q, w)
}
"""
)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("f")


FEED = {"x": numbers(2, 16, 20, seed=9)}
WEIGHTS = {
    "w": numbers(16, 16, 3),
    "b": numbers(16, seed=1),
    "column": numbers(16, 1, seed=2),
    "whole": numbers(1, 16, 1, seed=3),
    "last": numbers(1, seed=4),
    "v": np.abs(numbers(16, seed=5)),
    "block": numbers(2, 16, 4, seed=6),
}
MIDDLES = {
    "Relu": "Relu (p)",
    "residual": "Add (p, x)",
    "Add": "Add (column, p)",
    "Mul": "Mul (p, whole)",
    "Sub": "Sub (p, last)",
    "PRelu": "PRelu (p, column)",
    "Clip": "Clip (p, last)",
    "BatchNormalization": "BatchNormalization (p, b, b, b, v)",
    "InstanceNormalization": "InstanceNormalization (p, b, b)",
    "Concat of lengths": "Concat <axis = -1> (p, p, block)",
    "MaxPool": "MaxPool <kernel_shape = [3], strides = [2], pads = [1, 1]> (p)",
    "AveragePool": "AveragePool <kernel_shape = [2], count_include_pad = 1, pads = [1, 0]> (p)",
    "Pad": "Pad (p, pads)",
    "Pad on an axis": 'Pad <mode = "reflect"> (p, some, , axis)',
    "strided": "Conv <strides = [2], group = 16> (p, depthwise)",
}


@pytest.mark.parametrize("middle", MIDDLES)
def test_a_chain_is_flat_from_end_to_end(apply, middle):
    text = TEXT.replace("MIDDLE", MIDDLES[middle])
    done = apply(FlatConvolution, text, FEED, {**WEIGHTS, "depthwise": numbers(16, 1, 2)})
    assert [firing.site for firing in done.ledger.firings] == ["p"]
    assert (done.operators["Unsqueeze"], done.operators["Squeeze"]) == (1, 1)


def test_concatenated_channels(apply):
    text = TEXT.replace("MIDDLE", "Concat <axis = 1> (p, x)").replace("(q, w)", "(q, wide)")
    text = text.replace("pads = [4, 0]", "pads = [2, 2]")
    done = apply(FlatConvolution, text, FEED, {**WEIGHTS, "wide": numbers(16, 32, 3)})
    assert done.operators == {"Unsqueeze": 1, "Conv": 2, "Concat": 1, "Squeeze": 1}


def test_a_global_pooling_is_the_end(apply):
    text = TEXT.replace("MIDDLE", "Relu (p)").replace(
        "y = Conv (q, w)", "r = Conv (q, w) y = GlobalMaxPool (r)"
    )
    done = apply(FlatConvolution, text, FEED, WEIGHTS)
    assert [node.op_type for node in done.model.graph][-2:] == ["GlobalMaxPool", "Squeeze"]


def test_what_is_read_outside_is_taken_out_there(apply):
    text = TEXT.replace("MIDDLE", "Relu (p)").replace(
        "l] y)", "l] y, float[n, 16, t] p, float[n, t, 16] z)"
    )
    text = text.replace("y =", "z = Transpose <perm = [0, 2, 1]> (q)\n    y =")
    text = text.replace("pads = [4, 0]", "pads = [2, 2]")
    done = apply(FlatConvolution, text, FEED, WEIGHTS)
    assert done.operators == {"Unsqueeze": 1, "Conv": 2, "Relu": 1, "Squeeze": 3, "Transpose": 1}
    assert [output.name for output in done.model.graph.outputs] == ["y", "p", "z"]


def test_what_no_image_passes_divides_chains(apply):
    text = TEXT.replace("MIDDLE", "Softmax (p)")
    done = apply(FlatConvolution, text, FEED, WEIGHTS)
    assert done.ledger.firings == []
    assert ["one convolution" in miss.why for miss in done.ledger.near_misses] == [True, True]


def test_another_reader_of_the_input_stays_outside(apply):
    text = TEXT.replace("MIDDLE", "Relu (p)").replace("l] y)", "l] y, float[n, 16, t] z)")
    text = text.replace("q =", "z = Tanh (x)\n    q =")
    done = apply(FlatConvolution, text, FEED, WEIGHTS)
    assert done.operators["Squeeze"] == 1


def test_channels_that_make_no_blocks_are_a_near_miss(apply):
    text = TEXT.replace("n, 16, t] x", "n, 5, t] x").replace("MIDDLE", "Relu (p)")
    given = {"w": numbers(5, 5, 3), "b": numbers(5)}
    done = apply(FlatConvolution, text, {"x": numbers(2, 5, 20)}, given)
    assert "no multiple of 16" in done.ledger.near_misses[0].why


def test_only_single_precision_has_kernels_for_blocks():
    wide = ir.Value(name="x", shape=ir.Shape([1, 16, 9]), type=ir.TensorType(ir.DataType.DOUBLE))
    assert sequences_of(ir.node("Relu", [wide])) is None
    wide.dtype = ir.DataType.FLOAT
    assert sequences_of(ir.node("Relu", [wide])) == [wide]


def test_a_large_weight_with_readers_outside_stays(apply):
    text = TEXT.replace("MIDDLE", "Relu (p)").replace("n, 16, t", "n, 160, t")
    text = text.replace("n, c, l] y)", "n, c, l] y, float[d, e, f] z)").replace(
        "q =", "z = Neg (w)\n    q ="
    )
    given = {"w": numbers(160, 160, 3), "b": numbers(160)}
    done = apply(FlatConvolution, text, {"x": numbers(1, 160, 9)}, given)
    assert "too large to copy" in done.ledger.near_misses[0].why


def test_a_branch_is_flattened_by_itself(apply):
    text = (
        HEAD
        + """
g (float[n, 16, t] x, bool which) => (float[n, 16, u] y)
{
    y = If (which) <
        then_branch = yes () => (float[n, 16, u] p)
        { made = Conv <pads = [1, 1]> (x, w) p = Conv <pads = [1, 1]> (made, w) },
        else_branch = no () => (float[n, 16, u] q) { q = Relu (x) }
    >
}
"""
    )
    done = apply(FlatConvolution, text, {**FEED, "which": np.array(True)}, {"w": WEIGHTS["w"]})
    assert done.operators == {"If": 1, "Unsqueeze": 1, "Conv": 2, "Squeeze": 1, "Relu": 1}


def test_a_denied_chain_is_left_alone(apply):
    text = TEXT.replace("MIDDLE", "Relu (p)")
    done = apply(FlatConvolution, text, FEED, WEIGHTS, denied=frozenset({"p"}))
    assert done.operators == {"Conv": 2, "Relu": 1}
