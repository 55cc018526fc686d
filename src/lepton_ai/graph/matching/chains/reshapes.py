"""Reshape, Squeeze, Unsqueeze, Flatten, one after the other: only the last shape matters."""

from collections.abc import Sequence

import onnx_ir as ir

from lepton_ai.graph.matching.chains.chain import Chain, become, row, sole_reader, through
from lepton_ai.graph.matching.rewiring import can_stand_for, remove_dead, stand_for
from lepton_ai.graph.values.operands import is_standard, numbers, operand, permutation, positive
from lepton_ai.graph.values.size_inference import KnownSizes
from lepton_ai.graph.values.sizes import Sizes, same
from lepton_ai.graph.values.written_shapes import written

RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
#: From here on, axes are an input of Squeeze and Unsqueeze.
AXES_GIVEN = 13


def reshapes(node: ir.Node | None, known: KnownSizes) -> bool:
    """Whether all that ``node`` changes is the shape, not the order of the elements."""
    if is_standard(node, *RESHAPES):
        return True
    if node is None or not is_standard(node, "Transpose"):
        return False
    shape = known.shape(operand(node, 0))
    axes = None if shape is None else permutation(node, len(shape))
    if shape is None or axes is None or len(axes) != len(shape):
        return False
    moved = [axis for axis in axes if shape[axis] != 1]
    return moved == sorted(moved)


def merge(chain: Chain) -> bool:
    """Go to the last shape at once."""
    node, before, known = chain.node, chain.before, chain.known
    if not (reshapes(before, known) and reshapes(node, known)):
        return False
    if is_standard(node, "Transpose") and is_standard(before, "Transpose"):
        return False
    source, sizes = chain.source, known.shape(chain.answer)
    if source is None:
        return False
    if same(known.shape(source), sizes) or _undone(before, node):
        return chain.hand_on(source, f"its {before.op_type} and {node.op_type} cancel")
    axes = _both_axes(before, node, known) if chain.opset >= AXES_GIVEN else None
    if axes is not None:
        if not chain.fire(f"two {node.op_type} are one"):
            return False
        node.replace_input_with(1, row(node, "axes", axes))
        chain.read(source)
        return True
    numbers_or_why = _written(node, known, known.shape(source), sizes)
    if isinstance(numbers_or_why, str):
        return chain.miss(numbers_or_why)
    if not chain.fire(f"only the last of {before.op_type} and {node.op_type} matters"):
        return False
    become(node, "Reshape", [source, row(node, "shape", numbers_or_why)])
    remove_dead(before)
    return True


def _written(
    node: ir.Node, known: KnownSizes, shape: Sizes | None, sizes: Sizes | None
) -> list[int] | str:
    if shape is None or sizes is None:
        return "the shape before or after is not known"
    if 0 in sizes:
        return "it may have no elements"
    wanted = known.items(operand(node, 1)) if is_standard(node, "Reshape") else None
    # What was copied came from the shape in between, so only what was inferred still is.
    asked = tuple(-1 if size == -1 else None for size in wanted or ())
    return written(shape, sizes, asked)


def _undone(before: ir.Node, node: ir.Node) -> bool:
    """Whether axes are put in and taken out again, or the other way round."""
    if {before.op_type, node.op_type} != {"Squeeze", "Unsqueeze"}:
        return False
    first, second = numbers(before, "axes", 1), numbers(node, "axes", 1)
    return first is not None and second is not None and sorted(first) == sorted(second)


def _both_axes(before: ir.Node, node: ir.Node, known: KnownSizes) -> list[int] | None:
    """The axes of two Squeeze or two Unsqueeze together."""
    if before.op_type != node.op_type or node.op_type not in ("Squeeze", "Unsqueeze"):
        return None
    first, second = numbers(before, "axes", 1), numbers(node, "axes", 1)
    rank = known.rank(operand(before, 0))
    if first is None or second is None or rank is None:
        return None
    if node.op_type == "Squeeze":
        gone = set(positive(first, rank))
        left = [axis for axis in range(rank) if axis not in gone]
        return sorted(gone | {left[axis] for axis in positive(second, len(left))})
    middle = rank + len(first)
    late = set(positive(second, middle + len(second)))
    kept = [axis for axis in range(middle + len(second)) if axis not in late]
    return sorted(late | {kept[axis] for axis in positive(first, middle)})


def through_elementwise(chain: Chain) -> bool:
    """Let two reshapes meet that have only element-by-element operators between them."""
    walk = walk_up(chain.node, chain.known)
    if walk is None:
        return False
    first, between = walk
    if not reshapes(first, chain.known) or is_standard(first, "Transpose"):
        return False
    source, sizes = operand(first, 0), chain.known.shape(chain.answer)
    shape = chain.known.shape(source)
    if source is None or shape is None or source.shape is None:
        return False
    cancel = same(shape, sizes) and can_stand_for(between[-1].outputs[0], chain.answer)
    alone = sole_reader(first.outputs[0]) is not None
    numbers_or_why = _written(chain.node, chain.known, shape, sizes)
    if not cancel and (isinstance(numbers_or_why, str) or not alone):
        return False
    why = f"{', '.join(node.op_type for node in between)} between its reshapes work on any shape"
    if not chain.ledger.fire(str(chain.answer.name), [first, *between, chain.node], why):
        return False
    last = lift(between, source, chain.known)
    if cancel:
        stand_for(last, chain.answer)
        remove_dead(chain.node, first)
    elif not isinstance(numbers_or_why, str):
        become(chain.node, "Reshape", [last, row(chain.node, "shape", numbers_or_why)])
        remove_dead(first)
    return True


def walk_up(node: ir.Node, known: KnownSizes) -> tuple[ir.Node, list[ir.Node]] | None:
    """The first node above ``node`` that is not element by element, and those between, in order.

    Each of those is read by the next alone.
    """
    between: list[ir.Node] = []
    value = operand(node, 0)
    while value is not None:
        made = value.producer()
        if made is None or made.graph is not node.graph:
            return None
        index = through(made)
        if index is None:
            return (made, between[::-1]) if between else None
        if sole_reader(value) is None:
            return None
        between.append(made)
        value = operand(made, index)
    return None


def lift(between: Sequence[ir.Node], source: ir.Value, known: KnownSizes) -> ir.Value:
    """Let the nodes ``between`` work on ``source`` in its own shape; the last value of them."""
    between[0].replace_input_with(through(between[0]) or 0, source)
    for node in between:
        known.carry(source, node.outputs[0])
        node.outputs[0].shape = source.shape
    return between[-1].outputs[0]
