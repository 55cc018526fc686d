"""Scales, shifts and paddings that the weights beside them could carry."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.graph_report import Finding
from lepton_ai.graph.inspection.known import Known, sole_reader
from lepton_ai.graph.rule import node_label
from lepton_ai.graph.values.operands import operand

#: The input that holds their weights.
WEIGHTS = 1
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
PRODUCTS = frozenset({"Gemm", "MatMul"})
AFFINE = frozenset({"Add", "Div", "Mul", "Sub"})


def foldable(known: Known) -> Iterator[Finding]:
    """BatchNormalization, constant scales and shifts, and zero padding beside constant weights."""
    carrier: dict[ir.Value, ir.Node] = {}  # what comes out of weights, perhaps scaled after them
    for node in known.nodes:
        if node.domain not in ("", "ai.onnx") or not node.outputs:
            continue
        if _has_weights(known, node):
            carrier[node.outputs[0]] = node
            continue
        read, why = _scaled(known, node)
        target = carrier.get(read) if read is not None and sole_reader(read) else None
        if target is not None and read is not None and why and _fits(known, node, read, target):
            carrier[node.outputs[0]] = target
            yield _told(known, node, target, why)
        elif (ahead := _reader(known, node)) is not None and (why := _before(known, node, ahead)):
            yield _told(known, node, ahead, why)


def _told(known: Known, node: ir.Node, target: ir.Node, why: str) -> Finding:
    sentence = f"{node_label(node)} can be folded into the weights of {node_label(target)}: {why}"
    return known.finding("foldable", [node, target], sentence, spared=[node])


def _has_weights(known: Known, node: ir.Node) -> bool:
    if node.op_type not in CONVOLUTIONS | PRODUCTS or len(node.inputs) <= WEIGHTS:
        return False
    return all(value is None or known.plain_weights(value) for value in node.inputs[WEIGHTS:])


def _scaled(known: Known, node: ir.Node) -> tuple[ir.Value | None, str]:
    """What ``node`` scales or shifts by constants, and what it does, in words."""
    if node.op_type == "BatchNormalization":
        trains = node.attributes.get_int("training_mode", 0)
        fixed = all(value in known.constant for value in node.inputs[1:])
        read = node.inputs[0] if fixed and not trains else None
        return read, "it scales and shifts each channel by constants"
    if node.op_type not in AFFINE or len(node.inputs) != 2:
        return None, ""
    doing = "shifts" if node.op_type in ("Add", "Sub") else "scales"
    for read, held in (node.inputs, node.inputs[::-1]):
        if held in known.constant and read is not None and read not in known.constant:
            backwards = read is node.inputs[1] and node.op_type == "Div"
            return (None, "") if backwards else (read, f"it {doing} what comes out by a constant")
    return None, ""


def _fits(known: Known, node: ir.Node, read: ir.Value, target: ir.Node) -> bool:
    """Whether the constants of ``node`` differ along the channels of ``target`` at most."""
    if read.shape is None:
        return False
    rank = len(read.shape)
    if node.op_type == "BatchNormalization":
        return target.op_type in CONVOLUTIONS or rank == 2
    if target.op_type == "MatMul" and node.op_type in ("Add", "Sub") and rank != 2:
        return False  # with a shift it becomes a Gemm, which takes matrices
    held = next(value for value in node.inputs if value is not read)
    if held is None or held.shape is None or len(held.shape) > rank:
        return False
    channel = rank - 1 if target.op_type in PRODUCTS else 1
    sizes = [*(1 for _ in range(rank - len(held.shape))), *held.shape]
    allowed = [(1, read.shape[axis]) if axis == channel else (1,) for axis in range(rank)]
    return all(size in fine for size, fine in zip(sizes, allowed, strict=True))


def _reader(known: Known, node: ir.Node) -> ir.Node | None:
    """The only reader of ``node``, if it has constant weights and reads it as its data."""
    if node.op_type not in {"Pad", "Mul", "Div"} or not sole_reader(node.outputs[0]):
        return None
    reader, number = next(iter(node.outputs[0].uses()))
    return reader if number == 0 and _has_weights(known, reader) else None


def _before(known: Known, node: ir.Node, reader: ir.Node) -> str:
    """How the weights of ``reader`` could do what ``node`` does to its input; empty if not."""
    if node.op_type == "Pad":
        return _padding(known, node, reader)
    read, _ = _scaled(known, node)
    held = [value for value in node.inputs if value is not read]
    one = known.small(held[0]) if read is not None and held else None
    return "" if one is None or one.size != 1 else "it scales what goes in by one constant"


def _padding(known: Known, node: ir.Node, reader: ir.Node) -> str:
    if reader.op_type != "Conv" or node.attributes.get_string("mode", "constant") != "constant":
        return ""
    if reader.attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or len(node.inputs) > 3:
        return ""
    pads, filled = known.small(operand(node, 1)), operand(node, 2)
    value = np.zeros(1) if filled is None else known.small(filled)
    if pads is None or value is None or value.any() or (pads < 0).any():
        return ""
    sides = pads.reshape(2, -1)
    return "" if sides[:, :2].any() else "the convolution can pad by itself"
