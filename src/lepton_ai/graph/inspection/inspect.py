"""What a graph computes, what in it is redundant, and what in it can run in parallel."""

import gc
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from lepton_ai.graph.applying import free_inputs
from lepton_ai.graph.bodies import inline_functions
from lepton_ai.graph.graph_report import GraphReport, OperatorRow
from lepton_ai.graph.inspection.cost import NodeCost, infer_shapes, measure_costs
from lepton_ai.graph.inspection.findings import find
from lepton_ai.graph.inspection.known import know
from lepton_ai.graph.inspection.parallelism import parallelism
from lepton_ai.graph.onnx_file import bytes_with_weights, load_graph, operator_name


def inspect_graph(path: Path) -> GraphReport:
    """Analyse the ONNX file at ``path`` in time linear in its nodes and weights.

    Nodes in subgraphs count like any other, and a call of a function as the nodes in it.

    Raises:
        ModelError: the file is not an ONNX graph.
    """
    with _uncollected():
        return _inspect(path)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage: each walks over all nodes, and there are more the more nodes are."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _inspect(path: Path) -> GraphReport:
    model = load_graph(path)
    held = bytes_with_weights(model, path)
    inline_functions(model)
    costs = measure_costs(model)
    words = tuple(map(_words, free_inputs(model))), tuple(map(_words, model.graph.outputs))
    infer_shapes(model)
    known = know(model, costs.nodes)
    macs = [cost.macs for cost in costs.nodes.values()]
    return GraphReport(
        name=str(model.graph.name or path.stem),
        opsets=dict(model.graph.opset_imports),
        inputs=words[0],
        outputs=words[1],
        nodes=len(costs.nodes),
        parameters=_parameters(model),
        bytes=held,
        macs=sum(one or 0 for one in macs),
        uncounted=macs.count(None),
        sizes=dict(costs.sizes),
        operators=_operators(costs.nodes),
        parallelism=parallelism(known),
        findings=find(known),
    )


def _operators(costs: Mapping[ir.Node, NodeCost]) -> tuple[OperatorRow, ...]:
    groups: dict[str, list[ir.Node]] = defaultdict(list)
    for node in costs:
        groups[operator_name(node)].append(node)
    parameters = _read_first(list(costs))
    rows = [
        OperatorRow(
            operator=operator,
            count=len(nodes),
            parameters=sum(parameters[node] for node in nodes),
            macs=_total([costs[node].macs for node in nodes]),
            bytes_read=_total([costs[node].bytes_read for node in nodes]),
            bytes_written=_total([costs[node].bytes_written for node in nodes]),
        )
        for operator, nodes in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-(row.macs or 0), -row.count, row.operator)))


def _total(amounts: Sequence[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _words(value: ir.Value) -> str:
    shape = "any shape" if value.shape is None else str(value.shape)
    return f"{value.name}: {value.dtype or 'any type'} {shape}"


def _parameters(model: ir.Model) -> int:
    weights = (value for graph in model.graphs() for value in graph.initializers.values())
    return sum(value.const_value.size for value in weights if value.const_value is not None)


def _read_first(nodes: Sequence[ir.Node]) -> dict[ir.Node, int]:
    """For each node, the elements of the weights that no node before it reads."""
    seen: set[ir.Value] = set()
    elements = dict.fromkeys(nodes, 0)
    for node in nodes:
        for value in node.inputs:
            if value is None or not value.is_initializer() or value in seen:
                continue
            seen.add(value)
            elements[node] += 0 if value.const_value is None else value.const_value.size
    return elements
