"""Chains of nodes of a kind, merged."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from lepton_ai.graph.matching.chains import (
    casts,
    clamps,
    joins,
    pads,
    reshapes,
    slices,
    transposed_sums,
    transposes,
    twice,
)
from lepton_ai.graph.matching.chains.chain import Chain
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.operands import opset_of
from lepton_ai.graph.values.size_inference import KnownSizes

Merge = Callable[[Chain], bool]

_RESHAPE: tuple[Merge, ...] = (
    transposes.between_reshapes,
    reshapes.merge,
    reshapes.through_elementwise,
)
_TRANSPOSE: tuple[Merge, ...] = (
    transposes.merge,
    reshapes.merge,
    transposes.through_elementwise,
    transposed_sums.sink_above,
)
#: What to try at a node, by its operator, until one of them merges something.
MERGES: Mapping[str, tuple[Merge, ...]] = {
    **dict.fromkeys(reshapes.RESHAPES, _RESHAPE),
    **dict.fromkeys(("Clip", "Max", "Min", "Relu"), (clamps.merge,)),
    **dict.fromkeys((*twice.UNDOES_ITSELF, *twice.SETTLES), (twice.merge,)),
    **dict.fromkeys(transposed_sums.SUMS, (transposed_sums.sink,)),
    "Cast": (casts.merge,),
    "Concat": (joins.undo_split, joins.flatten),
    "Pad": (pads.merge,),
    "Slice": (slices.merge,),
    "Transpose": _TRANSPOSE,
}


class MergeChains(Rule):
    """The onnxscript rewriter has rules for some of these.

    They take a chain only where nothing else reads what lies between, and some change answers: a
    Cast is left out that rounds a double, and bounds that cross are crossed the wrong way.
    """

    name = "merge-chains"
    requires = "a node does to its input what, with the node before it, one node or none could do"
    ensures = "one node does it, or none"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Merge at each node with what comes before it, until nothing is left to merge."""
        known, opset = KnownSizes(model), opset_of(model)
        while True:
            fired = len(ledger.firings)
            # What was missing in the last pass may not be in this one.
            ledger.near_misses.clear()
            for graph in model.graphs():
                for node in graph:
                    _merge(node, known, ledger, opset)
                slices.split_siblings(graph, known, ledger, opset)
            if len(ledger.firings) == fired:
                return


def _merge(node: ir.Node, known: KnownSizes, ledger: Ledger, opset: int) -> None:
    misses = len(ledger.near_misses)
    while node.graph is not None and node.domain in ("", "ai.onnx"):
        before = _before(node)
        if before is None or len(node.outputs) != 1:
            return
        chain = Chain(node=node, before=before, known=known, ledger=ledger, opset=opset)
        # What was missing for one merge may not be for the next.
        del ledger.near_misses[misses:]
        if any(merge(chain) for merge in MERGES.get(node.op_type, ())):
            continue
        moved = transposed_sums.lift(chain) if node.op_type == "Transpose" else None
        if moved is None:
            return
        node = moved


def _before(node: ir.Node) -> ir.Node | None:
    """The node that computes the first input; of a Concat, the first that is computed."""
    values = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    made = (value.producer() for value in values if value is not None)
    return next((one for one in made if one is not None), None)
