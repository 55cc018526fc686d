"""Quantised tensors that are dequantised again, because nothing computes on them as they are."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.graph_report import Finding
from lepton_ai.graph.inspection.known import Known, sole_reader
from lepton_ai.graph.inspection.macs import DOMAINS
from lepton_ai.graph.rule import node_label
from lepton_ai.graph.values.operands import operand
from lepton_ai.model.signature import Array

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
#: They move or pick elements, and so take them of any dtype.
MOVES = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "MaxPool",
        "ReduceMax",
        "ReduceMin",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "TopK",
        "Transpose",
        "Unsqueeze",
    }
)
#: Operators whose Q/DQ neighbours ONNX Runtime or OpenVINO takes into an int8 kernel, as seen in
#: the graphs that ONNX Runtime 1.32 and OpenVINO 2026.4 make of one such operator each; those that
#: were not tried (GRU, LSTM, Where and some that move elements) are given the benefit of the doubt.
INT8_KERNELS = MOVES | {
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Einsum",
    "GRU",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "LSTM",
    "LeakyRelu",
    "MatMul",
    "Mul",
    "Pad",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Sigmoid",
    "Softmax",
    "Where",
}
#: Operators whose int8 kernels want both operands quantised.
MULTIPLIES = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: Weights of fewer bits than this stay packed beside float activations, in kernels made for that.
_PACKED_BITS = 8


def unfused_quantisation(known: Known) -> Iterator[Finding]:
    """Pairs of ``QuantizeLinear`` and ``DequantizeLinear`` that no kernel takes in."""
    for node in known.nodes:
        if node.domain not in DOMAINS:
            continue
        if node.op_type == QUANTISE:
            yield from _quantised_again(known, node)
            yield from _per_channel(known, node)
        elif node.op_type != DEQUANTISE:
            yield from _around(known, node)


def _around(known: Known, node: ir.Node) -> Iterator[Finding]:
    """An operator that reads what was quantised."""
    sources = [_dequantiser(value) for value in node.inputs]
    pairs = [part for part in sources if part is not None and not _of_weights(known, part)]
    weights = [part for part in sources if part is not None and _of_weights(known, part)]
    label = node_label(node)
    if pairs and node.op_type not in INT8_KERNELS:
        why = f"no engine has an int8 kernel for {node.op_type}: {label} dequantises, and computes "
        yield _told(known, pairs, node, f"{why}in floating point")
    if node.op_type not in MULTIPLIES or len(node.inputs) < 2:
        return
    if pairs and sources[1] is None and node.inputs[1] in known.constant:
        why = f"the input of {label} is quantised and its weights are not"
        yield _told(known, pairs, node, f"{why}, so it is computed in floating point")
    if weights and sources[0] is None and not _packed(weights[0]):
        why = f"the weights of {label} are quantised and its input is not"
        yield _told(known, weights, node, f"{why}, so it is computed in floating point")


def _told(known: Known, pairs: list[ir.Node], node: ir.Node, sentence: str) -> Finding:
    gone = [part for pair in pairs for part in _pair(pair)]
    return known.finding("unfused-quantisation", [*gone, node], sentence, spared=gone)


def _pair(dequantiser: ir.Node) -> list[ir.Node]:
    """``dequantiser``, and the quantiser before it where nothing else reads that."""
    if not sole_reader(dequantiser.outputs[0]):
        return []
    read = dequantiser.inputs[0]
    before = None if read is None else read.producer()
    if read is None or before is None or before.op_type != QUANTISE or not sole_reader(read):
        return [dequantiser]
    return [before, dequantiser]


def _quantised_again(known: Known, node: ir.Node) -> Iterator[Finding]:
    """A tensor that is dequantised only to be quantised."""
    before = _dequantiser(node.inputs[0])
    if before is None or _of_weights(known, before):
        return
    names = f"{node_label(before)} and {node_label(node)}"
    spared = [before, node] if sole_reader(before.outputs[0]) else [node]
    if _same_grid(known, before, node):
        why = f"{DEQUANTISE}-{QUANTISE}: {names} have one scale and undo each other"
        yield known.finding("cancelling", [before, node], why, spared=spared)
    else:
        why = f"{names} quantise anew what is quantised, at another scale; one scale would do"
        yield known.finding("unfused-quantisation", [before, node], why, spared=spared)


def _same_grid(known: Known, first: ir.Node, second: ir.Node) -> bool:
    """Whether both nodes have the same scale, zero point, axis and dtype."""
    read = first.inputs[0]
    if read is None or read.dtype is None or read.dtype != second.outputs[0].dtype:
        return False
    if first.attributes.get_int("axis", 1) != second.attributes.get_int("axis", 1):
        return False
    for number in (1, 2):
        one, other = (_grid(known, node, number) for node in (first, second))
        if one is None or other is None or not np.array_equal(one, other):
            return False
    return True


def _grid(known: Known, node: ir.Node, number: int) -> Array | None:
    value = operand(node, number)
    return np.zeros(()) if value is None else known.small(value)


def _per_channel(known: Known, node: ir.Node) -> Iterator[Finding]:
    """An activation with a scale for each channel, which products sum over."""
    scale = operand(node, 1)
    single = scale is None or scale.shape is None or all(size == 1 for size in scale.shape)
    if single or node.inputs[0] in known.constant:
        return
    readers = [use.node for use in node.outputs[0].uses() if use.node.op_type == DEQUANTISE]
    why = f"{node_label(node)} quantises an activation per channel, and no int8 kernel takes that"
    yield known.finding("unfused-quantisation", [node, *readers], why)


def _dequantiser(value: ir.Value | None) -> ir.Node | None:
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type == DEQUANTISE else None


def _of_weights(known: Known, dequantiser: ir.Node) -> bool:
    return dequantiser.inputs[0] in known.constant


def _packed(dequantiser: ir.Node) -> bool:
    read = dequantiser.inputs[0]
    return read is not None and read.dtype is not None and read.dtype.bitwidth < _PACKED_BITS
