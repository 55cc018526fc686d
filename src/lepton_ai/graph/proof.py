"""The proof of a rule's work: the same answers as the original's, or the culprit is found.

After a rule has fired, the graph is run on the calls that the original was run on. If an answer
changed, the rule is applied again to the graph of before with the first half of its firings, and
so on, until the single one that does the harm is known; that one is left out, the rest are kept,
and what remains is proven in turn.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

import onnx_ir as ir

from lepton_ai.errors import LeptonError
from lepton_ai.graph.applying import apply_rule
from lepton_ai.graph.gate import Equality, check_equal
from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.rule import Firing, Ledger, Rule
from lepton_ai.model.signature import Arrays

#: A rule of which more firings than this are wrong is wrong throughout, and is left out whole.
MOST_CULPRITS = 16

#: What a graph answers, call by call; raises LeptonError where it cannot be run.
Answer = Callable[[ir.Model], Sequence[Arrays]]


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """A firing that changed an answer, and what it changed.

    ``largest_difference`` is relative to the output's scale; ``None`` where outputs are no longer
    comparable (a shape, a dtype, an engine that fails).
    """

    firing: Firing
    why: str
    largest_difference: float | None


@dataclass(frozen=True, kw_only=True)
class Proven:
    """What is left of a rule's work once what changed an answer is undone."""

    model: ir.Model
    fired: list[Firing]
    rolled_back: list[RolledBack]


class Proof:
    """Holds what the original answers, and the last graph that was proven to answer so too.

    Raises:
        LeptonError: the original cannot be run.
    """

    def __init__(self, answer: Answer, original: ir.Model) -> None:
        self._answer = answer
        self._reference = answer(original)
        self._proven = original.clone()

    def last(self) -> ir.Model:
        """A copy of the last graph that was proven to answer as the original does."""
        return self._proven.clone()

    def accept(self, model: ir.Model) -> Equality:
        """Take ``model`` as proven if it answers as the original does; whether it does."""
        found = self._check(model)
        if found.equal:
            self._proven = model.clone()
        return found

    def prove(self, model: ir.Model, rule: Rule, ledger: Ledger, denied: Set[str]) -> Proven:
        """``model``, to which ``rule`` has done what ``ledger`` says, or what of it is right."""
        first = self.accept(model)
        if first.equal:
            return Proven(model=model, fired=ledger.firings, rolled_back=[])
        return self._without_culprits(rule, ledger.firings, denied, first)

    def _without_culprits(
        self, rule: Rule, firings: list[Firing], denied: Set[str], first: Equality
    ) -> Proven:
        allowed = [firing.site for firing in firings]
        by_site = {firing.site: firing for firing in firings}
        rolled_back: list[RolledBack] = []
        found = first
        while not found.equal and allowed:
            if len(rolled_back) == MOST_CULPRITS:
                rolled_back += [_undone(by_site[site], found) for site in dict.fromkeys(allowed)]
                allowed = []
                break
            culprit, harm = self._first_culprit(rule, allowed, denied, found)
            rolled_back.append(_undone(by_site[culprit], harm))
            allowed = [site for site in allowed if site != culprit]
            found = self._check(self._again(rule, allowed, denied)[0])
        model, ledger = self._again(rule, allowed, denied)
        self._proven = model.clone()
        return Proven(model=model, fired=ledger.firings, rolled_back=rolled_back)

    def _first_culprit(
        self, rule: Rule, allowed: Sequence[str], denied: Set[str], harm: Equality
    ) -> tuple[str, Equality]:
        """The firing at which the answers change, and how: fewer firings before it change none.

        ``harm`` is what all of them together change.
        """
        right, wrong = 0, len(allowed)
        while wrong - right > 1:
            middle = (right + wrong) // 2
            found = self._check(self._again(rule, allowed[:middle], denied)[0])
            if found.equal:
                right = middle
            else:
                wrong, harm = middle, found
        return allowed[wrong - 1], harm

    def _again(
        self, rule: Rule, allowed: Sequence[str], denied: Set[str]
    ) -> tuple[ir.Model, Ledger]:
        model = self.last()
        infer_shapes(model)
        return model, apply_rule(model, rule, denied, only=frozenset(allowed))

    def _check(self, model: ir.Model) -> Equality:
        try:
            answers = self._answer(model)
        except LeptonError as failure:
            why = f"the rewritten graph does not run: {failure}"
            return Equality(equal=False, largest_difference=float("inf"), output=None, why=why)
        return check_equal(self._reference, answers)


def _undone(firing: Firing, found: Equality) -> RolledBack:
    comparable = found.largest_difference != float("inf")
    return RolledBack(
        firing=firing,
        why=found.why,
        largest_difference=found.largest_difference if comparable else None,
    )
