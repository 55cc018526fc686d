"""The shape of a node's first output, by operator, from sizes known by number or name.

Only what ONNX's own inference loses track of is here: operators through which a symbolic size goes
unchanged, and those whose output shape is computed by the graph.
"""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from lepton_ai.graph.values.operands import attribute_int, numbers, operand, permutation, positive
from lepton_ai.graph.values.sizes import (
    Known,
    Size,
    Sizes,
    all_known,
    at_least_zero,
    minus,
    plus,
    product,
    quotient,
)

ShapeRule = Callable[[ir.Node, Known], Sizes | None]


def broadcast(shapes: list[Sizes]) -> Sizes:
    """The shape that tensors of those shapes have together."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(_broadcast_size(list(sizes)) for sizes in zip(*padded, strict=True))


def _broadcast_size(sizes: list[Size | None]) -> Size | None:
    wide = [size for size in sizes if size != 1]
    if not wide:
        return 1
    number = next((size for size in wide if isinstance(size, int)), None)
    if number is not None:
        # The others are this or 1, else the node fails.
        return number
    return wide[0] if all(size == wide[0] for size in wide) else None


def _same(node: ir.Node, known: Known) -> Sizes | None:
    return known.shape(operand(node, 0))


def _elementwise(node: ir.Node, known: Known) -> Sizes | None:
    shapes = [known.shape(value) for value in node.inputs]
    given = [shape for shape in shapes if shape is not None]
    return broadcast(given) if len(given) == len(shapes) and given else None


def _matmul(node: ir.Node, known: Known) -> Sizes | None:
    left, right = known.shape(operand(node, 0)), known.shape(operand(node, 1))
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return None
    return (*broadcast([left[:-2], right[:-2]]), left[-2], right[-1])


def _transpose(node: ir.Node, known: Known) -> Sizes | None:
    shape = known.shape(operand(node, 0))
    axes = None if shape is None else permutation(node, len(shape))
    if shape is None or axes is None or sorted(axes) != list(range(len(shape))):
        return None
    return tuple(shape[axis] for axis in axes)


def reshaped(node: ir.Node, shape: Sizes | None, wanted: Sizes | None) -> Sizes | None:
    """The shape that a Reshape of ``shape`` to ``wanted`` (with its zeros and -1) comes to."""
    copies = attribute_int(node, "allowzero", 0) == 0
    if wanted is None:
        return None
    sizes: list[Size | None] = []
    for axis, size in enumerate(wanted):
        if size == 0 and copies:
            sizes.append(shape[axis] if shape is not None and axis < len(shape) else None)
        else:
            sizes.append(size)
    if -1 in sizes:
        at = sizes.index(-1)
        rest = all_known(tuple(sizes[:at] + sizes[at + 1 :]))
        whole = all_known(shape)
        sizes[at] = None if rest is None or whole is None else quotient(whole, rest)
    return tuple(sizes)


def _reshape(node: ir.Node, known: Known) -> Sizes | None:
    return reshaped(node, known.shape(operand(node, 0)), known.items(operand(node, 1)))


def _expand(node: ir.Node, known: Known) -> Sizes | None:
    shape, wanted = known.shape(operand(node, 0)), known.items(operand(node, 1))
    return None if shape is None or wanted is None else broadcast([shape, wanted])


def _constant_of_shape(node: ir.Node, known: Known) -> Sizes | None:
    return known.items(operand(node, 0))


def _concat(node: ir.Node, known: Known) -> Sizes | None:
    shapes = [known.shape(value) for value in node.inputs]
    given = [shape for shape in shapes if shape is not None]
    axis = attribute_int(node, "axis", 0)
    if len(given) != len(shapes) or not given or axis is None:
        return None
    axis = positive([axis], len(given[0]))[0]
    if any(len(shape) != len(given[0]) for shape in given) or axis >= len(given[0]):
        return None
    along = all_known(tuple(shape[axis] for shape in given))
    # Off the axis all are equal, so whichever is known tells.
    sizes = [next((s[i] for s in given if s[i] is not None), None) for i in range(len(given[0]))]
    sizes[axis] = None if along is None else _sum(along)
    return tuple(sizes)


def _sum(sizes: tuple[Size, ...]) -> Size:
    total: Size = 0
    for size in sizes:
        total = plus(total, size)
    return total


def _unsqueeze(node: ir.Node, known: Known) -> Sizes | None:
    shape, axes = known.shape(operand(node, 0)), numbers(node, "axes", 1)
    if shape is None or axes is None:
        return None
    added = set(positive(axes, len(shape) + len(axes)))
    rest = iter(shape)
    return tuple(1 if axis in added else next(rest) for axis in range(len(shape) + len(axes)))


def _squeeze(node: ir.Node, known: Known) -> Sizes | None:
    shape, axes = known.shape(operand(node, 0)), numbers(node, "axes", 1)
    if shape is None or axes is None:
        return None
    gone = set(positive(axes, len(shape)))
    return tuple(size for axis, size in enumerate(shape) if axis not in gone)


def _flatten(node: ir.Node, known: Known) -> Sizes | None:
    shape, axis = all_known(known.shape(operand(node, 0))), attribute_int(node, "axis", 1)
    if shape is None or axis is None or not -len(shape) <= axis <= len(shape):
        return None
    axis += len(shape) if axis < 0 else 0
    return (product(shape[:axis]), product(shape[axis:]))


def _slice(node: ir.Node, known: Known) -> Sizes | None:
    bounds = slice_bounds(node, known)
    shape = known.shape(operand(node, 0))
    if bounds is None or shape is None:
        return None
    sizes = list(shape)
    for axis, (start, end, step) in bounds.items():
        sizes[axis] = _sliced(sizes[axis], start, end, step)
    return tuple(sizes)


def slice_bounds(node: ir.Node, known: Known) -> dict[int, tuple[Size, Size, int]] | None:
    """Start, end and step by axis, as they are given, if all are known."""
    shape = known.shape(operand(node, 0))
    starts, ends = _row(node, known, "starts", 1), _row(node, known, "ends", 2)
    if shape is None or starts is None or ends is None or len(starts) != len(ends):
        return None
    axes = numbers(node, "axes", 3) if _given(node, "axes", 3) else list(range(len(starts)))
    steps = numbers(node, "steps", 4) if _given(node, "steps", 4) else [1] * len(starts)
    if axes is None or steps is None or len(axes) != len(starts) or len(steps) != len(starts):
        return None
    counted = positive(axes, len(shape))
    if len(set(counted)) != len(counted) or any(not 0 <= axis < len(shape) for axis in counted):
        return None
    return dict(zip(counted, zip(starts, ends, steps, strict=True), strict=True))


def _row(node: ir.Node, known: Known, name: str, index: int) -> tuple[Size, ...] | None:
    if name in node.attributes:
        return tuple(numbers(node, name, index) or ()) or None
    return all_known(known.items(operand(node, index)))


def _given(node: ir.Node, name: str, index: int) -> bool:
    return name in node.attributes or operand(node, index) is not None


def _sliced(size: Size | None, start: Size, end: Size, step: int) -> Size | None:
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int) and step:
        if step < 0 and start < -size:
            # ONNX begins at the first then, Python before it.
            return None
        return len(range(*slice(*_clamped(start, end, step, size)).indices(size)))
    if step == 1 and start == 0 and size is not None and (end == size or _is_endless(end)):
        return size
    return None


def _clamped(start: int, end: int, step: int, size: int) -> tuple[int | None, int | None, int]:
    # In ONNX an end below -size, going backwards, is before the first; in Python that is None.
    return start, (None if step < 0 and end < -size else end), step


def _is_endless(end: Size) -> bool:
    return isinstance(end, int) and end >= 2**31 - 1


def _gather(node: ir.Node, known: Known) -> Sizes | None:
    shape, picked = known.shape(operand(node, 0)), known.shape(operand(node, 1))
    axis = attribute_int(node, "axis", 0)
    if shape is None or picked is None or axis is None or not -len(shape) <= axis < len(shape):
        return None
    axis = positive([axis], len(shape))[0]
    return (*shape[:axis], *picked, *shape[axis + 1 :])


def _range(node: ir.Node, known: Known) -> Sizes | None:
    bounds = [known.content(value) for value in node.inputs]
    if any(bound is None or len(bound.items) != 1 for bound in bounds):
        return None
    start, end, step = (bound.items[0] for bound in bounds if bound is not None)
    if start is None or end is None or step != 1:
        return None
    length = minus(end, start)
    return (length,) if at_least_zero(length) else None


def _pad(node: ir.Node, known: Known) -> Sizes | None:
    shape, pads = known.shape(operand(node, 0)), numbers(node, "pads", 1)
    if shape is None or pads is None or len(pads) != 2 * len(shape) or operand(node, 3) is not None:
        return None
    return tuple(
        None if size is None else plus(size, pads[axis] + pads[axis + len(shape)])
        for axis, size in enumerate(shape)
    )


def _reduce(node: ir.Node, known: Known) -> Sizes | None:
    shape = known.shape(operand(node, 0))
    axes, keeps = numbers(node, "axes", 1), attribute_int(node, "keepdims", 1)
    if shape is None or axes is None or not axes or keeps is None:
        return None
    gone = set(positive(axes, len(shape)))
    if keeps:
        return tuple(1 if axis in gone else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in gone)


def _shape(node: ir.Node, known: Known) -> Sizes | None:
    picked = known.content(node.outputs[0])
    return None if picked is None else (len(picked.items),)


SAME = [
    "Abs",
    "Acos",
    "Asin",
    "Atan",
    "BatchNormalization",
    "BitwiseNot",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "CumSum",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "Mish",
    "Neg",
    "Not",
    "PRelu",
    "RMSNormalization",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Trilu",
]
ELEMENTWISE = [
    "Add",
    "And",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
]
REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
]

SHAPE_RULES: Mapping[str, ShapeRule] = {
    **dict.fromkeys(SAME, _same),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduce),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "MatMul": _matmul,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
