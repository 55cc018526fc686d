"""A Concat of Concats, and of all that a Split gave."""

import onnx_ir as ir

from lepton_ai.graph.matching.chains.chain import Chain, sole_reader
from lepton_ai.graph.matching.rewiring import remove_dead
from lepton_ai.graph.values.operands import attribute_int, is_standard, positive


def undo_split(chain: Chain) -> bool:
    """Hand on what a Split took apart, if the Concat puts it together again."""
    split, concat = chain.before, chain.node
    if not is_standard(split, "Split") or list(concat.inputs) != list(split.outputs):
        return False
    axes = attribute_int(split, "axis", 0), attribute_int(concat, "axis", 0)
    if axes[0] != axes[1] and _axis(split, chain) != _axis(concat, chain):
        return chain.miss("it is joined along another axis than it was split")
    return chain.hand_on(split.inputs[0], "it puts together again what was split")


def flatten(chain: Chain) -> bool:
    """Join the parts of parts directly, at the last of Concats that follow one another."""
    reader = sole_reader(chain.answer)
    if reader is not None and _is_part(chain.node, reader, chain):
        return False
    joined, parts = _taken_apart(chain)
    why = "its parts are joined along the same axis"
    if not parts or not chain.ledger.fire(str(chain.answer.name), [*parts, chain.node], why):
        return False
    chain.node.resize_inputs(len(joined))
    for index, value in enumerate(joined):
        chain.node.replace_input_with(index, value)
    remove_dead(*parts)
    return True


def _taken_apart(chain: Chain) -> tuple[list[ir.Value | None], list[ir.Node]]:
    """What the Concat joins once no part of it is a Concat that it could do itself, and those."""
    joined: list[ir.Value | None] = []
    parts: list[ir.Node] = []
    waiting = list(reversed(chain.node.inputs))
    while waiting:
        value = waiting.pop()
        part = None if value is None else value.producer()
        reader = None if value is None else sole_reader(value)
        if part is None or reader is None or not _is_part(part, reader, chain):
            joined.append(value)
        else:
            parts.append(part)
            waiting.extend(reversed(part.inputs))
    return joined, parts[::-1]


def _is_part(part: ir.Node, reader: ir.Node, chain: Chain) -> bool:
    return (
        is_standard(part, "Concat")
        and is_standard(reader, "Concat")
        and part.graph is reader.graph
        and _axis(part, chain) == _axis(reader, chain) is not None
    )


def _axis(node: ir.Node, chain: Chain) -> int | None:
    axis, rank = attribute_int(node, "axis", 0), chain.known.rank(node.inputs[0])
    if axis is None or (axis < 0 and rank is None):
        return None
    return positive([axis], rank or 0)[0]
