"""The ONNX project's own optimiser: constants folded, duplicates merged, dead nodes dropped."""

from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from lepton_ai.graph.onnx_file import operator_counts
from lepton_ai.graph.rewrite import Rewrite, Rewritten
from lepton_ai.graph.rewriting import differences, rewrite_file

#: Weights above this many elements are not compared with one another: hashing gigabytes to save
#: a duplicate that hardly ever is there would take longer than all other passes together.
MOST_ELEMENTS_COMPARED = 50_000_000


class Clean(Rewrite):
    """The same answers from fewer nodes, for every engine."""

    name = "clean"

    def apply(self, source: Path, target: Path) -> Rewritten:
        """Read ``source``, write the cleaned graph to ``target``.

        Raises:
            ModelError: the optimiser fails on the graph, or changed its inputs or outputs.
        """
        return rewrite_file(self.name, source, target, _clean)


def _clean(model: ir.Model) -> tuple[str, ...]:
    before, weights_before = operator_counts(model), _weight_bytes(model)
    optimizer.optimize(model)
    ir.passes.Sequential(
        common.IdentityEliminationPass(),
        common.DeduplicateHashedInitializersPass(size_limit=MOST_ELEMENTS_COMPARED),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)
    saved = weights_before - _weight_bytes(model)
    fired = differences(before, operator_counts(model))
    return (*fired, f"{saved} bytes of repeated weights merged") if saved > 0 else fired


def _weight_bytes(model: ir.Model) -> int:
    """Bytes in weights that something uses, subgraphs' included."""
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None and (value.uses() or value.is_graph_output())
    )
