"""Which elements belong together, operator by operator; what is missing here keeps its sizes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.compress.slimming.coupling import Coupler, Ties, sizes_of, written_sizes
from lepton_ai.graph.building import constant_of
from lepton_ai.model.signature import Array

#: The coupler of each operator in ONNX's own domain.
COUPLERS: dict[str, Coupler] = {}

_ELEMENTWISE = (
    *("Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Dropout", "Elu"),
    *("Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid"),
    *("HardSwish", "Identity", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min"),
    *("Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu"),
    *("Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh"),
    *("ThresholdedRelu", "Where"),
)
_POOLS = (
    *("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"),
)
_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
    *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
#: Rows of a recurrent layer's weights per hidden unit.
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def couples(*operators: str) -> Callable[[Coupler], Coupler]:
    """Enter a coupler under the operators that it speaks for."""

    def enter(coupler: Coupler) -> Coupler:
        COUPLERS.update(dict.fromkeys(operators, coupler))
        return coupler

    return enter


@couples(*_ELEMENTWISE)
def elementwise(ties: Ties, node: ir.Node) -> None:
    """Axes aligned from the last on; one of size one is spread over the other's."""
    for answer in node.outputs[:1]:
        for value in node.inputs:
            _align(ties, value, answer, but_last=0)
    for mask in node.outputs[1:]:
        ties.lock_value(mask)


@couples("Conv")
def conv(ties: Ties, node: ir.Node) -> None:
    """Input channels are columns of the weight, output channels its rows."""
    x, weight, *bias = node.inputs
    y = node.outputs[0]
    groups = node.attributes.get_int("group", 1)
    for value in (x, weight, y):
        _lock_axes(ties, value, _rank(value), first=2)
    ties.tie_axes(x, 0, y, 0)
    ties.tie(ties.line(weight, 0), ties.line(y, 1))
    for one in bias:
        ties.tie_axes(one, 0, weight, 0)
    if groups == 1:
        ties.tie(ties.line(x, 1), ties.line(weight, 1))
        return
    ties.lock(ties.line(weight, 1))
    inputs, outputs = ties.line(x, 1), ties.line(weight, 0)
    if len(inputs) % groups or len(outputs) % groups or not len(inputs) or not len(outputs):
        ties.lock_node(node)
        return
    _tie_blocks(ties, inputs.reshape(groups, -1), outputs.reshape(groups, -1))


@couples("ConvTranspose")
def conv_transpose(ties: Ties, node: ir.Node) -> None:
    """As a convolution, with the weight's first two axes the other way round."""
    x, weight, *bias = node.inputs
    y = node.outputs[0]
    if node.attributes.get_int("group", 1) != 1:
        ties.lock_node(node)
        return
    for value in (x, weight, y):
        _lock_axes(ties, value, _rank(value), first=2)
    ties.tie_axes(x, 0, y, 0)
    ties.tie(ties.line(x, 1), ties.line(weight, 0))
    ties.tie(ties.line(weight, 1), ties.line(y, 1))
    for one in bias:
        ties.tie_axes(one, 0, weight, 1)


@couples("Gemm")
def gemm(ties: Ties, node: ir.Node) -> None:
    """A product of two matrices, either turned, and what is added to it."""
    a, b, *added = node.inputs
    y = node.outputs[0]
    row = 1 if node.attributes.get_int("transA", 0) else 0
    column = 0 if node.attributes.get_int("transB", 0) else 1
    ties.tie(ties.line(a, 1 - row), ties.line(b, 1 - column))
    ties.tie_axes(a, row, y, 0)
    ties.tie_axes(b, column, y, 1)
    for one in added:
        _align(ties, one, y, but_last=0)


@couples("MatMul")
def matmul(ties: Ties, node: ir.Node) -> None:
    """A product over the last axis and the last but one; axes before them are aligned."""
    (a, b), y = node.inputs, node.outputs[0]
    if _rank(a) < 2 or _rank(b) < 2:
        ties.lock_node(node)
        return
    ties.tie(ties.line(a, -1), ties.line(b, -2))
    ties.tie_axes(a, -2, y, -2)
    ties.tie_axes(b, -1, y, -1)
    for value in (a, b):
        _align(ties, value, y, but_last=2)


@couples("BatchNormalization", "InstanceNormalization")
def normalised_channels(ties: Ties, node: ir.Node) -> None:
    """Each channel by itself, with a number of each parameter."""
    x, *parameters = node.inputs
    y = node.outputs[0]
    for axis in (0, 1):
        ties.tie_axes(x, axis, y, axis)
    for parameter in parameters:
        ties.tie_axes(parameter, 0, x, 1)
    for value in (x, y, *node.outputs[1:]):
        _lock_axes(ties, value, _rank(value), first=2 if value in (x, y) else 0)


@couples("LayerNormalization", "RMSNormalization")
def normalised_together(ties: Ties, node: ir.Node) -> None:
    """What is normalised together stays together; axes before it are passed on."""
    x, y = node.inputs[0], node.outputs[0]
    first = node.attributes.get_int("axis", -1) % max(_rank(x), 1)
    _pass_but(ties, x, y, range(first, _rank(x)))
    for value in (*node.inputs[1:], *node.outputs[1:]):
        ties.lock_value(value)


@couples("Softmax", "LogSoftmax")
def softmax(ties: Ties, node: ir.Node) -> None:
    """What shares a sum stays; before opset 13 that was all from the axis on."""
    x, y = node.inputs[0], node.outputs[0]
    newest = node.version is None or node.version >= 13
    axis = node.attributes.get_int("axis", -1 if newest else 1) % max(_rank(x), 1)
    _pass_but(ties, x, y, [axis] if newest else range(axis, _rank(x)))


@couples(*_POOLS)
def pool(ties: Ties, node: ir.Node) -> None:
    """Each channel by itself."""
    x = node.inputs[0]
    for y in node.outputs:
        _pass_but(ties, x, y, range(2, _rank(x)))


@couples(*_REDUCTIONS)
def reduction(ties: Ties, node: ir.Node) -> None:
    """What is summed up stays; the other axes are passed on."""
    x, y = node.inputs[0], node.outputs[0]
    axes = node.attributes.get_ints("axes", None) if "axes" in node.attributes else None
    if axes is None and len(node.inputs) > 1:
        held = constant_of(node.inputs[1])
        axes = None if held is None else [int(axis) for axis in held.reshape(-1)]
    if axes is None or not _rank(x):
        ties.lock_node(node)
        return
    gone = {axis % _rank(x) for axis in axes}
    keeps = node.attributes.get_int("keepdims", 1)
    to = 0
    for axis in range(_rank(x)):
        if axis in gone:
            ties.lock(ties.line(x, axis))
            to += bool(keeps)
        else:
            ties.tie_axes(x, axis, y, to)
            to += 1


@couples("Transpose")
def transpose(ties: Ties, node: ir.Node) -> None:
    """Axes in another order."""
    x, y = node.inputs[0], node.outputs[0]
    order = node.attributes.get_ints("perm", tuple(reversed(range(_rank(x)))))
    for to, axis in enumerate(order):
        ties.tie_axes(x, axis, y, to)


@couples("Squeeze", "Unsqueeze")
def squeeze(ties: Ties, node: ir.Node) -> None:
    """Axes of size one come or go; the others stay in order."""
    x, y = node.inputs[0], node.outputs[0]
    before, after = (_wider_axes(value) for value in (x, y))
    if len(before) != len(after):
        ties.lock_node(node)
        return
    for axis, to in zip(before, after, strict=True):
        ties.tie_axes(x, axis, y, to)


@couples("Reshape", "Flatten")
def reshape(ties: Ties, node: ir.Node) -> None:
    """Axes split into blocks, or merged from them, element by block; the rest is passed on.

    The first of the axes that others are merged from may lose whole blocks; the size of a block
    stays, and so does a size that is computed.
    """
    x, y = node.inputs[0], node.outputs[0]
    before, after = sizes_of(x), sizes_of(y)
    written = [0] * _rank(y) if node.op_type == "Flatten" else written_sizes(node.inputs[1])
    if before is None or after is None or written is None or len(written) != len(after):
        ties.lock_node(node)
        return
    _lock_axes(ties, y, None, axes=[axis for axis, size in enumerate(written) if size is None])
    for axes, others in _segments(before, after):
        if len(axes) == len(others) == 1:
            ties.tie_axes(x, axes[0], y, others[0])
        elif len(axes) == 1:
            _tie_blocks_of(ties, (x, axes[0]), (y, others))
        elif len(others) == 1:
            _tie_blocks_of(ties, (y, others[0]), (x, axes))
        else:
            _lock_axes(ties, x, None, axes=axes)
            _lock_axes(ties, y, None, axes=others)


@couples("Concat")
def concat(ties: Ties, node: ir.Node) -> None:
    """One after the other along an axis."""
    y = node.outputs[0]
    axis = node.attributes.get_int("axis", 0) % max(_rank(y), 1)
    _tie_in_a_row(ties, y, node.inputs, axis)


@couples("Split")
def split(ties: Ties, node: ir.Node) -> None:
    """Cut along an axis."""
    x = node.inputs[0]
    axis = node.attributes.get_int("axis", 0) % max(_rank(x), 1)
    _tie_in_a_row(ties, x, node.outputs, axis)


@couples("Gather")
def gather(ties: Ties, node: ir.Node) -> None:
    """Rows that are looked up stay; what a row holds is passed on."""
    (data, indices), y = node.inputs, node.outputs[0]
    if indices is None or indices.shape is None or data is None:
        ties.lock_node(node)
        return
    axis = node.attributes.get_int("axis", 0) % max(_rank(data), 1)
    ties.lock(ties.line(data, axis))
    ties.lock_value(indices)
    for place in range(_rank(data)):
        if place != axis:
            to = place if place < axis else place + len(indices.shape) - 1
            ties.tie_axes(data, place, y, to)
    _lock_axes(ties, y, None, axes=range(axis, axis + len(indices.shape)))


@couples("Pad")
def pad(ties: Ties, node: ir.Node) -> None:
    """What is padded stays; the other axes are passed on."""
    x, y = node.inputs[0], node.outputs[0]
    pads = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    if pads is None or len(node.inputs) > 3 or pads.size != 2 * _rank(x):
        ties.lock_node(node)
        return
    laid_on = pads.reshape(2, -1).any(axis=0)
    _pass_but(ties, x, y, np.flatnonzero(laid_on).tolist())


@couples("Resize", "Upsample")
def resize(ties: Ties, node: ir.Node) -> None:
    """Channels are passed on where factors say how large, and not sizes."""
    x, y = node.inputs[0], node.outputs[0]
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        ties.lock_node(node)
        return
    before, after = sizes_of(x), sizes_of(y)
    same = [] if before is None or after is None else zip(before, after, strict=True)
    _pass_but(ties, x, y, [axis for axis, (one, other) in enumerate(same) if one != other])


@couples("RNN", "GRU", "LSTM")
def recurrent(ties: Ties, node: ir.Node) -> None:
    """A hidden unit is a row per gate of the weights, and a column of those of the recurrence."""
    inputs = [*node.inputs, *[None] * (8 - len(node.inputs))]
    x, weight, recurrence, bias, lengths, hidden, cell, peephole = inputs[:8]
    gates = GATES[node.op_type]
    unit = ties.line(recurrence, 2)
    if node.attributes.get_int("layout", 0) or not len(unit):
        ties.lock_node(node)
        return
    ties.tie_axes(x, 2, weight, 2)
    rows = [(weight, gates), (recurrence, gates), (bias, 2 * gates), (peephole, 3)]
    for value, count in rows:
        elements = ties.line(value, 1)
        if len(elements):
            _tie_blocks(ties, unit[:, None], elements.reshape(count, -1).T)
    for state in (hidden, cell, *node.outputs):
        ties.tie_axes(state, -1, recurrence, 2)
    weights = (weight, recurrence, bias, peephole)
    for value in (x, *weights, hidden, cell, *node.outputs):
        _lock_axes(ties, value, 1 if value in weights else _rank(value) - 1)
    ties.lock_value(lengths)


@couples("Einsum")
def einsum(ties: Ties, node: ir.Node) -> None:
    """Axes under the same letter."""
    equation = node.attributes.get_string("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    unclear = not arrow or "." in equation or any(len(set(t)) < len(t) for t in terms)
    if unclear or len(terms) != len(node.inputs):
        ties.lock_node(node)
        return
    first: dict[str, tuple[ir.Value | None, int]] = {}
    pairs = [*zip(terms, node.inputs, strict=True), (right, node.outputs[0])]
    for term, value in pairs:
        for axis, letter in enumerate(term):
            if letter in first:
                ties.tie_axes(*first[letter], value, axis)
            first.setdefault(letter, (value, axis))


def _align(ties: Ties, value: ir.Value | None, answer: ir.Value, *, but_last: int) -> None:
    """Tie the axes of ``value`` to those of ``answer`` from the last on, without the last few."""
    for back in range(1 + but_last, _rank(value) + 1):
        if back <= _rank(answer):
            ties.tie_axes(value, -back, answer, -back)
        else:
            ties.lock(ties.line(value, -back))


def _pass_but(ties: Ties, x: ir.Value | None, y: ir.Value, held: Sequence[int]) -> None:
    """Tie the axes of ``x`` to the same of ``y``, and lock those that are ``held``."""
    if _rank(x) != _rank(y):
        ties.lock_value(x)
        ties.lock_value(y)
        return
    for axis in range(_rank(x)):
        if axis in held:
            ties.lock(ties.line(x, axis))
            ties.lock(ties.line(y, axis))
        else:
            ties.tie_axes(x, axis, y, axis)


def _tie_in_a_row(
    ties: Ties, whole: ir.Value | None, parts: Sequence[ir.Value | None], axis: int
) -> None:
    lines = [ties.line(part, axis) for part in parts]
    whole_line = ties.line(whole, axis)
    sizes = [_size(part, axis) for part in parts]
    if all(
        isinstance(size, int) and size == len(line) for size, line in zip(sizes, lines, strict=True)
    ):
        ties.tie(whole_line, np.concatenate(lines))
    else:
        for line in (whole_line, *lines):
            ties.lock(line)
    for part in parts:
        for other in range(_rank(whole)):
            if other != axis:
                ties.tie_axes(whole, other, part, other)


def _tie_blocks_of(
    ties: Ties,
    merged: tuple[ir.Value | None, int],
    parts: tuple[ir.Value | None, Sequence[int]],
) -> None:
    """Tie the elements of the first of ``parts`` that is one to its block of ``merged``."""
    value, axes = parts
    outer = next((axis for axis in axes if _size(value, axis) != 1), None)
    line, whole = ties.line(value, outer if outer is not None else 0), ties.line(*merged)
    if outer is None or not len(line) or not len(whole) or len(whole) % len(line):
        ties.lock(whole)
        _lock_axes(ties, value, None, axes=axes)
        return
    _tie_blocks(ties, line[:, None], whole.reshape(len(line), -1))
    _lock_axes(ties, value, None, axes=[axis for axis in axes if axis != outer])


def _tie_blocks(ties: Ties, ones: Array, others: Array) -> None:
    """Let row by row of ``ones`` and ``others`` [blocks, elements] go together."""
    first = ones[:, :1]
    for block in (ones, others):
        ties.tie(np.broadcast_to(first, block.shape).reshape(-1), block.reshape(-1))


def _segments(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[list[int], list[int]]]:
    """The shortest stretches of axes that hold as many elements before and after a Reshape.

    From the first size that is not known, the last stretch holds all that is left.
    """
    found = []
    one = other = 0
    while one < len(before) and other < len(after):
        begin, to = one, other
        left, right = before[one], after[other]
        one, other = one + 1, other + 1
        while left != right and isinstance(left, int) and isinstance(right, int):
            if left < right and one < len(before) and isinstance(before[one], int):
                left *= before[one]
                one += 1
            elif right < left and other < len(after) and isinstance(after[other], int):
                right *= after[other]
                other += 1
            else:
                left, right = None, 0
        if left != right or left is None:
            one, other = len(before), len(after)
        found.append((list(range(begin, one)), list(range(to, other))))
    rest = (list(range(one, len(before))), list(range(other, len(after))))
    return [*found, rest] if rest[0] or rest[1] else found


def _lock_axes(
    ties: Ties,
    value: ir.Value | None,
    end: int | None,
    *,
    first: int = 0,
    axes: Sequence[int] | None = None,
) -> None:
    for axis in axes if axes is not None else range(first, end or 0):
        ties.lock(ties.line(value, axis))


def _wider_axes(value: ir.Value | None) -> list[int]:
    return [axis for axis, size in enumerate(sizes_of(value) or ()) if size != 1]


def _rank(value: ir.Value | None) -> int:
    return len(value.shape) if value is not None and value.shape is not None else 0


def _size(value: ir.Value | None, axis: int) -> Any:
    sizes = sizes_of(value)
    return None if sizes is None else sizes[axis]
