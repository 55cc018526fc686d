"""Rows looked up in many tables and put side by side: looked up in one table, all at once.

A recommender has a table for each category and looks up one row in each: dozens of little Gathers,
whose starting costs more than the rows they copy. One table with the rows of all, and each index
moved by the rows of the tables before its own, needs one Gather.

An index that is out of range is an error, which must not become a row of the table next to it. ONNX
counts negative indices from a table's end, so an index is in range if, once wrapped, it falls among
its own table's rows; one that does not is sent beyond the end of the merged table, where the engine
refuses it as it would have before. That takes seven operations on integers, one per lookup and not
one per number looked up, and none where the graph itself keeps the indices in range.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.rules.merge_columns import (
    drop_unread,
    one_axis,
    piece_of,
    rebuild_concat,
    unread_without,
)

#: While they are merged, the tables and their copy are in memory together.
MOST_BYTES = 2**31
#: Since this opset Unsqueeze is told its axes as it is here; integers compare since the one before.
LEAST_OPSET = 13
#: Wrapping an index, moving it, and seeing to it that none enters another table.
NODES_THAT_GUARD = 7
COMPARING = frozenset({"And", "GreaterOrEqual", "Less"})
#: What leaves the range of the integers that go through it as it is, or narrows it.
SELECTING = frozenset({"Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"})
SELECTING |= {"Transpose", "Unsqueeze"}


@dataclass(frozen=True, kw_only=True)
class _Lookup:
    """One Gather of rows, with the Unsqueeze after it if there is one."""

    table: ir.Value
    rows: int
    width: int
    indices: ir.Value
    nodes: tuple[ir.Node, ...]

    @property
    def stacked(self) -> bool:
        return len(self.nodes) == 2


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """How the indices of a run of lookups become one tensor of ``rank`` axes.

    ``along`` is its axis on which the tables follow one another, ``counts`` how many indices each
    table has there. The indices are ``matrix``, or its ``picked`` columns; without a matrix, those
    of each lookup concatenated, after an axis for that is added if they are ``apart``. ``target``
    is the shape that the rows are given where they stand side by side on the last axis.
    """

    rank: int
    along: int
    counts: tuple[int, ...]
    matrix: ir.Value | None = None
    picked: tuple[int, ...] = ()
    apart: bool = False
    target: tuple[int, ...] = ()

    @property
    def nodes(self) -> int:
        """How many nodes, those that compute with the indices left out."""
        made = 0 if self.matrix is not None and not self.picked else 1
        return 1 + made + self.apart * len(self.counts) + bool(self.target)


class MergeEmbeddings(Rule):
    """One lookup in one table instead of one in each of many."""

    name = "merge-embeddings"
    requires = (
        "Gathers of rows from constant tables of one width and dtype, which nothing else reads, "
        "are stacked or concatenated, and one lookup in place of them leaves fewer nodes"
    )
    ensures = (
        "one Gather from the concatenated tables; negative indices count from their own table's "
        "end, and an index out of its own table's range is out of the merged table's range"
    )

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Merge the lookups that each Concat puts side by side."""
        version = model.opset_imports.get("", 1)
        for graph in model.graphs():
            for node in list(graph):
                if node.op_type == "Concat" and node.domain == "":
                    _merge_before(graph, node, ledger, version)


def _merge_before(graph: ir.Graph, concat: ir.Node, ledger: Ledger, version: int) -> None:
    shape = concat.outputs[0].shape
    if shape is None:
        return
    axis = concat.attributes.get_int("axis", 0) % len(shape)
    inputs, spent = list[ir.Value | None](), list[ir.Node]()
    for values, run in _runs(concat, axis):
        plan = _plan(run, axis)
        chain = [node for lookup in run for node in lookup.nodes]
        columns = [_nodes_of(lookup.indices) for lookup in run]
        every = [*chain, *(node for nodes in columns for node in nodes)]
        spared = unread_without(every, concat) + (len(run) == len(concat.inputs))
        why_not = _objection(run, plan, spared, version) if plan else ""
        if why_not:
            ledger.miss(chain, why_not)
        site = f"{concat.outputs[0].name}:{run[0].table.name}" if run else ""
        why = f"{len(run)} lookups side by side are one in a table of all their rows"
        if plan is None or why_not or not ledger.fire(site, [*chain, concat], why):
            inputs += values
        else:
            inputs.append(_merged(graph, concat, run, plan))
            spent += every
    if spent:
        rebuild_concat(graph, concat, inputs)
        drop_unread(spent)


def _runs(concat: ir.Node, axis: int) -> Iterator[tuple[list[ir.Value | None], list[_Lookup]]]:
    """Neighbours among the inputs of ``concat``: lookups that are alike, or others, with none."""
    values, run = list[ir.Value | None](), list[_Lookup]()
    for value in concat.inputs:
        lookup = _lookup(value, axis)
        if values and (lookup is None or not run or not _alike(lookup, run[0])):
            yield values, run
            values, run = [], []
        values.append(value)
        run += [] if lookup is None else [lookup]
    yield values, run


def _alike(one: _Lookup, other: _Lookup) -> bool:
    return (
        one.width == other.width
        and one.stacked == other.stacked
        and one.table.dtype == other.table.dtype
        and one.indices.dtype == other.indices.dtype
        and len(one.indices.shape or ()) == len(other.indices.shape or ())
    )


def _lookup(value: ir.Value | None, axis: int) -> _Lookup | None:
    """The lookup whose rows, with an axis added at ``axis`` or none added, are ``value``."""
    made = None if value is None else value.producer()
    if value is None or made is None or made.domain or not _read_once(value):
        return None
    nodes: tuple[ir.Node, ...] = (made,)
    if made.op_type == "Unsqueeze":
        rows = made.inputs[0]
        gather = None if rows is None else rows.producer()
        if rows is None or gather is None or not _read_once(rows) or value.shape is None:
            return None
        if one_axis(made, len(value.shape)) != axis:
            return None
        nodes = (gather, made)
    gather = nodes[0]
    if gather.op_type != "Gather" or gather.domain or gather.attributes.get_int("axis", 0) != 0:
        return None
    table, indices = gather.inputs
    if table is None or indices is None or indices.shape is None or table.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(table)
    if tensor is None or tensor.dtype == ir.DataType.STRING or table.is_graph_output():
        return None
    if len(tensor.shape) != 2:
        return None
    rows_and_width = tensor.shape.numpy()
    return _Lookup(
        table=table, rows=rows_and_width[0], width=rows_and_width[1], indices=indices, nodes=nodes
    )


def _read_once(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _nodes_of(indices: ir.Value) -> tuple[ir.Node, ...]:
    piece = piece_of(indices)
    return () if piece is None else piece.nodes


def _plan(run: Sequence[_Lookup], axis: int) -> _Plan | None:
    """How to put the indices of ``run`` together, whose rows are put together on ``axis``."""
    if len(run) < 2:
        return None
    shapes = [lookup.indices.shape or () for lookup in run]
    rank, wide = len(shapes[0]), len(run) * run[0].width
    if run[0].stacked:
        return _by_column(run, axis) if axis <= rank else None
    if axis == rank and all(shape and shape[-1] == 1 for shape in shapes):
        return replace(_in_a_row(run, rank - 1), target=(*[0] * (rank - 1), 1, wide))
    if axis == rank:
        return replace(_by_column(run, rank), target=(*[0] * rank, wide))
    return _in_a_row(run, axis) if all(isinstance(s[axis], int) for s in shapes) else None


def _by_column(run: Sequence[_Lookup], axis: int) -> _Plan:
    """Indices that lie on an axis of their own, one for each table."""
    rank, counts = len(run[0].indices.shape or ()) + 1, (1,) * len(run)
    pieces = [piece for one in run if (piece := piece_of(one.indices)) is not None]
    of_one = len({piece.whole for piece in pieces}) == 1
    if not of_one or any(not piece.dropped or piece.axis != axis for piece in pieces):
        return _Plan(rank=rank, along=axis, counts=counts, apart=True)
    if len(pieces) < len(run):
        return _Plan(rank=rank, along=axis, counts=counts, apart=True)
    whole, columns = pieces[0].whole, tuple(piece.start for piece in pieces)
    size = None if whole.shape is None else whole.shape[axis]
    picked = () if columns == tuple(range(len(columns))) and size == len(columns) else columns
    return _Plan(rank=rank, along=axis, counts=counts, matrix=whole, picked=picked)


def _in_a_row(run: Sequence[_Lookup], axis: int) -> _Plan:
    """Indices that have the axis already on which they are put together."""
    shapes = [lookup.indices.shape or () for lookup in run]
    counts = tuple(size for shape in shapes if isinstance(size := shape[axis], int))
    pieces = [piece_of(lookup.indices) for lookup in run]
    first, columns = pieces[0], list[int]()
    for piece in pieces:
        if piece is not None and first is not None and piece.whole is first.whole:
            columns += piece.columns if piece.axis == axis and not piece.dropped else ()
    matrix = None if first is None else first.whole
    complete = columns == list(range(sum(counts)))
    if matrix is None or matrix.shape is None or not complete or matrix.shape[axis] != len(columns):
        matrix = None
    return _Plan(rank=len(shapes[0]), along=axis, counts=counts, matrix=matrix)


def _objection(run: Sequence[_Lookup], plan: _Plan, spared: int, version: int) -> str:
    """Why these lookups are better left apart; empty where they are not."""
    if any(len(lookup.table.uses()) > 1 for lookup in run):
        return "a table is read elsewhere too, and would be stored twice"
    if version < LEAST_OPSET:
        return f"integers cannot be compared before opset {LEAST_OPSET}"
    rows = sum(lookup.rows for lookup in run)
    if run[0].indices.dtype not in (ir.DataType.INT32, ir.DataType.INT64):
        return "the dtype of the indices is not known"
    if run[0].indices.dtype == ir.DataType.INT32 and rows > np.iinfo(np.int32).max:
        return "the tables have more rows together than a 32-bit index can name"
    tensors = [ir.convenience.get_const_tensor(lookup.table) for lookup in run]
    if sum(tensor.nbytes for tensor in tensors if tensor is not None) > MOST_BYTES:
        return f"the tables are more than {MOST_BYTES} bytes together, too many to copy"
    guard = 1 if _in_range(run) else NODES_THAT_GUARD
    if spared <= plan.nodes + guard:
        return "one lookup and the arithmetic on its indices would be as many nodes"
    return ""


def _in_range(run: Sequence[_Lookup]) -> bool:
    """Whether the graph itself keeps every index at home in its own table."""
    for lookup in run:
        low, high = _bounds(lookup.indices)
        if low < 0 or high >= lookup.rows:
            return False
    return True


def _bounds(value: ir.Value | None) -> tuple[float, float]:
    """The least and the largest that the integers in ``value`` can be."""
    while (made := None if value is None else value.producer()) is not None and not made.domain:
        if made.op_type == "Clip" and len(made.inputs) == 3:
            ends = [constant_of(one, 1) for one in made.inputs[1:]]
            low, high = (math.inf if one is None or not one.size else float(one) for one in ends)
            # Where the ends are the wrong way round, the upper one is what comes out.
            return min(low if low < math.inf else -math.inf, high), high
        if made.op_type == "Mod" and made.attributes.get_int("fmod", 0) == 0:
            divisor = constant_of(made.inputs[1])
            if divisor is not None and divisor.size and divisor.min() > 0:
                return 0.0, float(divisor.max()) - 1
        if made.op_type not in SELECTING:
            break
        value = made.inputs[0]
    return -math.inf, math.inf


def _merged(graph: ir.Graph, concat: ir.Node, run: Sequence[_Lookup], plan: _Plan) -> ir.Value:
    """What one lookup in all tables gives, computed before ``concat``."""
    tape, name = ir.tape.Tape(), f"{run[0].table.name}_merged"
    home = run[0].table.graph if run[0].table.is_initializer() else None
    tables = [held for one in run if (held := constant_of(one.table)) is not None]
    table = add_weight(home or graph, name, np.concatenate(tables))
    indices = _moved(tape, graph, run, plan, _together(tape, graph, run, plan))
    value = tape.op("Gather", [table, indices], {"axis": 0})
    if plan.target:
        target = add_weight(graph, f"{name}_shape", np.array(plan.target, np.int64))
        value = tape.op("Reshape", [value, target])
    for node in tape.nodes:
        rows = node.inputs[0] is table or node.op_type == "Reshape"
        dtype = table.dtype if rows else run[0].indices.dtype
        dtype = ir.DataType.BOOL if node.op_type in COMPARING else dtype
        node.outputs[0].type = None if dtype is None else ir.TensorType(dtype)
    graph.insert_before(concat, tape.nodes)
    return value


def _together(tape: ir.tape.Tape, graph: ir.Graph, run: Sequence[_Lookup], plan: _Plan) -> ir.Value:
    """The indices of all lookups, as one tensor."""
    if plan.matrix is not None:
        if not plan.picked:
            return plan.matrix
        columns = add_weight(graph, f"{plan.matrix.name}_columns", np.array(plan.picked, np.int64))
        return tape.op("Gather", [plan.matrix, columns], {"axis": plan.along})
    each = [lookup.indices for lookup in run]
    if plan.apart:
        axes = add_weight(graph, f"{each[0].name}_axes", np.array([plan.along], np.int64))
        each = [tape.op("Unsqueeze", [one, axes]) for one in each]
    return tape.op("Concat", each, {"axis": plan.along})


def _moved(
    tape: ir.tape.Tape, graph: ir.Graph, run: Sequence[_Lookup], plan: _Plan, indices: ir.Value
) -> ir.Value:
    """Each index moved to where its table's rows are; beyond all of them if it was out of range."""
    rows = np.array([lookup.rows for lookup in run])
    dtype = np.int32 if run[0].indices.dtype == ir.DataType.INT32 else np.int64
    shape = (-1, *[1] * (plan.rank - plan.along - 1))

    def held(name: str, values: Sequence[int] | np.ndarray) -> ir.Value:
        each = np.repeat(np.asarray(values, dtype), plan.counts).reshape(shape)
        return add_weight(graph, f"{run[0].table.name}_{name}", each)

    first = held("first_row", np.cumsum(rows) - rows)
    if _in_range(run):
        return tape.op("Add", [indices, first])
    end = held("end_row", np.cumsum(rows))
    zero = add_weight(graph, f"{run[0].table.name}_zero", np.array(0, dtype))
    beyond = add_weight(graph, f"{run[0].table.name}_beyond", np.array(rows.sum(), dtype))
    negative = tape.op("Less", [indices, zero])
    wrapped = tape.op("Add", [indices, tape.op("Where", [negative, end, first])])
    low = tape.op("GreaterOrEqual", [wrapped, first])
    high = tape.op("Less", [wrapped, end])
    return tape.op("Where", [tape.op("And", [low, high]), wrapped, beyond])
