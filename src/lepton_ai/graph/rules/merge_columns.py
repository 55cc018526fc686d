"""Columns taken out of one tensor one by one: taken out together, or not taken out at all."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.operands import opset_of
from lepton_ai.model.signature import Array

#: Axes, starts and ends: a longer constant than this is none of these.
LONGEST = 64
#: Before this opset the settings of a Slice are attributes.
SLICED_BY_INPUTS = 10
#: What is cut out of these is arithmetic that is folded away, not data that is moved.
FOLDED_AWAY = frozenset({"Constant", "ConstantOfShape", "Shape"})
REASONS = {
    "whole": "all the pieces of a tensor are put together as they were",
    "stretch": "neighbouring pieces of a tensor are put together, and are one piece",
    "columns": "columns of a tensor are put together, and can be taken out together",
}
MISSES = {
    "stretch": "its pieces are one, but are read elsewhere too, so that no node would be spared",
    "columns": "its columns are read elsewhere too, so that no node would be spared",
    "whole": "other pieces are put together with them, so that no node would be spared",
    None: "its pieces are in another order than they were, which copies as much in one go",
}


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of ``whole`` along ``axis``; if ``dropped``, one column, its axis taken away.

    ``nodes`` took it out, the first of them from ``whole`` itself.
    """

    whole: ir.Value
    axis: int
    start: int
    length: int
    dropped: bool
    nodes: tuple[ir.Node, ...]

    @property
    def columns(self) -> range:
        """Which columns of the whole it is."""
        return range(self.start, self.start + self.length)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Inputs of one Concat, from number ``first`` on, that were pieces of one tensor."""

    first: int
    pieces: Sequence[Piece]

    @property
    def whole(self) -> ir.Value:
        """The tensor that they are pieces of."""
        return self.pieces[0].whole

    @property
    def axis(self) -> int:
        """The axis that they are stretches of, and are put together on."""
        return self.pieces[0].axis

    @property
    def columns(self) -> list[int]:
        """Which columns of the whole they are, in their own order."""
        return [column for piece in self.pieces for column in piece.columns]

    @property
    def in_order(self) -> bool:
        """Whether they are neighbours in the whole as well, and in its order."""
        return self.columns == list(range(self.columns[0], self.columns[0] + len(self.columns)))

    @property
    def nodes(self) -> list[ir.Node]:
        """What took them out, repeats included."""
        return [node for piece in self.pieces for node in piece.nodes]


class MergeColumns(Rule):
    """What was taken apart column by column is not, or is in one go."""

    name = "merge-columns"
    requires = (
        "columns or stretches of one tensor along one axis are put together again along that axis, "
        "or cover it, and one node in place of several leaves fewer nodes"
    )
    ensures = "the tensor itself, one Slice or one Gather of it, or the outputs of one Split"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Undo what is put together again, then turn what covers an axis into one split."""
        version = opset_of(model)
        for graph in model.graphs():
            # Again while it pays: what two of them share is spared once neither has use for it.
            changed = True
            while changed:
                changed = False
                for node in _concats(graph):
                    changed |= _put_together(graph, node, ledger, version)
            for node in _concats(graph):
                for _, form, spared in _gatherable(node):
                    if not _pays(form, spared):
                        ledger.miss([node], MISSES[form])
            for first, pieces in _covering(graph):
                _split(graph, first, pieces, ledger, version)


def piece_of(value: ir.Value | None) -> Piece | None:
    """What ``value`` is a stretch of, looked up through the nodes that took it out."""
    node = None if value is None else value.producer()
    if value is None or node is None or node.domain or node.op_type not in READERS:
        return None
    return READERS[node.op_type](node, value)


def _gathered(node: ir.Node, _: ir.Value) -> Piece | None:
    whole, index = node.inputs[0], constant_of(node.inputs[1], 1)
    if whole is None or whole.shape is None or index is None or index.size != 1 or index.ndim > 1:
        return None
    axis = node.attributes.get_int("axis", 0) % len(whole.shape)
    size, start = whole.shape[axis], int(index.reshape(-1)[0])
    if isinstance(size, int) and -size <= start < size:
        return Piece(
            whole=whole,
            axis=axis,
            start=start % size,
            length=1,
            dropped=index.ndim == 0,
            nodes=(node,),
        )
    return None


def _sliced(node: ir.Node, _: ir.Value) -> Piece | None:
    whole = node.inputs[0]
    settings = slice_settings(node)
    if whole is None or whole.shape is None or settings is None:
        return None
    axis, start, end, step = settings
    size = whole.shape[axis]
    if step != 1 or not isinstance(size, int):
        return None
    start, end, _step = slice(start, end).indices(size)
    if end <= start:
        return None
    return Piece(
        whole=whole, axis=axis, start=start, length=end - start, dropped=False, nodes=(node,)
    )


def slice_settings(node: ir.Node) -> tuple[int, int, int, int] | None:
    """Axis, start, end and step of a Slice of one axis whose settings are constant."""
    whole = node.inputs[0]
    given = [constant_of(value, 1) for value in node.inputs[1:]]
    if whole is None or whole.shape is None or len(given) < 2:
        return None
    if any(one is None or one.size == 0 for one in given):
        return None
    start, end, *rest = [int(one.reshape(-1)[0]) for one in given if one is not None]
    axis, step = (*rest, *(0, 1)[len(rest) :])
    return axis % len(whole.shape), start, end, step


def _split_off(node: ir.Node, value: ir.Value) -> Piece | None:
    whole = node.inputs[0]
    if whole is None or whole.shape is None:
        return None
    axis = node.attributes.get_int("axis", 0) % len(whole.shape)
    widths = [out.shape[axis] if out.shape is not None else None for out in node.outputs]
    before = widths[: node.outputs.index(value) + 1]
    known = [width for width in before if isinstance(width, int)]
    if len(known) < len(before):
        return None
    return Piece(
        whole=whole,
        axis=axis,
        start=sum(known[:-1]),
        length=known[-1],
        dropped=False,
        nodes=(node,),
    )


def _squeezed(node: ir.Node, _: ir.Value) -> Piece | None:
    piece = piece_of(node.inputs[0])
    if piece is None or piece.dropped or piece.length != 1 or piece.whole.shape is None:
        return None
    if one_axis(node, len(piece.whole.shape)) != piece.axis:
        return None
    return replace(piece, dropped=True, nodes=(*piece.nodes, node))


def _unsqueezed(node: ir.Node, _: ir.Value) -> Piece | None:
    piece = piece_of(node.inputs[0])
    if piece is None or not piece.dropped or piece.whole.shape is None:
        return None
    if one_axis(node, len(piece.whole.shape)) != piece.axis:
        return None
    return replace(piece, dropped=False, nodes=(*piece.nodes, node))


#: How each operator that takes something out says what.
READERS: dict[str, Callable[[ir.Node, ir.Value], Piece | None]] = {
    "Gather": _gathered,
    "Slice": _sliced,
    "Split": _split_off,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
}


def one_axis(node: ir.Node, rank: int) -> int | None:
    """The only axis that a Squeeze or Unsqueeze takes or adds, counted among ``rank``."""
    if len(node.inputs) > 1:
        held = constant_of(node.inputs[1], LONGEST)
        axes = [] if held is None else held.reshape(-1).tolist()
    else:
        axes = list(node.attributes.get_ints("axes", ()))
    return int(axes[0]) % rank if len(axes) == 1 else None


def runs(concat: ir.Node, read: Callable[[ir.Value | None], Piece | None]) -> Iterator[Run]:
    """Neighbours among the inputs of ``concat`` that ``read`` finds to be of one tensor."""
    first, found = 0, list[Piece]()
    for at, value in enumerate((*concat.inputs, None)):
        piece = read(value)
        if found and (
            piece is None or (piece.whole, piece.axis) != (found[0].whole, found[0].axis)
        ):
            if len(found) > 1:
                yield Run(first=first, pieces=tuple(found))
            found = []
        if piece is not None:
            first = first if found else at
            found.append(piece)


def unread_without(nodes: Iterable[ir.Node], gone: ir.Node) -> int:
    """How many of ``nodes`` nothing would read any more if ``gone`` were gone."""
    left, removed = dict.fromkeys(nodes), {gone}
    while dead := [node for node in left if _readers(node) <= removed]:
        removed.update(dead)
        left = {node: None for node in left if node not in removed}
    return len(removed) - 1


def drop_unread(nodes: Iterable[ir.Node]) -> None:
    """Remove those of ``nodes`` that nothing reads, then those that only they read."""
    left = dict.fromkeys(nodes)
    while dead := [node for node in left if not _readers(node)]:
        for node in dead:
            del left[node]
            if node.graph is not None:
                node.graph.remove(node, safe=True)


def _readers(node: ir.Node) -> set[ir.Node | None]:
    """The nodes that read what ``node`` makes; ``None`` stands for the graph's caller."""
    readers: set[ir.Node | None] = {use.node for out in node.outputs for use in out.uses()}
    return readers | {None for out in node.outputs if out.is_graph_output()}


def rebuild_concat(graph: ir.Graph, concat: ir.Node, inputs: Sequence[ir.Value | None]) -> None:
    """Let ``concat`` read ``inputs`` instead; a single one takes its place."""
    out = concat.outputs[0]
    value = inputs[0] if len(inputs) == 1 else None
    made = None if value is None else value.producer()
    if value is not None and not out.is_graph_output():
        ir.convenience.replace_all_uses_with(out, value)
        graph.remove(concat, safe=True)
        return
    if value is not None and made is not None and made.graph is graph and _is_inner(value):
        name, out.name = out.name, None
        ir.convenience.replace_all_uses_with(out, value, replace_graph_outputs=True)
        value.name, value.type = name, value.type or out.type
        graph.remove(concat, safe=True)
        return
    attributes = list(concat.attributes.values()) if len(inputs) > 1 else []
    new = ir.Node("", "Concat" if len(inputs) > 1 else "Identity", inputs, attributes)
    ir.convenience.replace_nodes_and_values(graph, concat, [concat], [new], [out], new.outputs)


def _is_inner(value: ir.Value) -> bool:
    return not (value.is_graph_output() or value.is_graph_input() or value.is_initializer())


def _concats(graph: ir.Graph) -> list[ir.Node]:
    return [node for node in graph if node.op_type == "Concat" and node.domain == ""]


def _gatherable(concat: ir.Node) -> Iterator[tuple[Run, str | None, int]]:
    """The runs of pieces that ``concat`` puts together, what they are, and the nodes they take."""
    shape = concat.outputs[0].shape
    if shape is None:
        return
    axis = concat.attributes.get_int("axis", 0) % len(shape)

    def read(value: ir.Value | None) -> Piece | None:
        piece = piece_of(value)
        made = None if piece is None else piece.whole.producer()
        if piece is None or (made is not None and made.op_type in FOLDED_AWAY):
            return None
        return piece if not piece.dropped and piece.axis == axis else None

    for run in list(runs(concat, read)):
        spared = unread_without(run.nodes, concat) + (len(run.pieces) == len(concat.inputs))
        yield run, _form(run), spared


def _pays(form: str | None, spared: int) -> bool:
    return form is not None and spared > (form != "whole")


def _put_together(graph: ir.Graph, concat: ir.Node, ledger: Ledger, version: int) -> bool:
    inputs, shift, chain = list(concat.inputs), 0, list[ir.Node]()
    for run, form, spared in _gatherable(concat):
        site = f"{concat.outputs[0].name}:{run.whole.name}:{run.columns[0]}:{run.first}"
        if form is None or not _pays(form, spared):
            continue
        if ledger.fire(site, [*dict.fromkeys(run.nodes), concat], REASONS[form]):
            value = _taken(graph, concat, run, version) if form != "whole" else run.whole
            inputs[run.first - shift : run.first - shift + len(run.pieces)] = [value]
            shift += len(run.pieces) - 1
            chain += run.nodes
    if shift:
        rebuild_concat(graph, concat, inputs)
        drop_unread(chain)
    return shift > 0


def _form(run: Run) -> str | None:
    """What the pieces of ``run`` are together."""
    size = None if run.whole.shape is None else run.whole.shape[run.axis]
    if run.in_order:
        return "whole" if len(run.columns) == size else "stretch"
    # Longer pieces in another order are copied faster piece by piece than column by column.
    return "columns" if all(piece.length == 1 for piece in run.pieces) else None


def _taken(graph: ir.Graph, concat: ir.Node, run: Run, version: int) -> ir.Value:
    """The pieces of ``run``, taken out before ``concat`` in one go."""
    name, columns = run.whole.name, run.columns
    if run.in_order and version >= SLICED_BY_INPUTS:
        ends = (columns[0], columns[-1] + 1, run.axis, 1)
        held = [add_weight(graph, f"{name}_slice", np.array([end], np.int64)) for end in ends]
        node = ir.Node("", "Slice", [run.whole, *held])
    else:
        index = add_weight(graph, f"{name}_columns", np.array(columns, np.int64))
        node = ir.Node("", "Gather", [run.whole, index], [ir.AttrInt64("axis", run.axis)])
    _describe(node, run.whole, run.axis, len(columns))
    graph.insert_before(concat, node)
    return node.outputs[0]


def _describe(node: ir.Node, like: ir.Value, axis: int, width: int) -> None:
    node.outputs[0].type = like.type
    sizes = [width if at == axis else size for at, size in enumerate(like.shape or ())]
    node.outputs[0].shape = ir.Shape(sizes)


def _covering(graph: ir.Graph) -> Iterator[tuple[ir.Node, list[Piece]]]:
    """The pieces that together are all of one tensor along one axis, first to last.

    With them, the node among theirs that the graph comes to first.
    """
    groups: dict[tuple[ir.Value, int, bool], list[Piece]] = defaultdict(list)
    for node in graph:
        piece = piece_of(node.outputs[0]) if node.op_type in ("Gather", "Slice") else None
        made = None if piece is None else piece.whole.producer()
        if piece is not None and (made is None or made.op_type not in FOLDED_AWAY):
            groups[piece.whole, piece.axis, piece.dropped].append(piece)
    for (whole, axis, _), pieces in groups.items():
        first = pieces[0].nodes[-1]
        pieces.sort(key=lambda piece: piece.start)
        size = None if whole.shape is None else whole.shape[axis]
        covered = [column for piece in pieces for column in piece.columns]
        if len(pieces) > 1 and isinstance(size, int) and covered == list(range(size)):
            yield first, pieces


def _split(
    graph: ir.Graph, first: ir.Node, pieces: list[Piece], ledger: Ledger, version: int
) -> None:
    """One Split in place of a node for each piece."""
    nodes = [node for piece in pieces for node in piece.nodes]
    whole, axis = pieces[0].whole, pieces[0].axis
    before = list[ir.Node]()
    folded = _folded_head(pieces) if pieces[0].dropped else None
    if pieces[0].dropped and folded is None:
        ledger.miss(nodes, "a split would leave them an axis that takes as many nodes to remove")
        return
    why = f"{len(pieces)} pieces cover {whole.name!r}: one split"
    if not ledger.fire(str(nodes[0].outputs[0].name), nodes, why):
        return
    widths = [piece.length for piece in pieces]
    if folded is not None:
        before, axis, widths = _without_axis(graph, folded, len(pieces))
        whole = before[-1].outputs[0]
    values = [node.outputs[0] for node in nodes]
    parts = {str(value.name): width for value, width in zip(values, widths, strict=True)}
    new = split_node(graph, whole, axis, parts, version)
    ir.convenience.replace_nodes_and_values(
        graph, first, nodes, [*before, new], values, new.outputs
    )


def split_node(
    graph: ir.Graph, whole: ir.Value, axis: int, parts: Mapping[str, int], version: int
) -> ir.Node:
    """A Split of ``whole`` into ``parts`` of those widths, in the form of opset ``version``."""
    widths = list(parts.values())
    inputs, attributes = [whole], [ir.AttrInt64("axis", axis)]
    if version >= 13:  # before that, an attribute says what an input says since
        inputs.append(add_weight(graph, f"{next(iter(parts))}_split", np.array(widths, np.int64)))
    else:
        attributes.append(ir.AttrInt64s("split", widths))
    return ir.Node("", "Split", inputs, attributes, num_outputs=len(widths))


@dataclass(frozen=True, kw_only=True)
class _Folded:
    """A Reshape and a Transpose before the pieces, and the axis that they are taken from."""

    reshape: ir.Node
    order: tuple[int, ...]
    target: Array
    target_axis: int
    size: int


def _folded_head(pieces: Sequence[Piece]) -> _Folded | None:
    """The reshape that made the axis of ``pieces``, which a split of the axis next to it spares.

    Query, key and value of one product are often told apart so: reshaped to an axis of three,
    which is moved to the front and taken apart by index.
    """
    whole, axis = pieces[0].whole, pieces[0].axis
    turn = whole.producer()
    source = None if turn is None else turn.inputs[0]
    made = None if source is None else source.producer()
    if turn is None or source is None or made is None or source.shape is None:
        return None
    if (turn.op_type, made.op_type, turn.domain, made.domain) != ("Transpose", "Reshape", "", ""):
        return None
    if whole.is_graph_output() or len(whole.uses()) != len(pieces):
        return None
    if source.is_graph_output() or len(source.uses()) != 1:
        return None
    rank = len(source.shape)
    order = tuple(int(at) for at in turn.attributes.get_ints("perm", range(rank)[::-1]))
    target, at = constant_of(made.inputs[1], LONGEST), order[axis]
    size = source.shape[at + 1] if at + 1 < rank else None
    if target is None or not isinstance(size, int) or 0 in target[at:]:
        return None
    return _Folded(
        reshape=made,
        order=tuple(one - (one > at) for one in order if one != at),
        target=np.array([*target[:at], len(pieces) * size, *target[at + 2 :]], np.int64),
        target_axis=at,
        size=size,
    )


def _without_axis(
    graph: ir.Graph, folded: _Folded, count: int
) -> tuple[list[ir.Node], int, list[int]]:
    """The nodes before the split, the axis it splits, and the widths of its parts."""
    made = folded.reshape
    at = folded.target_axis
    target = add_weight(graph, f"{made.outputs[0].name}_heads", folded.target)
    reshape = ir.Node("", "Reshape", [made.inputs[0], target], list(made.attributes.values()))
    turn = ir.Node("", "Transpose", [reshape.outputs[0]], [ir.AttrInt64s("perm", folded.order)])
    old = list(made.outputs[0].shape or ())
    sizes = [*old[:at], count * folded.size, *old[at + 2 :]]
    for node, shape in ((reshape, sizes), (turn, [sizes[one] for one in folded.order])):
        node.outputs[0].type, node.outputs[0].shape = made.outputs[0].type, ir.Shape(shape)
    return [reshape, turn], folded.order.index(at), [folded.size] * count
