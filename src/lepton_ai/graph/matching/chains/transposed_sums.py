"""Sums and products of what was transposed: the transpose can wait, where that spares another."""

import onnx_ir as ir

from lepton_ai.graph.matching.chains.chain import Chain, become, sole_reader
from lepton_ai.graph.matching.rewiring import can_stand_for, remove_dead, stand_for
from lepton_ai.graph.values.operands import is_standard, operand, permutation
from lepton_ai.graph.values.size_inference import KnownSizes

SUMS = ("Add", "Div", "Mul", "Sub")


def sink(chain: Chain) -> bool:
    """At a sum whose two inputs are transposed alike: transpose the sum instead.

    Worth a node for each of the two that nothing else reads, and one for each reader that only
    transposes back.
    """
    node = chain.node
    if not is_standard(node, *SUMS) or len(node.inputs) != 2:
        return False
    made = [None if value is None else value.producer() for value in node.inputs]
    first, second = made[0], made[1]
    if first is None or second is None or first is second:
        return False
    axes = _axes(first, chain.known)
    if axes is None or axes != _axes(second, chain.known) or node.outputs[0].is_graph_output():
        return False
    back = [axes.index(axis) for axis in range(len(axes))]
    readers = [use.node for use in node.outputs[0].uses()]
    undone = sum(_axes(reader, chain.known) == back for reader in readers)
    alone = sum(sole_reader(before.outputs[0]) is node for before in (first, second))
    if alone - 1 + undone <= 0:
        return False
    why = "both of its inputs are transposed alike, and its sum need not be"
    if not chain.ledger.fire(f"{chain.answer.name}:sink", [first, second, node], why):
        return False
    for index, before in enumerate((first, second)):
        node.replace_input_with(index, operand(before, 0))
    _transpose_after(node, axes, chain.known)
    remove_dead(first, second)
    return True


def sink_above(chain: Chain) -> bool:
    """At a transpose of such a sum, if it transposes back."""
    above = chain.before
    if not is_standard(chain.node, "Transpose") or not is_standard(above, *SUMS):
        return False
    value = operand(above, 0)
    made = None if value is None else value.producer()
    if made is None:
        return False
    inner = Chain(
        node=above, before=made, known=chain.known, ledger=chain.ledger, opset=chain.opset
    )
    return sink(inner)


def lift(chain: Chain) -> ir.Node | None:
    """At the transpose of a sum of which one part was transposed the other way: transpose the
    other part instead; the new transpose.
    """
    node, sum_ = chain.node, chain.before
    if not is_standard(sum_, *SUMS) or sole_reader(sum_.outputs[0]) is not node:
        return None
    axes = _axes(node, chain.known)
    if axes is None or sum_.graph is None or sum_.graph is not node.graph:
        return None
    back = [axes.index(axis) for axis in range(len(axes))]
    for index in (0, 1):
        part, other = operand(sum_, index), operand(sum_, 1 - index)
        made = None if part is None else part.producer()
        if part is None or other is None or made is None or sole_reader(part) is not sum_:
            continue
        if _axes(made, chain.known) != back or chain.known.rank(other) != len(axes):
            continue
        if not can_stand_for(sum_.outputs[0], chain.answer):
            return None
        why = "one of its parts was transposed the other way"
        if not chain.ledger.fire(f"{chain.answer.name}:lift", [made, sum_, node], why):
            return None
        return _lift(chain, made, index, other, axes)
    return None


def _lift(chain: Chain, made: ir.Node, index: int, other: ir.Value, axes: list[int]) -> ir.Node:
    node, sum_ = chain.node, chain.before
    shape = chain.answer.shape
    sum_.replace_input_with(index, operand(made, 0))
    moved = _transposed(other, axes, chain.known)
    _graph_of(sum_).insert_before(sum_, moved)
    sum_.replace_input_with(1 - index, moved.outputs[0])
    chain.known.carry(chain.answer, sum_.outputs[0])
    sum_.outputs[0].shape = shape
    stand_for(sum_.outputs[0], chain.answer)
    remove_dead(node, made)
    return moved


def _axes(node: ir.Node, known: KnownSizes) -> list[int] | None:
    if not is_standard(node, "Transpose"):
        return None
    return permutation(node, known.rank(operand(node, 0)))


def _transposed(value: ir.Value, axes: list[int], known: KnownSizes) -> ir.Node:
    node = ir.node("Transpose", [value], {"perm": axes})
    output = node.outputs[0]
    output.name, output.type = f"{value.name}_transposed", value.type
    if value.shape is not None:
        output.shape = ir.Shape([value.shape[axis] for axis in axes])
    sizes = known.shape(value)
    if sizes is not None:
        known.note(output, tuple(sizes[axis] for axis in axes))
    return node


def _transpose_after(node: ir.Node, axes: list[int], known: KnownSizes) -> None:
    """Let the readers of ``node`` read it transposed, and ``node`` have the shape before that."""
    answer = node.outputs[0]
    back = [axes.index(axis) for axis in range(len(axes))]
    sizes, shape = known.shape(answer), answer.shape
    later = ir.node("Transpose", [], {"perm": axes})
    output = later.outputs[0]
    output.name, output.type, output.shape = f"{answer.name}_transposed", answer.type, shape
    known.carry(answer, output)
    answer.replace_all_uses_with(output)
    become(later, "Transpose", [answer], perm=axes)
    _graph_of(node).insert_after(node, later)
    if shape is not None:
        answer.shape = ir.Shape([shape[axis] for axis in back])
    if sizes is not None:
        known.note(answer, tuple(sizes[axis] for axis in back))


def _graph_of(node: ir.Node) -> ir.Graph:
    if node.graph is None:
        raise ValueError(f"node {node.name!r} is in no graph")
    return node.graph
