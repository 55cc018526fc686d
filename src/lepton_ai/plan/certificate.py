"""The claim that is made about an artifact, with the numbers that support it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The metric drops by at most ``bound``, with ``confidence``, as ``n`` unseen samples show.

    ``drop`` and ``bound`` are in the metric's own unit, positive is worse. ``changed`` counts the
    samples whose outcome differs; ``losses`` (written b in the literature) and ``gains`` (c) those
    that became wrong and right, ``None`` where outcomes are not right or wrong. ``alpha`` is what
    this artifact was allowed of ``1 - confidence``. ``exact`` tells a bound that holds at every
    ``n`` from an approximate one. ``equal`` marks an artifact that answers as the original does:
    nothing was estimated. ``more_samples_needed`` estimates how many samples would do at the rates
    observed, ``None`` where the claim holds or more samples would not help. ``isa`` and ``engines``
    say where the outcomes were computed.
    """

    metric: str
    claim: str
    drop: float
    bound: float
    max_drop: float
    holds: bool
    confidence: float
    alpha: float
    n: int
    changed: int
    losses: int | None
    gains: int | None
    method: str
    exact: bool
    equal: bool
    more_samples_needed: int | None
    isa: tuple[str, ...] = ()
    engines: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; the inverse of :meth:`from_json`."""
        return {**asdict(self), "isa": list(self.isa), "engines": dict(self.engines)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Certificate":
        """The inverse of :meth:`to_json`."""
        return cls(
            **{**record, "isa": tuple(record["isa"]), "engines": dict(record["engines"])},
        )


def words(certificate: Certificate, *, falls: bool, points: bool) -> str:
    """The certificate as sentences; in ``points`` (hundredths) for a metric that runs from 0 to 1.

    ``falls`` tells a metric that falls as answers get worse from one that rises. The sentences
    stand alone: what is claimed or why it is not, what was seen, and what to do.
    """
    record = certificate
    bound, allowed = _amount(record.bound, points, up=True), _amount(record.max_drop, points)
    sure = f"with {100 * record.confidence:g} % confidence"
    worse = "drop" if falls else "worsen"
    if record.holds and record.bound < 0:
        better = _amount(record.bound, points, up=True).removeprefix("-")
        first = f"{record.metric} improves by at least {better}, {sure}"
    elif record.holds:
        first = f"{record.metric} {worse}s by at most {bound} (allowed: {allowed}), {sure}"
    else:
        first = f"{record.metric} may {worse} by up to {bound} (allowed: {allowed}), {sure}"
    kind = "" if record.exact else " This bound is approximate."
    seen = f"{record.n:,} unseen sample{'' if record.n == 1 else 's'}"
    return f"On {seen}, {first}. {_observed(record, points)}{_advice(record)}{kind}"


def _observed(record: Certificate, points: bool) -> str:
    amount = _amount(abs(record.drop), points)
    moved = "no drop" if record.drop == 0 else ("a drop of " if record.drop > 0 else "a gain of ")
    seen = moved if record.drop == 0 else moved + amount
    if record.losses is not None and record.gains is not None:
        return f"{record.losses:,} got worse and {record.gains:,} got better: {seen}."
    if record.changed:
        return f"The outcome of {record.changed:,} differs: {seen}."
    return f"Observed: {seen}."


def _advice(record: Certificate) -> str:
    if record.holds:
        return ""
    if record.more_samples_needed is not None:
        return f" About {record.more_samples_needed:,} unseen samples would do at these rates."
    if record.drop >= record.max_drop:
        return " The observed drop alone is not below what is allowed: more samples would not help."
    return " No realistic number of samples would show less."


def _amount(value: float, points: bool, *, up: bool = False) -> str:
    """``value`` to three digits; a bound is rounded ``up``, so that its words claim no more."""
    shown = 100 * value if points else value
    if shown:
        unit = 10.0 ** (math.floor(math.log10(abs(shown))) - 2)
        shown = (math.ceil(shown / unit - 1e-6) if up else round(shown / unit)) * unit
    if not points:
        return f"{shown:.3g}"
    return f"{shown:.3g} point{'' if abs(shown - 1) < 1e-9 else 's'}"
