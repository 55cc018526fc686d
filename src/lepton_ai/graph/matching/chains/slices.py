"""A Slice of a Slice, and Slices side by side."""

from collections import defaultdict
from collections.abc import Iterable

import onnx_ir as ir

from lepton_ai.graph.matching.chains.chain import Chain, become, row
from lepton_ai.graph.matching.rewiring import remove_dead, stand_for
from lepton_ai.graph.rule import Ledger
from lepton_ai.graph.values.operands import is_standard, operand
from lepton_ai.graph.values.shape_rules import slice_bounds
from lepton_ai.graph.values.size_inference import KnownSizes
from lepton_ai.graph.values.sizes import Size

#: As an end of a walk backwards: before the first element.
BEFORE_THE_FIRST = -(2**63)
Numbers = tuple[int, int, int]


def merge(chain: Chain) -> bool:
    """Take at once what is left of the axes of both."""
    if not is_standard(chain.before, "Slice") or chain.opset < 10:
        return False
    first, second = (_numbers(node, chain.known) for node in (chain.before, chain.node))
    shape = chain.known.shape(chain.source)
    if first is None or second is None or shape is None:
        return chain.miss("where one of them begins or ends depends on the call")
    both = dict(first)
    for axis, bounds in second.items():
        if axis in first:
            composed = _composed(shape[axis], first[axis], bounds)
            if composed is None:
                return chain.miss("both cut an axis whose size depends on the call")
            both[axis] = composed
        else:
            both[axis] = bounds
    if not chain.fire("what is cut twice can be cut once"):
        return False
    axes = sorted(both)
    columns = [list(column) for column in zip(*(both[axis] for axis in axes), strict=True)]
    kinds = {"starts": columns[0], "ends": columns[1], "axes": axes, "steps": columns[2]}
    weights = [row(chain.node, kind, numbers) for kind, numbers in kinds.items()]
    become(chain.node, "Slice", [chain.source, *weights])
    remove_dead(chain.before)
    return True


def _numbers(node: ir.Node, known: KnownSizes) -> dict[int, Numbers] | None:
    bounds = slice_bounds(node, known)
    if bounds is None:
        return None
    found = {}
    for axis, (start, end, step) in bounds.items():
        if not isinstance(start, int) or not isinstance(end, int) or step == 0:
            return None
        found[axis] = (start, end, step)
    return found


def _composed(size: Size | None, first: Numbers, second: Numbers) -> Numbers | None:
    if not isinstance(size, int):
        return None
    picked = _picked(range(size), first)
    twice = None if picked is None else _picked(picked, second)
    return None if twice is None else _spelt(twice)


def _picked(positions: range, bounds: Numbers) -> range | None:
    start, end, step = bounds
    size = len(positions)
    if step < 0 and start < -size:
        # ONNX begins at the first then, Python before it.
        return None
    # An end below -size, going backwards, is before the first; in Python that is None.
    return positions[start : (None if step < 0 and end < -size else end) : step]


def _spelt(positions: range) -> Numbers:
    if not positions:
        return (0, 0, 1)
    if len(positions) == 1:
        return (positions[0], positions[0] + 1, 1)
    end = positions[-1] + positions.step
    return (positions[0], BEFORE_THE_FIRST if end < 0 else end, positions.step)


def split_siblings(nodes: Iterable[ir.Node], known: KnownSizes, ledger: Ledger, opset: int) -> None:
    """One Split in the place of Slices that share out an axis among them."""
    groups: dict[tuple[ir.Value, int], list[tuple[int, int, ir.Node]]] = defaultdict(list)
    for node in nodes:
        piece = _piece(node, known)
        if piece is not None:
            value, axis, start, end = piece
            groups[value, axis].append((start, end, node))
    for (value, axis), pieces in groups.items():
        first = pieces[0][2]
        pieces.sort(key=lambda piece: piece[:2])
        size = (known.shape(value) or ())[axis]
        ends = [0, *(end for _, end, _ in pieces)]
        if len(pieces) < 2 or ends[-1] != size or ends[:-1] != [start for start, _, _ in pieces]:
            continue
        sliced = [node for _, _, node in pieces]
        why = f"{len(pieces)} slices share out axis {axis} of {value.name!r}"
        if opset >= 2 and ledger.fire(str(sliced[0].outputs[0].name), sliced, why):
            given = value, axis, [end - start for start, end, _ in pieces]
            _split(_node(given, first, opset), sliced)


def _piece(node: ir.Node, known: KnownSizes) -> tuple[ir.Value, int, int, int] | None:
    if not is_standard(node, "Slice"):
        return None
    value, bounds = operand(node, 0), _numbers(node, known)
    shape = known.shape(value)
    if value is None or shape is None or bounds is None or len(bounds) != 1:
        return None
    ((axis, (start, end, step)),) = bounds.items()
    size = shape[axis]
    if step != 1 or not isinstance(size, int):
        return None
    start, end, _ = slice(start, end, 1).indices(size)
    return (value, axis, start, end) if start < end else None


def _node(given: tuple[ir.Value, int, list[int]], before: ir.Node, opset: int) -> ir.Node:
    """A Split of a value along an axis into sizes, put before a node."""
    value, axis, sizes = given
    if before.graph is None:
        raise ValueError(f"node {before.name!r} is in no graph")
    inputs = [value, row(before, "split", sizes)] if opset >= 13 else [value]
    attributes: dict[str, int | list[int]] = {"axis": axis}
    if opset < 13:
        attributes["split"] = sizes
    split = ir.node("Split", inputs, attributes, num_outputs=len(sizes))
    before.graph.insert_before(before, split)
    return split


def _split(split: ir.Node, sliced: list[ir.Node]) -> None:
    for node, part in zip(sliced, split.outputs, strict=True):
        old = node.outputs[0]
        name, part.type, part.shape = old.name, old.type, old.shape
        stand_for(part, old)
        part.name = name
    remove_dead(*sliced)
