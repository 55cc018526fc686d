"""Shape arithmetic done ahead of time, as far as sizes are known by number or by name."""

from collections import ChainMap
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.bodies import graphs_of
from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.graph.matching.chains.chain import become, sole_reader
from lepton_ai.graph.matching.rewiring import remove_dead, stand_for
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.content_rules import CONTENT_RULES
from lepton_ai.graph.values.operands import (
    attribute_int,
    is_standard,
    numbers_of,
    operand,
    opset_of,
)
from lepton_ai.graph.values.shape_rules import reshaped, slice_bounds
from lepton_ai.graph.values.size_inference import KnownSizes
from lepton_ai.graph.values.sizes import Content, Size, Sizes, all_known
from lepton_ai.graph.values.written_shapes import written

#: From this opset on, Shape answers with a part of the shape where it is asked to.
SHAPE_IN_PART = 15
#: As an end, "to the last": larger than any size, and still 32 bits.
TO_THE_END = 2**31 - 1
Seen = ChainMap[tuple[ir.DataType | None, Content], ir.Value]


class FoldShapes(Rule):
    """Exporters compute shapes at run time, node by node, even where most of it is known."""

    name = "fold-shapes"
    requires = "a computed shape holds only sizes that are known, are copied, or can be inferred"
    ensures = "the shape is a constant, or is computed once where it depends on the call"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Fold what is constant, settle Reshape, Expand and Slice, and share what is left."""
        folding = _Folding(KnownSizes(model), ledger, opset_of(model))
        folding.visit(model.graph, ChainMap())


@dataclass(frozen=True)
class _Folding:
    known: KnownSizes
    ledger: Ledger
    opset: int

    def visit(self, graph: ir.Graph, seen: Seen) -> None:
        """Fold ``graph`` and those inside; ``seen`` holds what was computed before, by contents."""
        for node in graph:
            for inner in graphs_of(node):
                self.visit(inner, seen.new_child())
            if node.domain not in ("", "ai.onnx"):
                continue
            if node.op_type in SETTLED:
                self._settle(node)
            if node.op_type in CONTENT_RULES and len(node.outputs) == 1 and node.graph is not None:
                self._fold(node, seen)
            if self.opset >= SHAPE_IN_PART and node.graph is not None:
                self._cut(node)

    def _settle(self, node: ir.Node) -> None:
        """Give ``node`` the constant that it can do with in place of a computed shape."""
        index, settle = SETTLED[node.op_type]
        computed = operand(node, index)
        if computed is None or constant_of(computed) is not None:
            return
        wanted = settle(node, self.known)
        if isinstance(wanted, str):
            self.ledger.miss([node], wanted)
            return
        made = computed.producer()
        gone = [node] if made is None else [node, made]
        why = f"its {NOUNS[node.op_type]} can be written down: {wanted}"
        if not self.ledger.fire(f"{node.outputs[0].name}:{index}", gone, why):
            return
        held = np.array(wanted, dtype=np.int32 if computed.dtype == ir.DataType.INT32 else np.int64)
        node.replace_input_with(index, add_weight(_graph_of(node), f"{computed.name}_known", held))
        if is_standard(node, "Reshape"):
            # Zeros now copy an axis, whatever they meant in the shape that was computed.
            node.attributes.pop("allowzero", None)
        remove_dead(made)

    def _cut(self, node: ir.Node) -> None:
        """Let Shape itself answer with the part of the shape that is picked from it."""
        part = _part(node, self.known)
        if part is None:
            return
        source, nodes, (start, end) = part
        axes = f"axis {start}" if end == start + 1 else f"axes {start} to {end - 1}"
        if self.ledger.fire(f"{node.outputs[0].name}:part", nodes, f"it is {axes} of a shape"):
            become(node, "Shape", [source], start=start, end=end)
            remove_dead(*nodes[:-1][::-1])

    def _fold(self, node: ir.Node, seen: Seen) -> None:
        """Let a constant, or the first that computed the same, stand for what ``node`` computes."""
        value = node.outputs[0]
        content = self.known.content(value)
        if content is None or all_known(content.items) is None or value.is_graph_output():
            return
        if all(isinstance(item, int) for item in content.items):
            if self.ledger.fire(
                str(value.name), [node], f"it is {list(content.items)} in every call"
            ):
                stand_for(_constant(node, content), value)
                remove_dead(node)
            return
        first = seen.get((value.dtype, content))
        if first is None or _is_gone(first):
            seen[value.dtype, content] = value
            return
        sizes = ", ".join(map(str, content.items))
        if self.ledger.fire(
            str(value.name), [node], f"{first.name!r} holds the same sizes: {sizes}"
        ):
            stand_for(first, value)
            remove_dead(node)


def _part(
    node: ir.Node, known: KnownSizes
) -> tuple[ir.Value, list[ir.Node], tuple[int, int]] | None:
    """The value whose shape is picked from, the nodes that do it, and from which axis to which."""
    made = _only_read_by(node)
    if made is None or not is_standard(node, "Slice", "Unsqueeze"):
        return None
    if is_standard(node, "Slice"):
        bounds = slice_bounds(node, known)
        picked = None if bounds is None or set(bounds) != {0} else bounds[0]
        nodes = [made, node]
    else:
        index = numbers_of(operand(made, 1)) if is_standard(made, "Gather") else None
        scalar = known.rank(operand(made, 1)) == 0 and known.rank(node.outputs[0]) == 1
        # One after the last, counted from the end, would be the first.
        picked = (index[0], index[0] + 1 or TO_THE_END, 1) if index and scalar else None
        shape = made.inputs[0].producer() if made.inputs[0] is not None else None
        nodes = [] if shape is None else [shape, made, node]
    if picked is None or not nodes or not is_standard(nodes[0], "Shape") or nodes[0].attributes:
        return None
    source = operand(nodes[0], 0)
    rank, (start, end, step) = known.rank(source), picked
    if source is None or rank is None or step != 1:
        return None
    if not isinstance(start, int) or not isinstance(end, int):
        return None
    start, end, _ = slice(start, end).indices(rank)
    return (source, nodes, (start, end)) if start < end else None


def _only_read_by(node: ir.Node) -> ir.Node | None:
    """The node before ``node``, if what it computes is for ``node`` alone."""
    value = operand(node, 0)
    return value.producer() if value is not None and sole_reader(value) is node else None


def _is_gone(value: ir.Value) -> bool:
    """Whether the node that computed ``value`` was taken out since."""
    made = value.producer()
    return made is not None and made.graph is None


def _constant(node: ir.Node, content: Content) -> ir.Value:
    value = node.outputs[0]
    if value.dtype is None:
        raise ValueError(f"the answer of node {node.name!r} has no dtype")
    shape = (len(content.items),) if content.rank else ()
    held = np.array(content.items, dtype=value.dtype.numpy()).reshape(shape)
    return add_weight(_graph_of(node), f"{value.name}_known", held)


def _graph_of(node: ir.Node) -> ir.Graph:
    if node.graph is None:
        raise ValueError(f"node {node.name!r} is in no graph")
    return node.graph


def _reshape(node: ir.Node, known: KnownSizes) -> list[int] | str:
    """The shape in numbers: 0 for an axis that is copied, -1 for one that follows from the rest."""
    shape, wanted = known.shape(operand(node, 0)), known.items(operand(node, 1))
    if wanted is None:
        return "not even the number of axes that it is reshaped to is known"
    allowed = attribute_int(node, "allowzero", 0)
    if allowed is None or (allowed == 1 and 0 in wanted):
        return "it is reshaped to no elements"
    sizes = reshaped(node, shape, wanted)
    if sizes is None or shape is None:
        return "its input's shape is not known"
    return written(shape, sizes, wanted)


def _expand(node: ir.Node, known: KnownSizes) -> list[int] | str:
    """The shape in numbers: 1 for an axis that stays as it is."""
    shape, wanted = known.shape(operand(node, 0)), known.items(operand(node, 1))
    if shape is None or wanted is None:
        return "its input's shape or the one asked for is not known"
    padded: Sizes = (1,) * (len(wanted) - len(shape)) + shape
    numbers: list[int] = []
    for size, has in zip(wanted, padded[len(padded) - len(wanted) :], strict=True):
        if isinstance(size, int):
            numbers.append(size)
        elif size is not None and size == has:
            numbers.append(1)
        else:
            return f"it is widened to a size that depends on the call: {_shown(size)}"
    return numbers


def _slice_end(node: ir.Node, known: KnownSizes) -> list[int] | str:
    """The ends in numbers, if each is a number or that of the axis itself."""
    shape, ends = known.shape(operand(node, 0)), known.items(operand(node, 2))
    axes = operand(node, 3)
    picked = known.items(axes) if axes is not None else None
    if shape is None or ends is None or (axes is not None and picked is None):
        return "its input's shape, its ends or axes are not known"
    steps = operand(node, 4)
    forward = known.items(steps) if steps is not None else (1,) * len(ends)
    numbers: list[int] = []
    for at, end in enumerate(ends):
        axis = at if picked is None else picked[at]
        step = forward[at] if forward is not None else None
        if isinstance(end, int):
            numbers.append(end)
        elif end is not None and isinstance(axis, int) and end == shape[axis] and _forward(step):
            numbers.append(TO_THE_END)
        else:
            return f"it ends at a size that depends on the call: {_shown(end)}"
    return numbers


def _forward(step: Size | None) -> bool:
    return isinstance(step, int) and step > 0


def _shown(size: Size | None) -> str:
    return "one that is not known" if size is None else str(size)


#: Which input holds the shape, and what it can be in numbers, or why it cannot.
SETTLED = {"Expand": (1, _expand), "Reshape": (1, _reshape), "Slice": (2, _slice_end)}
NOUNS = {"Expand": "widening", "Reshape": "shape", "Slice": "ends"}
