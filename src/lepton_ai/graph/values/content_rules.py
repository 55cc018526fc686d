"""What a node of integer arithmetic computes, by operator, in sizes known by number or name."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from lepton_ai.graph.values.operands import attribute_int, is_given, numbers, numbers_of, operand
from lepton_ai.graph.values.shape_rules import slice_bounds
from lepton_ai.graph.values.sizes import (
    Content,
    Known,
    Size,
    Sizes,
    Symbolic,
    all_known,
    at_least_zero,
    minus,
    plus,
    product,
    quotient,
    symbol,
    times,
)

ContentRule = Callable[[ir.Node, Known], Content | None]
#: A row longer than this is no shape.
MOST_ITEMS = 64


def _shape(node: ir.Node, known: Known) -> Content | None:
    shape = known.shape(operand(node, 0))
    start, end = attribute_int(node, "start", 0), attribute_int(node, "end", 2**31)
    if shape is None or start is None or end is None:
        return None
    return Content(1, shape[slice(start, end)])


def _size(node: ir.Node, known: Known) -> Content | None:
    shape = all_known(known.shape(operand(node, 0)))
    return None if shape is None else Content(0, (product(shape),))


def _same(node: ir.Node, known: Known) -> Content | None:
    return known.content(operand(node, 0))


def _cast(node: ir.Node, known: Known) -> Content | None:
    value = operand(node, 0)
    held = known.content(value)
    if held is None or value is None or value.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    to = attribute_int(node, "to", 0)
    return held if to in (ir.DataType.INT64, ir.DataType.INT32) and _fits(held) else None


def _holds(dtype: ir.DataType | None, items: Sizes) -> bool:
    """Whether the numbers among ``items`` stay in the range of ``dtype`` and do not wrap around."""
    most = 2**31 if dtype == ir.DataType.INT32 else 2**63
    return all(not isinstance(item, int) or -most <= item < most for item in items)


def _fits(held: Content) -> bool:
    # Sizes fit 32 bits; a number that stands for "to the end" may not.
    return all(not isinstance(item, int) or abs(item) < 2**31 for item in held.items)


def _gather(node: ir.Node, known: Known) -> Content | None:
    row, picked = known.items(operand(node, 0)), known.content(operand(node, 1))
    if row is None or picked is None or attribute_int(node, "axis", 0) not in (0, -1):
        return None
    found: list[Size | None] = []
    for at in picked.items:
        if not isinstance(at, int) or not -len(row) <= at < len(row):
            return None
        found.append(row[at])
    return Content(picked.rank, tuple(found))


def _slice(node: ir.Node, known: Known) -> Content | None:
    row, bounds = known.items(operand(node, 0)), slice_bounds(node, known)
    if row is None or bounds is None or list(bounds) != [0]:
        return None
    start, end, step = bounds[0]
    if not isinstance(start, int) or not isinstance(end, int) or step < 1:
        return None
    return Content(1, row[slice(start, end, step)])


def _concat(node: ir.Node, known: Known) -> Content | None:
    items: list[Size | None] = []
    for value in node.inputs:
        row, shape = known.items(value), known.shape(value)
        if row is not None:
            items.extend(row)
        elif shape is not None and len(shape) == 1 and isinstance(shape[0], int):
            items.extend([None] * min(shape[0], MOST_ITEMS + 1))
        else:
            return None
    return Content(1, tuple(items))


def _unsqueeze(node: ir.Node, known: Known) -> Content | None:
    held, axes = known.content(operand(node, 0)), numbers(node, "axes", 1)
    if held is None or held.rank != 0 or axes not in ([0], [-1]):
        return None
    return Content(1, held.items)


def _squeeze(node: ir.Node, known: Known) -> Content | None:
    row = known.items(operand(node, 0))
    return Content(0, row) if row is not None and len(row) == 1 else None


def _reshape(node: ir.Node, known: Known) -> Content | None:
    held, wanted = known.content(operand(node, 0)), known.items(operand(node, 1))
    if held is None or wanted is None:
        return None
    if wanted == ():
        return Content(0, held.items) if len(held.items) == 1 else None
    if wanted in ((-1,), (len(held.items),)):
        return Content(1, held.items)
    return None


def _elementwise(combine: Callable[[Size, Size], Size | None]) -> ContentRule:
    def compute(node: ir.Node, known: Known) -> Content | None:
        paired = _pairs(known.content(operand(node, 0)), known.content(operand(node, 1)))
        if paired is None or len(node.inputs) != 2:
            return None
        rank, pairs = paired
        items = tuple(None if a is None or b is None else combine(a, b) for a, b in pairs)
        return Content(rank, items) if _holds(node.outputs[0].dtype, items) else None

    return compute


def _pairs(
    a: Content | None, b: Content | None
) -> tuple[int, list[tuple[Size | None, Size | None]]] | None:
    """The items of two tensors, broadcast to each other."""
    if a is None or b is None:
        return None
    length = max(len(a.items), len(b.items)) if a.items and b.items else 0
    left, right = _stretched(a.items, length), _stretched(b.items, length)
    if left is None or right is None:
        return None
    return max(a.rank, b.rank), list(zip(left, right, strict=True))


def _stretched(items: Sizes, length: int) -> Sizes | None:
    if len(items) == length:
        return items
    return items * length if len(items) == 1 else None


def _divide(a: Size, b: Size) -> Size | None:
    if b == 0 or not at_least_zero(a) or not at_least_zero(b):
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    exact = quotient([a], [b])
    # What is left over has no name in the graph; equal divisions are equal all the same.
    return exact if exact is not None and isinstance(b, int) else symbol(f"({a})//({b})")


def _remainder(a: Size, b: Size) -> Size | None:
    if isinstance(a, int) and isinstance(b, int) and a >= 0 and b > 0:
        return a % b
    return None


def _least(a: Size, b: Size) -> Size | None:
    return _extreme(min, "Min", a, b)


def _most(a: Size, b: Size) -> Size | None:
    return _extreme(max, "Max", a, b)


def _extreme(choose: Callable[[int, int], int], name: str, a: Size, b: Size) -> Size | None:
    if isinstance(a, int) and isinstance(b, int):
        return choose(a, b)
    if a == b:
        return a
    if not at_least_zero(a) or not at_least_zero(b):
        return None
    return symbol(f"{name}({', '.join(sorted((str(a), str(b))))})")


def _equal(a: Size, b: Size) -> Size | None:
    if a == b:
        return 1
    apart = minus(a, b)
    if isinstance(apart, int):
        return 0
    # A size is never the -1 that stands for one.
    for size, other in ((a, b), (b, a)):
        if isinstance(other, int) and other < 0 and at_least_zero(size):
            return 0
    return None


def _where(node: ir.Node, known: Known) -> Content | None:
    chosen = known.content(operand(node, 0))
    left, right = known.content(operand(node, 1)), known.content(operand(node, 2))
    if chosen is None or left is None or right is None:
        return None
    length = max(len(chosen.items), len(left.items), len(right.items))
    rows = [_stretched(content.items, length) for content in (chosen, left, right)]
    rank = max(chosen.rank, left.rank, right.rank)
    if rows[0] is None or rows[1] is None or rows[2] is None:
        return None
    picked = tuple(
        None if is_left is None else yes if is_left else no
        for is_left, yes, no in zip(rows[0], rows[1], rows[2], strict=True)
    )
    return Content(rank, picked)


def _constant_of_shape(node: ir.Node, known: Known) -> Content | None:
    shape = known.items(operand(node, 0))
    if shape is None or len(shape) > 1 or not all(isinstance(size, int) for size in shape):
        return None
    length = shape[0] if shape else 1
    if not isinstance(length, int) or not 0 <= length <= MOST_ITEMS:
        return None
    filled = node.attributes.get("value")
    fill = (
        0 if filled is None or filled.is_ref() else int(filled.as_tensor().numpy().reshape(-1)[0])
    )
    return Content(len(shape), (fill,) * length)


def _reduce_prod(node: ir.Node, known: Known) -> Content | None:
    row = all_known(known.items(operand(node, 0)))
    keeps = attribute_int(node, "keepdims", 1)
    if row is None or keeps is None:
        return None
    if is_given(node, "axes", 1) and numbers(node, "axes", 1) not in ([0], [-1]):
        return None
    if not is_given(node, "axes", 1) and attribute_int(node, "noop_with_empty_axes", 0) != 0:
        return None
    return Content(1 if keeps else 0, (product(row),))


def _expand(node: ir.Node, known: Known) -> Content | None:
    held, wanted = known.content(operand(node, 0)), numbers_of(operand(node, 1))
    if held is None or wanted is None or len(wanted) != 1 or not 1 <= wanted[0] <= MOST_ITEMS:
        return None
    items = held.items if wanted[0] == 1 else _stretched(held.items, wanted[0])
    return None if items is None else Content(1, items)


def _negate(node: ir.Node, known: Known) -> Content | None:
    held = known.content(operand(node, 0))
    if held is None:
        return None
    return Content(held.rank, tuple(None if i is None else times(-1, i) for i in held.items))


def _not_symbolic(node: ir.Node, known: Known) -> Content | None:
    held = known.content(operand(node, 0))
    if held is None or any(isinstance(item, Symbolic) for item in held.items):
        return None
    return Content(held.rank, tuple(None if item is None else int(not item) for item in held.items))


CONTENT_RULES: Mapping[str, ContentRule] = {
    "Add": _elementwise(plus),
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _elementwise(_divide),
    "Equal": _elementwise(_equal),
    "Expand": _expand,
    "Gather": _gather,
    "Identity": _same,
    "Max": _elementwise(_most),
    "Min": _elementwise(_least),
    "Mod": _elementwise(_remainder),
    "Mul": _elementwise(times),
    "Neg": _negate,
    "Not": _not_symbolic,
    "ReduceProd": _reduce_prod,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _elementwise(minus),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
