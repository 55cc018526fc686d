"""Products and convolutions of one input that could be one wide one."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from lepton_ai.graph.graph_report import Finding
from lepton_ai.graph.inspection.known import Known
from lepton_ai.graph.inspection.macs import sizes_of
from lepton_ai.graph.rule import node_label
from lepton_ai.graph.values.operands import operand

PROJECTIONS = frozenset({"Conv", "Gemm", "MatMul"})


def siblings(known: Known) -> Iterator[Finding]:
    """MatMul, Gemm or Conv that read one input, and whose weights can lie side by side."""
    groups: dict[Any, list[ir.Node]] = defaultdict(list)
    for node in known.nodes:
        alike = _alike(known, node)
        if alike is not None:
            groups[alike].append(node)
    for nodes in groups.values():
        value = nodes[0].inputs[0]
        if len(nodes) < 2 or value is None:
            continue
        yield _told(known, nodes, value)


def _told(known: Known, nodes: list[ir.Node], value: ir.Value) -> Finding:
    count, operator = len(nodes), nodes[0].op_type
    return Finding(
        kind="siblings",
        nodes=tuple(node_label(node) for node in nodes),
        sentence=f"{count} x {operator} read {value.name!r}: they can run side by side, or be one "
        "that is wider, with a Split after it",
        saved_nodes=count - 2,
    )


def _alike(known: Known, node: ir.Node) -> Any:
    """What must be equal for two nodes to be one; ``None`` if it is not a projection."""
    if node.op_type not in PROJECTIONS or node.domain not in ("", "ai.onnx"):
        return None
    value, weights = operand(node, 0), operand(node, 1)
    shape = sizes_of(weights)
    if value is None or weights is None or shape is None or not known.plain_weights(weights):
        return None
    if value in known.constant or node.attributes.get_int("group", 1) > 1 or len(shape) < 2:
        return None
    if node.op_type != "Conv" and len(shape) != 2:
        return None
    out_first = node.op_type == "Conv" or node.attributes.get_int("transB", 0) == 1
    wide = 0 if out_first else 1
    rest = shape[:wide] + shape[wide + 1 :]
    told = tuple(sorted((name, repr(one.value)) for name, one in node.attributes.items()))
    return node.graph, node.op_type, value, weights.dtype, rest, told, len(node.inputs)
