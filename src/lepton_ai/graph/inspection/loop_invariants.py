"""Work that a loop repeats though its answer does not change from trip to trip."""

from collections.abc import Iterator

import onnx_ir as ir

from lepton_ai.graph.bodies import graphs_of, read_by
from lepton_ai.graph.graph_report import Finding
from lepton_ai.graph.inspection.known import Known, called, repeats
from lepton_ai.graph.rule import node_label

LOOPS = frozenset({"Loop", "Scan"})


def loop_invariants(known: Known) -> Iterator[Finding]:
    """Nodes in the body of a loop that read nothing of what the loop passes from trip to trip."""
    for node in known.nodes:
        if node.op_type not in LOOPS:
            continue
        for body in graphs_of(node):
            still = _unchanging(known, body)
            if still:
                yield known.finding(
                    "loop-invariant",
                    still,
                    f"{called(still)} in the body of {node_label(node)} could be computed once, "
                    "before the loop",
                    spared=(),
                )


def _unchanging(known: Known, body: ir.Graph) -> list[ir.Node]:
    changing: set[ir.Value] = set(body.inputs)
    still: list[ir.Node] = []
    for node in body:
        if not repeats(node) or any(value in changing for value in read_by(node)):
            changing.update(node.outputs)
        elif node.op_type not in ("Constant", "Identity") and not _constant(known, node):
            still.append(node)
    return still


def _constant(known: Known, node: ir.Node) -> bool:
    """Whether the node is found as a constant already."""
    return all(value in known.constant for value in node.outputs)
