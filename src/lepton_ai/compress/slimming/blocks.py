"""Residual blocks: what is computed beside a value and added to it, and can be left out whole."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common as passes

from lepton_ai.compress.slimming.coupling import sizes_of


@dataclass(frozen=True, kw_only=True)
class Block:
    """The Add named ``name`` that ends a block, and ``nodes``, which then compute for nothing.

    ``skip`` is the place of the input that is left when the block goes.
    """

    name: str
    skip: int
    nodes: tuple[str, ...]


def blocks_of(model: ir.Model) -> list[Block]:
    """The residual blocks of the main graph, whose shapes are inferred and nodes named.

    An Add of two values of one shape ends one where one of the two is computed from the other.
    Blocks may lie in one another.
    """
    skips = _skips(model)
    everything = _needed(model, {})
    found = []
    for node, skip in skips.items():
        idle = everything - _needed(model, {node: skip}) - {node}
        names = tuple(str(each.name) for each in model.graph if each in idle)
        if names:
            found.append(Block(name=str(node.name), skip=skip, nodes=names))
    return found


def without_blocks(model: ir.Model, names: Collection[str]) -> ir.Model:
    """A copy of ``model`` without the blocks that the Adds ``names`` end."""
    slim = model.clone()
    for node, skip in _skips(slim).items():
        if node.name in names:
            kept = node.inputs[skip]
            assert kept is not None, "an Add has both inputs"
            ir.convenience.replace_all_uses_with(node.outputs[0], kept)
    passes.RemoveUnusedNodesPass()(slim)
    return slim


def _skips(model: ir.Model) -> dict[ir.Node, int]:
    """The Adds that end a block, with the place of what the block is computed from."""
    found = {}
    before: dict[ir.Node, int] = {}  # the nodes that a node is computed from, a bit for each
    for place, node in enumerate(model.graph):
        makers = [value.producer() if value is not None else None for value in node.inputs]
        before[node] = 1 << place
        for maker in makers:
            before[node] |= before.get(maker, 0) if maker is not None else 0
        if node.op_type != "Add" or node.domain not in ("", "ai.onnx"):
            continue
        one, other = node.inputs[:2]
        sizes = sizes_of(one)
        if sizes is None or sizes != sizes_of(other) or node.outputs[0].is_graph_output():
            continue
        for skip in (0, 1):
            maker, branch = makers[skip], makers[1 - skip]
            if maker is not None and branch is not None and before[branch] & _bit(before, maker):
                found[node] = skip
    return found


def _bit(before: Mapping[ir.Node, int], node: ir.Node) -> int:
    """The highest bit of what a node is computed from is its own."""
    return 1 << (before[node].bit_length() - 1) if node in before else 0


def _needed(model: ir.Model, cut: Mapping[ir.Node, int]) -> set[ir.Node]:
    """The nodes that the outputs are computed from, where those in ``cut`` read one input only."""
    needed: set[ir.Node] = set()
    ahead = [value.producer() for value in model.graph.outputs]
    while ahead:
        node = ahead.pop()
        if node is None or node in needed or node.graph is not model.graph:
            continue
        needed.add(node)
        read = [node.inputs[cut[node]]] if node in cut else list(node.inputs)
        for body in (g for a in node.attributes.values() for g in _bodies(a)):
            read += [value for inner in body.all_nodes() for value in inner.inputs]
            read += list(body.outputs)
        ahead += [value.producer() for value in read if value is not None]
    return needed


def _bodies(attribute: ir.Attr) -> list[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    if attribute.type == ir.AttributeType.GRAPHS:
        return list(attribute.as_graphs())
    return []
