"""Nodes whose answer is what they are given."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import constant_of
from lepton_ai.graph.matching.rewiring import can_stand_for, remove_dead, stand_for
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.operands import (
    attribute_int,
    is_given,
    numbers,
    operand,
    opset_of,
    permutation,
    positive,
)
from lepton_ai.graph.values.shape_rules import slice_bounds
from lepton_ai.graph.values.size_inference import KnownSizes
from lepton_ai.graph.values.sizes import same

INTEGERS = frozenset(
    {ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64}
    | {ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64}
)
#: The input that a node hands on, and why it does nothing else.
Handed = tuple[ir.Value | None, str]


class DropNoOps(Rule):
    """Left by exporters that write down what a framework did, and by other rules."""

    name = "drop-no-ops"
    requires = "a node's answer is, in every call, one of its inputs as it is"
    ensures = "the node's readers read that input"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Drop each node that does nothing; one between an input and an output has to stay."""
        known, opset = KnownSizes(model), opset_of(model)
        for graph in model.graphs():
            for node in graph:
                test = TESTS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
                handed = test(node, known, opset) if test is not None else None
                if handed is not None and handed[0] is not None:
                    _drop(node, handed[0], handed[1], ledger)


def _drop(node: ir.Node, value: ir.Value, why: str, ledger: Ledger) -> None:
    answer = node.outputs[0]
    if any(other.uses() or other.is_graph_output() for other in node.outputs[1:]):
        ledger.miss([node], f"{why}, but another of its outputs is read")
    elif not can_stand_for(value, answer):
        if node.op_type != "Identity":
            ledger.miss([node], f"{why}, but an output has to be computed by a node")
    elif value.dtype is not None and answer.dtype is not None and value.dtype != answer.dtype:
        ledger.miss([node], f"{why}, but turns {value.dtype} into {answer.dtype}")
    elif ledger.fire(str(answer.name), [node], why):
        stand_for(value, answer)
        remove_dead(node)


def _identity(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    return node.inputs[0], "it hands on its input"


def _cast(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    value = node.inputs[0]
    if value is None or value.dtype is None or attribute_int(node, "to", 0) != value.dtype:
        return None
    return value, f"its input is {value.dtype.name} already"


def _same_shape(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    """Reshape, Flatten, Squeeze, Unsqueeze, Expand: only the shape could change."""
    shape = known.shape(node.inputs[0])
    if shape is None:
        return None
    unchanged = same(shape, known.shape(node.outputs[0]))
    if node.op_type == "Expand":
        wanted = known.items(operand(node, 1))
        narrow = wanted is not None and set(wanted) <= {1} and len(wanted) <= len(shape)
        unchanged = unchanged or narrow
    return (node.inputs[0], "its input has that shape already") if unchanged else None


def _transpose(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    shape = known.shape(node.inputs[0])
    axes = permutation(node, None if shape is None else len(shape))
    if axes is None:
        return None
    if axes == sorted(axes):
        return node.inputs[0], "it leaves each axis where it is"
    if shape is None or len(axes) != len(shape):
        return None
    moved = [axis for axis in axes if shape[axis] != 1]
    if moved == sorted(moved) and same(shape, tuple(shape[axis] for axis in axes)):
        return node.inputs[0], "it only swaps axes of one element"
    return None


def _slice(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    bounds, shape = slice_bounds(node, known), known.shape(node.inputs[0])
    if bounds is None or shape is None:
        return None
    for axis, (start, end, step) in bounds.items():
        size = shape[axis]
        whole = end == size and size is not None
        if isinstance(end, int):
            whole = whole or end >= (size if isinstance(size, int) else 2**31 - 1)
        if step != 1 or start != 0 or not whole:
            return None
    return node.inputs[0], "it takes all that is there"


def _pad(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    pads = numbers(node, "pads", 1)
    return (node.inputs[0], "it pads by nothing") if pads is not None and not any(pads) else None


def _tile(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    times = numbers(node, "repeats", 1) if opset >= 6 else None
    if times is None or set(times) > {1} or any(time != 1 for time in times):
        return None
    return node.inputs[0], "it repeats once"


def _single(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    """Concat, Max, Mean, Min, Sum of one."""
    return (node.inputs[0], "there is nothing to join") if len(node.inputs) == 1 else None


def _split(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    return (node.inputs[0], "it splits into one") if len(node.outputs) == 1 else None


def _dropout(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    idle = node.inputs[0], "nothing is dropped outside of training"
    if opset >= 12:
        training = operand(node, 2)
        held = constant_of(training, 1)
        return idle if training is None or (held is not None and not held.any()) else None
    if opset >= 7:
        return idle
    return idle if attribute_int(node, "is_test", 0) == 1 else None


def _clip(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    value = node.inputs[0]
    bounded = is_given(node, "min", 1) or is_given(node, "max", 2)
    if bounded or opset < 11 or value is None or value.dtype not in INTEGERS:
        # Of floats, it keeps infinity to the largest finite number all the same.
        return None
    return value, "it has no bounds"


def _reduce(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    shape = known.shape(node.inputs[0])
    axes = numbers(node, "axes", 1)
    if shape is None or attribute_int(node, "keepdims", 1) != 1:
        return None
    if not axes:
        # Without axes it is over all of them, unless it is told otherwise.
        if is_given(node, "axes", 1) and axes is None:
            return None
        if attribute_int(node, "noop_with_empty_axes", 0) == 1:
            return node.inputs[0], "it reduces no axis"
        axes = list(range(len(shape)))
    if any(shape[axis] != 1 for axis in positive(axes, len(shape))):
        return None
    return node.inputs[0], "it reduces axes of one element"


def _neutral(number: int | bool, *, either_side: bool) -> Callable[..., Handed | None]:
    """Arithmetic with a constant that changes no value, and no shape."""

    def test(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
        if len(node.inputs) != 2 or (opset < 7 and node.op_type != "Identity"):
            return None
        for value, other in ((0, 1), (1, 0)) if either_side else ((0, 1),):
            kept, constant = node.inputs[value], node.inputs[other]
            if kept is not None and _is_all(constant, number) and _stays(known, kept, constant):
                return kept, f"{node.op_type} with {number} changes nothing"
        return None

    return test


def _is_all(value: ir.Value | None, number: int | bool) -> bool:
    if value is None or value.dtype in (None, ir.DataType.STRING):
        return False
    held = constant_of(value)
    if held is None or held.size == 0:
        return False
    flat = held.reshape(-1)
    # One look tells most weights apart.
    return bool(flat[0] == number) and bool(np.all(flat == number))


def _stays(known: KnownSizes, kept: ir.Value, *others: ir.Value | None) -> bool:
    """Whether ``kept`` has the shape that it has when broadcast with ``others``."""
    shape = known.shape(kept)
    shapes = [known.shape(other) for other in others]
    if shape is None or any(other is None or len(other) > len(shape) for other in shapes):
        return False
    for other in shapes:
        for axis, size in enumerate(reversed(other or ()), start=1):
            if size != 1 and (size is None or size != shape[-axis]):
                return False
    return True


def _where(node: ir.Node, known: KnownSizes, opset: int) -> Handed | None:
    condition, yes, no = node.inputs
    for chosen, other, answer in ((yes, no, True), (no, yes, False)):
        if (
            chosen is not None
            and _is_all(condition, answer)
            and _stays(known, chosen, condition, other)
        ):
            return chosen, f"its condition is {str(answer).lower()} throughout"
    return None


TESTS: Mapping[str, Callable[[ir.Node, KnownSizes, int], Handed | None]] = {
    **dict.fromkeys(("Expand", "Flatten", "Reshape", "Squeeze", "Unsqueeze"), _same_shape),
    **dict.fromkeys(("Concat", "Max", "Mean", "Min", "Sum"), _single),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _reduce),
    "Add": _neutral(0, either_side=True),
    "And": _neutral(True, either_side=True),
    "Cast": _cast,
    "Clip": _clip,
    "Div": _neutral(1, either_side=False),
    "Dropout": _dropout,
    "Identity": _identity,
    "Mul": _neutral(1, either_side=True),
    "Or": _neutral(False, either_side=True),
    "Pad": _pad,
    "Pow": _neutral(1, either_side=False),
    "Slice": _slice,
    "Split": _split,
    "Sub": _neutral(0, either_side=False),
    "Tile": _tile,
    "Transpose": _transpose,
    "Where": _where,
}
