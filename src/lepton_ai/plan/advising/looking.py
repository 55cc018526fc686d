"""What a child process runs to look at a graph: costs, weights, what can go, what is idle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from lepton_ai.compress.slimming.blocks import blocks_of
from lepton_ai.compress.slimming.components import components_of
from lepton_ai.compress.slimming.slim import ready
from lepton_ai.graph.inspection.cost import NodeCost, measure_costs
from lepton_ai.graph.inspection.inspect import inspect_graph
from lepton_ai.graph.matching.linear_layer import FLOATS
from lepton_ai.graph.onnx_file import bytes_with_weights, load_graph, save_graph
from lepton_ai.plan.advising.facts import PRODUCTS

#: Their first input is a table that rows are looked up in.
_LOOKS_UP = frozenset({"Gather", "GatherElements", "GatherND"})


def look(path: str, target: str) -> dict[str, Any]:
    """The facts of the graph at ``path``, which is written to ``target`` with each node named.

    Raises:
        ModelError: the file is not an ONNX graph.
    """
    held = bytes_with_weights(load_graph(Path(path)), Path(path))
    model = ready(load_graph(Path(path)))
    save_graph(model, Path(target))
    costs = measure_costs(model).nodes
    removable = _removable(model)
    report = inspect_graph(Path(target))
    redundant = {name for finding in report.findings for name in finding.nodes}
    return {
        "whole": _whole(model, costs, held, len(report.findings)),
        "nodes": [
            {
                "name": str(node.name),
                "operator": node.op_type,
                "macs": costs[node].macs,
                "moved": costs[node].moved,
                "weight": costs[node].weight,
                "removable": node.name in removable,
                "redundant": node.name in redundant,
            }
            for node in model.graph
        ],
    }


def _whole(
    model: ir.Model, costs: Mapping[ir.Node, NodeCost], held: int, findings: int
) -> dict[str, Any]:
    weights = [
        value
        for value in model.graph.initializers.values()
        if value.dtype in FLOATS and value.const_value is not None
    ]
    macs = sum(cost.macs or 0 for cost in costs.values())
    moved = sum(cost.moved for cost in costs.values())
    return {
        "nodes": len(costs),
        "macs": macs,
        "bytes": held,
        "float_bytes": _bytes(weights),
        "table_bytes": _bytes([one for one in weights if _is_read_by(one, _LOOKS_UP)]),
        "product_bytes": _bytes([one for one in weights if _is_read_by(one, PRODUCTS)]),
        "intensity": 2 * macs / moved if moved else None,
        "findings": findings,
    }


def _bytes(weights: Sequence[ir.Value]) -> int:
    return sum(int(one.const_value.nbytes) for one in weights if one.const_value is not None)


def _is_read_by(weight: ir.Value, operators: frozenset[str]) -> bool:
    """Whether an operator reads it, itself or, for a product, through a transposition."""
    for node, place in weight.uses():
        if node.op_type in operators:
            return place == 0 or operators is PRODUCTS
        if node.op_type == "Transpose" and any(
            reader.op_type in operators for reader, _ in node.outputs[0].uses()
        ):
            return True
    return False


def _removable(model: ir.Model) -> set[str]:
    """The nodes that read or answer a channel, head or unit that can go, or lie in such a block."""
    components = components_of(model)
    free = {int(one) for kind in components.widths() for one in kind}
    names = {name for block in blocks_of(model) for name in block.nodes}
    for node in model.graph:
        if components.touched(node) & free:
            names.add(str(node.name))
    return names


def noise(source: str, quantised: str, calibration: str, seconds: float) -> dict[str, Any]:
    """What a quantised graph disturbs as a whole, and each node alone, for about ``seconds``."""
    from lepton_ai.compress.sensitivity import noise_of_whole, sensitivity
    from lepton_ai.plan.calibration import CalibrationFolder

    calls = CalibrationFolder(Path(calibration))
    return {
        "whole": noise_of_whole(Path(source), Path(quantised), calls),
        "nodes": sensitivity(Path(source), Path(quantised), calls, seconds=seconds),
    }
