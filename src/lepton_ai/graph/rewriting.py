"""Rules applied one after the other until none fires, each proven before the next begins.

Several rules open the way for one another (a folded constant makes a reshape idle, two transposes
meet when it is gone), so they go round until a round changes nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx_ir as ir

from lepton_ai.errors import ModelError
from lepton_ai.graph.applying import apply_rule
from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.onnx_file import operator_counts
from lepton_ai.graph.proof import Proof, RolledBack
from lepton_ai.graph.rule import Firing, NearMiss, Rule

#: Rounds beyond this many have only ever gone back and forth.
MOST_ROUNDS = 8
#: Nodes named in a record for each reason that a rule left something alone.
NODES_NAMED = 8


@dataclass(frozen=True, kw_only=True)
class Rewriting:
    """What some rules did to one graph.

    ``fired`` are the changes that stand; ``rolled_back`` those that changed an answer, with the
    difference; ``near_misses`` what was left alone when the last round ended, and why; ``failed``
    the rules that could not take the graph at all, each in one sentence.
    """

    nodes_before: int
    nodes_after: int
    fired: tuple[Firing, ...]
    rolled_back: tuple[RolledBack, ...]
    near_misses: tuple[NearMiss, ...]
    failed: tuple[str, ...] = ()

    def in_words(self) -> tuple[str, ...]:
        """One sentence for each reason that each rule fired, with how often."""
        counts: dict[tuple[str, str], int] = {}
        for firing in self.fired:
            counts[firing.rule, firing.why] = counts.get((firing.rule, firing.why), 0) + 1
        return tuple(f"{rule}: {why} ({count} x)" for (rule, why), count in counts.items())

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; near misses of one reason are one entry."""
        return {
            "nodes_before": self.nodes_before,
            "nodes_after": self.nodes_after,
            "fired": [asdict(firing) for firing in self.fired],
            "rolled_back": [asdict(one) for one in self.rolled_back],
            "near_misses": _grouped(self.near_misses),
            "failed": list(self.failed),
        }


def rewrite_graph(
    model: ir.Model, rules: Sequence[Rule], proof: Proof | None = None
) -> tuple[ir.Model, Rewriting]:
    """Apply ``rules`` to ``model`` until none fires; the rewritten graph, and what was done.

    ``model`` is spent: what is returned may be it, changed, or another. With a ``proof`` each
    rule's work is compared with the original's answers as soon as it is done, a change that alters
    one is undone by itself, and a rule that fails is left out; without, the rules are trusted.

    Raises:
        ModelError: without a proof: a rule failed on this graph or changed its inputs or outputs.
    """
    work = _Work(model, rules, proof)
    for _ in range(MOST_ROUNDS):
        began = len(work.fired)
        for rule in rules:
            work.apply(rule)
        if len(work.fired) == began:
            break
    return work.model, work.told()


class _Work:
    """A graph on its way through the rules, and what has been done to it so far."""

    def __init__(self, model: ir.Model, rules: Sequence[Rule], proof: Proof | None) -> None:
        self.model = model
        self.fired: list[Firing] = []
        self._rolled_back: list[RolledBack] = []
        self._missed: dict[str, list[NearMiss]] = {}
        self._denied: dict[str, set[str]] = {rule.name: set() for rule in rules}
        self._failed: dict[str, str] = {}
        self._proof = proof
        self._nodes_before = operator_counts(model).total()
        infer_shapes(model)

    def apply(self, rule: Rule) -> None:
        """One rule, proven if there is a proof."""
        if rule.name in self._failed:
            return
        denied = self._denied[rule.name]
        try:
            ledger = apply_rule(self.model, rule, denied)
        except ModelError as failure:
            if self._proof is None:
                raise
            self._failed[rule.name] = str(failure)
            self.model = self._proof.last()
            infer_shapes(self.model)
            return
        self._missed[rule.name] = ledger.near_misses
        if not ledger.firings:
            return
        kept = ledger.firings
        if self._proof is not None:
            proven = self._proof.prove(self.model, rule, ledger, denied)
            self.model, kept = proven.model, proven.fired
            self._rolled_back += proven.rolled_back
            denied.update(one.firing.site for one in proven.rolled_back)
        self.fired += kept
        infer_shapes(self.model)

    def told(self) -> Rewriting:
        """The record of it all."""
        return Rewriting(
            nodes_before=self._nodes_before,
            nodes_after=operator_counts(self.model).total(),
            fired=tuple(self.fired),
            rolled_back=tuple(self._rolled_back),
            near_misses=tuple(miss for each in self._missed.values() for miss in each),
            failed=tuple(self._failed.values()),
        )


def _grouped(misses: Sequence[NearMiss]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for miss in misses:
        groups.setdefault((miss.rule, miss.why), []).extend(miss.nodes)
    return [
        {"rule": rule, "why": why, "count": len(nodes), "nodes": nodes[:NODES_NAMED]}
        for (rule, why), nodes in groups.items()
    ]
