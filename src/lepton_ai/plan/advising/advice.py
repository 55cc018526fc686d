"""Facts in, methods ranked out: what is likely fastest within the budget comes first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lepton_ai.compress.compressor import compressors
from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import Estimate, Method, methods


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What was measured, and the methods in the order in which they are worth trying.

    Those that cannot be used come last, each with why.
    """

    model: str
    metric: str
    facts: Facts
    ranked: tuple[Estimate, ...]
    machine: dict[str, Any]
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def top(self) -> Estimate | None:
        """The method to begin with, if there is any that is worth it."""
        return next((one for one in self.ranked if not one.against and one.expected < 1), None)

    @property
    def compressors(self) -> dict[str, float]:
        """What to expect of each compressor that a search tries: time over the original's."""
        names = compressors.names()
        return {one.method: one.expected for one in self.ranked if one.method in names}

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values: what ``lepton advise --json`` prints."""
        top = self.top
        return {
            "model": self.model,
            "metric": self.metric,
            "top": None if top is None else top.method,
            "ranked": [
                {"rank": place, **one.to_json()} for place, one in enumerate(self.ranked, start=1)
            ],
            "compressors": self.compressors,
            "facts": self.facts.to_json(),
            "machine": self.machine,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def ranked(facts: Facts) -> tuple[Estimate, ...]:
    """The estimate of every method that is registered, the one to try first first."""
    found = [within(kind().estimate(facts), facts) for kind in _kinds()]
    return tuple(sorted(found, key=lambda one: _place(one, facts)))


def within(estimate: Estimate, facts: Facts) -> Estimate:
    """``estimate`` under the budget, whatever the method: its minutes, size and certificate."""
    if estimate.against:
        return estimate
    why = []
    samples, budget = facts.samples, facts.budget
    if not estimate.equal and not facts.lossy_can_be_certified:
        needed = "" if samples.needed is None else f"; about {samples.needed:,} would do"
        why.append(
            f"{samples.certify} samples to certify on cannot show a drop under "
            f"{samples.certifiable:.4f}{needed}"
        )
    if estimate.minutes > budget.minutes:
        why.append(f"the budget has {budget.minutes:g} minutes")
    for most, size, words in _sizes(facts):
        left = size * estimate.bytes_ratio / 1e6
        if left > most:
            why.append(f"{left:.1f} MB {words}are more than {most:g}")
    if not why:
        return estimate
    return replace(estimate, chance=0.0, reasons=(*why, *estimate.reasons))


def _sizes(facts: Facts) -> Iterator[tuple[float, int, str]]:
    """The bounds on bytes, in megabytes, and the original's bytes of each kind, in words."""
    graph, budget = facts.graph, facts.budget
    if graph is not None and budget.max_size_mb is not None:
        yield budget.max_size_mb, graph.bytes, ""
    if graph is not None and budget.max_transfer_mb is not None:
        yield budget.max_transfer_mb, graph.transfer_bytes or graph.bytes, "to transfer "


def _place(estimate: Estimate, facts: Facts) -> tuple[bool, bool, float, float, float]:
    """By expected time, then by minutes; what breaks a bound on the bytes comes later."""
    breaks = facts.budget.bounds_bytes and estimate.chance == 0
    expected = round(estimate.expected, 3)
    size = estimate.chance * estimate.bytes_ratio + (1 - estimate.chance)
    return bool(estimate.against), breaks, expected, estimate.minutes, size


def _kinds() -> Iterable[type[Method]]:
    return (kind for _, kind in methods.items())
