"""What in a graph is redundant, and what in it could be one; each in linear time."""

from collections.abc import Callable, Iterator

from lepton_ai.graph.graph_report import Finding
from lepton_ai.graph.inspection.cancelling import cancelling_pairs
from lepton_ai.graph.inspection.folding import foldable
from lepton_ai.graph.inspection.known import Known
from lepton_ai.graph.inspection.loop_invariants import loop_invariants
from lepton_ai.graph.inspection.no_operations import no_operations
from lepton_ai.graph.inspection.quantisation import unfused_quantisation
from lepton_ai.graph.inspection.redundancy import (
    constant_subgraphs,
    dead_branches,
    duplicate_subexpressions,
    repeated_weights,
)
from lepton_ai.graph.inspection.siblings import siblings

#: In the order in which they are told.
SEARCHES: tuple[Callable[[Known], Iterator[Finding]], ...] = (
    dead_branches,
    constant_subgraphs,
    duplicate_subexpressions,
    no_operations,
    cancelling_pairs,
    foldable,
    repeated_weights,
    unfused_quantisation,
    loop_invariants,
    siblings,
)


def find(known: Known) -> tuple[Finding, ...]:
    """Everything that the searches find; graphs inside graphs are searched too."""
    return tuple(finding for search in SEARCHES for finding in search(known))
