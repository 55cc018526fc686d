"""Transposes that meet, and one that lies between two reshapes."""

from collections.abc import Iterator

import onnx_ir as ir

from lepton_ai.graph.matching.chains.chain import Chain, become, sole_reader
from lepton_ai.graph.matching.chains.reshapes import RESHAPES, lift, walk_up
from lepton_ai.graph.matching.rewiring import can_stand_for, remove_dead, stand_for
from lepton_ai.graph.values.operands import is_standard, operand, permutation
from lepton_ai.graph.values.sizes import Size, Sizes, all_known, product


def merge(chain: Chain) -> bool:
    """Put the axes in their last order at once."""
    if not is_standard(chain.before, "Transpose"):
        return False
    axes = _composed(chain.before, chain.node, chain.known.rank(chain.source))
    if axes is None:
        return False
    if axes == sorted(axes):
        return chain.hand_on(chain.source, "its two transposes cancel")
    if not chain.fire("two transposes are one"):
        return False
    become(chain.node, "Transpose", [chain.source], perm=axes)
    remove_dead(chain.before)
    return True


def _composed(before: ir.Node, node: ir.Node, rank: int | None) -> list[int] | None:
    first, second = permutation(before, rank), permutation(node, rank)
    if first is None or second is None or len(first) != len(second):
        return None
    return [first[axis] for axis in second]


def through_elementwise(chain: Chain) -> bool:
    """Let two transposes meet that have only element-by-element operators between them."""
    walk = walk_up(chain.node, chain.known)
    if walk is None or not is_standard(walk[0], "Transpose"):
        return False
    first, between = walk
    source = operand(first, 0)
    axes = _composed(first, chain.node, chain.known.rank(source))
    if source is None or axes is None or source.shape is None:
        return False
    cancel = axes == sorted(axes) and can_stand_for(between[-1].outputs[0], chain.answer)
    if not cancel and sole_reader(first.outputs[0]) is None:
        return False
    why = f"{', '.join(node.op_type for node in between)} between its transposes keep no order"
    if not chain.ledger.fire(str(chain.answer.name), [first, *between, chain.node], why):
        return False
    last = lift(between, source, chain.known)
    if cancel:
        stand_for(last, chain.answer)
        remove_dead(chain.node, first)
    else:
        become(chain.node, "Transpose", [last], perm=axes)
        remove_dead(first)
    return True


def between_reshapes(chain: Chain) -> bool:
    """Transpose at once, where a Reshape only bundles axes and another takes them apart again."""
    transpose, split = chain.before, chain.node
    if not is_standard(transpose, "Transpose") or not is_standard(split, *RESHAPES):
        return False
    bundle = _made(transpose)
    if not is_standard(bundle, *RESHAPES) or bundle is None:
        return False
    source = operand(bundle, 0)
    shape, bundled = chain.known.shape(source), chain.known.shape(bundle.outputs[0])
    sizes = all_known(chain.known.shape(chain.answer))
    order = permutation(transpose, None if bundled is None else len(bundled))
    if source is None or shape is None or bundled is None or sizes is None or order is None:
        return False
    for groups in _groupings(shape, bundled):
        axes = [axis for group in order for axis in groups[group]]
        if tuple(shape[axis] for axis in axes) == sizes:
            return _transpose(chain, bundle, source, axes)
    return False


def _transpose(chain: Chain, bundle: ir.Node, source: ir.Value, axes: list[int]) -> bool:
    if axes == sorted(axes):
        return chain.hand_on(source, "its reshapes and transpose come to nothing")
    nodes = [bundle, chain.before, chain.node]
    why = "its reshapes only bundle axes for the transpose between them"
    if not chain.ledger.fire(str(chain.answer.name), nodes, why):
        return False
    become(chain.node, "Transpose", [source], perm=axes)
    remove_dead(chain.before)
    return True


def _made(node: ir.Node) -> ir.Node | None:
    value = operand(node, 0)
    return None if value is None else value.producer()


def _groupings(shape: Sizes, bundled: Sizes) -> Iterator[list[list[int]]]:
    """The axes of ``shape`` that each axis of ``bundled`` bundles; ones may fall to either side."""
    for ones_go_left in (True, False):
        groups = _grouped(shape, bundled, ones_go_left)
        if groups is not None:
            yield groups


def _grouped(shape: Sizes, bundled: Sizes, ones_go_left: bool) -> list[list[int]] | None:
    sizes, wanted = all_known(shape), all_known(bundled)
    if sizes is None or wanted is None:
        return None
    groups: list[list[int]] = []
    axis = 0
    for want in wanted:
        group: list[int] = []
        while axis < len(sizes) and not _enough(group, sizes, want):
            group.append(axis)
            axis += 1
        if product(sizes[one] for one in group) != want:
            return None
        while ones_go_left and axis < len(sizes) and sizes[axis] == 1:
            group.append(axis)
            axis += 1
        groups.append(group)
    groups[-1].extend(one for one in range(axis, len(sizes)) if sizes[one] == 1)
    return groups if sum(map(len, groups)) == len(sizes) and groups else None


def _enough(group: list[int], sizes: tuple[Size, ...], want: Size) -> bool:
    return bool(group) and product(sizes[axis] for axis in group) == want
