"""Nodes whose answer is what they read."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.graph_report import Finding
from lepton_ai.graph.inspection.known import Known, same_known_shape
from lepton_ai.graph.onnx_file import operator_name
from lepton_ai.graph.rule import node_label
from lepton_ai.graph.values.operands import operand

#: An end of a slice at or above this is the end of any axis.
_FAR = 2**31 - 1
#: Before this opset an attribute told ``Dropout`` whether it trains; from the second on an input.
_DROPOUT_NEVER_TRAINS, _DROPOUT_TRAINS = 7, 12

Check = Callable[[Known, ir.Node, ir.Value], bool]


def no_operations(known: Known) -> Iterator[Finding]:
    """Nodes whose output is their input: identities, casts and reshapes to what was there."""
    idle: dict[str, list[ir.Node]] = defaultdict(list)
    for node in known.nodes:
        if is_idle(known, node) and not _holds_a_place(node):
            idle[operator_name(node)].append(node)
    for operator, nodes in sorted(idle.items()):
        who = (
            f"{len(nodes)} x {operator} change" if nodes[1:] else f"{node_label(nodes[0])} changes"
        )
        yield known.finding("no-op", nodes, f"{who} nothing")


def is_idle(known: Known, node: ir.Node) -> bool:
    """Whether the first output of ``node`` is always its first input, and its only output read."""
    check = CHECKS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    read = node.inputs[0] if node.inputs else None
    if check is None or read is None or not node.outputs:
        return False
    rest = (value.uses() or value.is_graph_output() for value in node.outputs[1:])
    return not any(rest) and check(known, node, read)


def _holds_a_place(node: ir.Node) -> bool:
    """Whether a graph needs the node to name a value as its output."""
    read, out = node.inputs[0], node.outputs[0]
    if read is None or not out.is_graph_output():
        return False
    producer = read.producer()
    return producer is None or producer.graph is not node.graph or read.is_graph_output()


def _always(known: Known, node: ir.Node, read: ir.Value) -> bool:
    return True


def _same_dtype(known: Known, node: ir.Node, read: ir.Value) -> bool:
    return read.dtype is not None and read.dtype == node.outputs[0].dtype


def _same_order(known: Known, node: ir.Node, read: ir.Value) -> bool:
    order = list(node.attributes.get_ints("perm", ()))
    if not order:
        return read.shape is not None and len(read.shape) <= 1
    return order == sorted(order)


def _same_shape(known: Known, node: ir.Node, read: ir.Value) -> bool:
    return same_known_shape(read, node.outputs[0])


def _same_scale(known: Known, node: ir.Node, read: ir.Value) -> bool:
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    return mode != "tf_crop_and_resize" and _same_shape(known, node, read)


def _whole_slice(known: Known, node: ir.Node, read: ir.Value) -> bool:
    if len(node.inputs) < 3:
        return False
    starts, ends = known.small(node.inputs[1]), known.small(node.inputs[2])
    if operand(node, 4) is not None:
        steps = known.small(operand(node, 4))
        if steps is None or (steps != 1).any():
            return False
    if starts is not None and ends is not None and (starts == 0).all() and (ends >= _FAR).all():
        return True
    return _same_shape(known, node, read)


def _all_equal(number: int, value: float) -> Check:
    """Whether input ``number`` is there and holds ``value`` throughout."""

    def check(known: Known, node: ir.Node, read: ir.Value) -> bool:
        held = known.small(operand(node, number))
        return held is not None and bool((held == value).all())

    return check


def _neutral(value: float, *, commutes: bool) -> Check:
    """Whether one operand is ``value`` throughout, and the other keeps its shape and dtype."""

    def check(known: Known, node: ir.Node, read: ir.Value) -> bool:
        for number in (1, 0) if commutes else (1,):
            other, held = node.inputs[1 - number], known.small(node.inputs[number])
            if held is None or other is None or not np.issubdtype(held.dtype, np.number):
                continue
            if (held == value).all() and same_known_shape(other, node.outputs[0]):
                return True
        return False

    return check


def _alone(known: Known, node: ir.Node, read: ir.Value) -> bool:
    return len(node.inputs) == 1


def _in_one_piece(known: Known, node: ir.Node, read: ir.Value) -> bool:
    return len(node.outputs) == 1 and same_known_shape(read, node.outputs[0])


def _never_trains(known: Known, node: ir.Node, read: ir.Value) -> bool:
    opset = known.model.opset_imports.get("", 0)
    if opset < _DROPOUT_TRAINS or operand(node, 2) is None:
        return opset >= _DROPOUT_NEVER_TRAINS
    told = known.small(operand(node, 2))
    return told is not None and not told.any()


def _window_of_one(known: Known, node: ir.Node, read: ir.Value) -> bool:
    if set(node.attributes.get_ints("kernel_shape", (0,))) != {1}:
        return False
    return _same_shape(known, node, read) and not any(node.attributes.get_ints("pads", ()))


def _without_bounds(known: Known, node: ir.Node, read: ir.Value) -> bool:
    bounds = "min" in node.attributes or "max" in node.attributes
    return not bounds and all(value is None for value in node.inputs[1:])


def _without_axes(known: Known, node: ir.Node, read: ir.Value) -> bool:
    return operand(node, 1) is None and bool(node.attributes.get_int("noop_with_empty_axes", 0))


CHECKS: Mapping[str, Check] = {
    "Add": _neutral(0, commutes=True),
    "AveragePool": _window_of_one,
    "Cast": _same_dtype,
    "CastLike": _same_dtype,
    "Clip": _without_bounds,
    "Concat": _alone,
    "Div": _neutral(1, commutes=False),
    "Dropout": _never_trains,
    "Expand": _same_shape,
    "Flatten": _same_shape,
    "Identity": _always,
    "Max": _alone,
    "MaxPool": _window_of_one,
    "Mean": _alone,
    "Min": _alone,
    "Mul": _neutral(1, commutes=True),
    "Pad": _all_equal(1, 0),
    "Pow": _neutral(1, commutes=False),
    "ReduceMax": _without_axes,
    "ReduceMean": _without_axes,
    "ReduceMin": _without_axes,
    "ReduceProd": _without_axes,
    "ReduceSum": _without_axes,
    "Reshape": _same_shape,
    "Resize": _same_scale,
    "Slice": _whole_slice,
    "Split": _in_one_piece,
    "Squeeze": _same_shape,
    "Sub": _neutral(0, commutes=False),
    "Sum": _alone,
    "Tile": _all_equal(1, 1),
    "Transpose": _same_order,
    "Unsqueeze": _same_shape,
}
