"""What a graph computes, what in it is redundant, and what in it can run in parallel."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from lepton_ai.graph.cost import bind_sizes, infer_shapes, multiply_accumulates
from lepton_ai.graph.findings import Finding, critical_path, find
from lepton_ai.graph.onnx_file import load_graph, operator_name


@dataclass(frozen=True, kw_only=True)
class OperatorRow:
    """All nodes of one operator.

    ``parameters`` are the elements of the weights they read, each weight counted at its first
    reader. ``macs`` are multiply-accumulates; ``None`` where the shape of some node is not known.
    """

    operator: str
    count: int
    parameters: int
    macs: int | None


@dataclass(frozen=True, kw_only=True)
class GraphReport:
    """What :func:`inspect_graph` found.

    ``opsets`` maps a domain to its version. Inputs and outputs are in words (``x: FLOAT [n,3]``).
    ``sizes`` are the values that symbolic sizes were counted at. ``macs`` counts the nodes whose
    shapes are known (``uncounted``: those whose are not); FLOPs are twice that. ``parallelism`` is
    nodes per step of the longest chain: 1.0 if nothing can run beside anything else.
    """

    name: str
    opsets: dict[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: int
    parameters: int
    bytes: int
    macs: int
    uncounted: int
    sizes: dict[str, int]
    operators: tuple[OperatorRow, ...]
    critical_path: int
    parallelism: float
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        return asdict(self)


def inspect_graph(path: Path) -> GraphReport:
    """Analyse the ONNX file at ``path`` in time linear in its nodes and weights.

    Raises:
        ModelError: the file is not an ONNX graph.
    """
    model = load_graph(path)
    # What comes next forgets the symbolic sizes, so what tells of them is taken first.
    inputs = tuple(
        _words(value) for value in model.graph.inputs if value.name not in model.graph.initializers
    )
    outputs = tuple(_words(value) for value in model.graph.outputs)
    infer_shapes(model)
    findings, longest = find(model), critical_path(model)
    every = list(model.graph.all_nodes())
    nodes, parameters = len(model.graph), _parameters(model)
    beside, readers = _bytes_beside(model, path), _read_first(every)
    sizes = bind_sizes(model)
    costs = {node: multiply_accumulates(node) for node in every}
    return GraphReport(
        name=str(model.graph.name or path.stem),
        opsets=dict(model.graph.opset_imports),
        inputs=inputs,
        outputs=outputs,
        nodes=nodes,
        parameters=parameters,
        bytes=path.stat().st_size + beside,
        macs=sum(cost or 0 for cost in costs.values()),
        uncounted=sum(cost is None for cost in costs.values()),
        sizes=sizes,
        operators=_operators(costs, readers),
        critical_path=longest,
        parallelism=round(nodes / longest, 3) if longest else 0.0,
        findings=findings,
    )


def _operators(
    costs: Mapping[ir.Node, int | None], parameters: Mapping[ir.Node, int]
) -> tuple[OperatorRow, ...]:
    groups: dict[str, list[ir.Node]] = defaultdict(list)
    for node in costs:
        groups[operator_name(node)].append(node)
    rows = []
    for operator, nodes in groups.items():
        known = [cost for node in nodes if (cost := costs[node]) is not None]
        rows.append(
            OperatorRow(
                operator=operator,
                count=len(nodes),
                parameters=sum(parameters[node] for node in nodes),
                macs=sum(known) if len(known) == len(nodes) else None,
            )
        )
    return tuple(sorted(rows, key=lambda row: (-(row.macs or 0), -row.count, row.operator)))


def _words(value: ir.Value) -> str:
    shape = "any shape" if value.shape is None else str(value.shape)
    return f"{value.name}: {value.dtype or 'any type'} {shape}"


def _parameters(model: ir.Model) -> int:
    weights = model.graph.initializers.values()
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


def _bytes_beside(model: ir.Model, path: Path) -> int:
    """The size of the files that hold weights outside the graph's own."""
    beside = {
        Path(path.parent, value.const_value.location)
        for value in model.graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    return sum(file.stat().st_size for file in beside if file.is_file())
