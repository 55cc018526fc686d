"""From paired outcomes on samples that the search never saw to a certificate.

Which bound applies follows from what is known of the outcomes, never from the metric's name:
right or wrong (:mod:`.bounds_paired`, exact), a known range (:mod:`.bounds_betting`, exact), an
unknown range or a score over all samples only (:mod:`.bounds_bootstrap`, approximate).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from lepton_ai.data.metric import Score
from lepton_ai.errors import DataError, MetricError
from lepton_ai.plan.bounds_betting import betting_bound
from lepton_ai.plan.bounds_bootstrap import Resampled, accelerated_bound, floor, studentised_bound
from lepton_ai.plan.bounds_paired import paired_bound
from lepton_ai.plan.certificate import Certificate, words

__all__ = ["Certificate", "Claim", "Resampled", "certify", "certify_equal", "spend"]

#: How ``alpha`` is shared by the first, second and third candidate that is put to the test.
WEIGHTS = (0.8, 0.15, 0.05)
#: Beyond this, "more samples" is no advice.
MOST_SAMPLES = 1e8

PAIRED = (
    "exact unconditional paired test: Buehler limit over a Berger-Boos nuisance interval "
    "(Lloyd & Moldovan 2007; Berger & Boos 1994)"
)
BETTING = "betting bound on the mean of paired differences (Waudby-Smith & Ramdas 2024)"
STUDENTISED = (
    "paired bootstrap-t on differences (Efron & Tibshirani 1993), approximate, "
    "never below the rule of three"
)
ACCELERATED = (
    "paired BCa bootstrap over samples (Efron 1987), approximate, never below the rule of three"
)
EQUAL = "equivalence gate: the answers are equal, nothing is estimated"

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is to be shown about a candidate, and what was known before its outcomes were seen.

    ``bounds`` is the range of a per-sample outcome, ``None`` where nobody knows it. ``order`` is
    the candidate's place among those put to the test, 0 for the first. ``isa`` (flags) and
    ``engines`` (name to version) are recorded as they come.
    """

    metric: str
    max_drop: float
    confidence: float = 0.95
    order: int = 0
    bounds: tuple[float, float] | None = (0.0, 1.0)
    larger_is_better: bool = True
    isa: tuple[str, ...] = ()
    engines: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """What the outcomes of the pairs show, before it is put in words.

    ``noise`` is the standard deviation of one pair's drop; ``None`` where only the whole is known.
    """

    drop: float
    bound: float
    n: int
    changed: int
    method: str
    exact: bool
    noise: float | None
    losses: int | None = None
    gains: int | None = None


def spend(alpha: float, order: int) -> float:
    """The part of ``alpha`` that the candidate in place ``order`` (0, 1, 2) may use.

    Whatever the candidates are, one of them is wrongly certified with probability at most the sum
    of the parts, which is ``alpha`` (Bonferroni with unequal weights). The order must be settled
    before any outcome of the certify split is seen. Most goes to the first, which is nearly always
    the one that ships.

    Raises:
        ValueError: there is no such place.
    """
    if not 0 <= order < len(WEIGHTS):
        raise ValueError(
            f"at most {len(WEIGHTS)} candidates can be tested, and number {order} came"
        )
    return round(alpha * WEIGHTS[order], 12)


def certify(
    baseline: Score,
    candidate: Score,
    claim: Claim,
    *,
    n: int | None = None,
    resampled: tuple[Resampled, Resampled] | None = None,
    changed: int | None = None,
) -> Certificate:
    """Bound the drop from ``baseline`` to ``candidate``, both scored on the same unseen samples.

    A score without per-sample outcomes needs ``n`` (samples) and ``resampled``: for the baseline
    and for the candidate, a function from sample indices of shape ``[resamples, n]`` to scores of
    shape ``[resamples]``. ``changed`` counts the samples whose answers differ, where the outcomes
    cannot tell.

    Raises:
        DataError: there are no samples.
        MetricError: outcomes are not finite, do not pair up, leave the metric's range, or there is
            neither an outcome per sample nor a way to resample.
    """
    alpha = spend(1 - claim.confidence, claim.order)
    if baseline.per_sample is None or candidate.per_sample is None:
        finding = _from_scores(baseline, candidate, claim, alpha, _Whole.of(claim, n, resampled))
    else:
        before = _outcomes(baseline.per_sample, claim, "baseline")
        after = _outcomes(candidate.per_sample, claim, "candidate")
        if before.shape != after.shape:
            raise MetricError(
                f"metric {claim.metric!r}: the same samples must be scored for both models, and "
                f"{len(before)} and {len(after)} outcomes came"
            )
        finding = _from_outcomes(before, after, claim, alpha)
    if changed is not None:
        finding = _Finding(**{**vars(finding), "changed": max(changed, finding.changed)})
    return _certificate(finding, claim, alpha)


def certify_equal(claim: Claim, n: int) -> Certificate:
    """The certificate of an artifact whose answers a gate has found equal on ``n`` samples.

    It speaks of steps that by their definition change nothing but the order of additions (another
    engine, a rewrite, fp32 throughout); the samples check that they did what they say.
    """
    sentence = (
        f"The artifact is equal to the original: nothing was quantised or removed, and on {n:,} "
        f"samples its answers are the original's within rounding, with no outcome of "
        f"{claim.metric} changed."
    )
    return Certificate(
        metric=claim.metric,
        claim=sentence,
        drop=0.0,
        bound=0.0,
        max_drop=claim.max_drop,
        holds=True,
        confidence=claim.confidence,
        alpha=0.0,
        n=n,
        changed=0,
        losses=None,
        gains=None,
        method=EQUAL,
        exact=False,
        equal=True,
        more_samples_needed=None,
        isa=claim.isa,
        engines=claim.engines,
    )


def _outcomes(values: NDArray[np.generic], claim: Claim, whose: str) -> Floats:
    """Per-sample outcomes as finite floats of shape ``[n]``, in the metric's range."""
    outcomes = np.asarray(values, dtype=np.float64).reshape(-1)
    if len(outcomes) == 0:
        raise DataError("a certificate wants at least 1 unseen sample, and none came")
    if not np.isfinite(outcomes).all():
        where = int(np.flatnonzero(~np.isfinite(outcomes))[0])
        raise MetricError(
            f"metric {claim.metric!r} must be finite, and sample {where} of the {whose} scored "
            f"{outcomes[where]}"
        )
    if claim.bounds is not None:
        low, high = claim.bounds
        # A mean of many pixels may leave the range by rounding; more than that is another range.
        slack = 1e-6 * (high - low)
        if outcomes.min() < low - slack or outcomes.max() > high + slack:
            raise MetricError(
                f"metric {claim.metric!r} promises outcomes from {low:g} to {high:g}, and "
                f"{outcomes.min():g} to {outcomes.max():g} came from the {whose}"
            )
        outcomes = np.clip(outcomes, low, high)
    return outcomes


def _from_outcomes(before: Floats, after: Floats, claim: Claim, alpha: float) -> _Finding:
    drops = before - after if claim.larger_is_better else after - before
    n, both = len(drops), np.concatenate([before, after])
    losses = gains = None
    if claim.bounds == (0.0, 1.0) and np.isin(both, (0.0, 1.0)).all():
        losses, gains = int(np.sum(drops > 0)), int(np.sum(drops < 0))
        bound, method = paired_bound(losses, gains, n, alpha), PAIRED
    elif claim.bounds is not None:
        width = claim.bounds[1] - claim.bounds[0]
        bound, method = betting_bound(drops / width, alpha) * width, BETTING
    else:
        # Where all outcomes are one number, a lost sample is taken to cost one unit.
        least = floor(n, alpha, float(np.ptp(both)) or 1.0)
        bound, method = max(studentised_bound(drops, alpha), least), STUDENTISED
    return _Finding(
        drop=float(drops.mean()),
        bound=bound,
        n=n,
        changed=int(np.count_nonzero(drops)),
        method=method,
        exact=method in (PAIRED, BETTING),
        noise=float(drops.std()),
        losses=losses,
        gains=gains,
    )


@dataclass(frozen=True, kw_only=True)
class _Whole:
    """How to resample a score that exists over all samples only."""

    n: int
    baseline: Resampled
    candidate: Resampled

    @classmethod
    def of(
        cls, claim: Claim, n: int | None, resampled: tuple[Resampled, Resampled] | None
    ) -> "_Whole":
        if n is None or resampled is None:
            raise MetricError(
                f"metric {claim.metric!r} gives one value for all samples and no way to score a "
                "part of them, so nothing can be certified; let it return one value per sample"
            )
        if n < 1:
            raise DataError("a certificate wants at least 1 unseen sample, and none came")
        return cls(n=n, baseline=resampled[0], candidate=resampled[1])

    def drops(self, sign: float) -> Resampled:
        """The drop over many resamples, in pairs."""
        return lambda indices: (
            sign
            * (
                np.asarray(self.baseline(indices), dtype=np.float64)
                - np.asarray(self.candidate(indices), dtype=np.float64)
            )
        )


def _from_scores(
    baseline: Score, candidate: Score, claim: Claim, alpha: float, whole: _Whole
) -> _Finding:
    sign = 1.0 if claim.larger_is_better else -1.0
    drop = sign * (baseline.value - candidate.value)
    bound = accelerated_bound(_finite(whole.drops(sign), claim), whole.n, alpha)
    if claim.bounds is not None:
        width = claim.bounds[1] - claim.bounds[0]
    else:
        # With no range to go by, a sample is taken to be able to cost the whole score.
        width = max(abs(baseline.value), abs(candidate.value)) or 1.0
    return _Finding(
        drop=drop,
        bound=max(bound, floor(whole.n, alpha, width)),
        n=whole.n,
        changed=0,
        method=ACCELERATED,
        exact=False,
        noise=None,
    )


def _finite(drop_of: Resampled, claim: Claim) -> Resampled:
    def checked(indices: NDArray[np.int64]) -> Floats:
        drops = drop_of(indices)
        if not np.isfinite(drops).all():
            raise MetricError(
                f"metric {claim.metric!r} must be finite on every resample of the samples, and "
                "one gave NaN or infinity"
            )
        return drops

    return checked


def _samples_needed(finding: _Finding, claim: Claim, alpha: float) -> int | None:
    """How many samples would bring the bound to ``max_drop`` at the rates observed, about.

    The distance between bound and drop is ``noise * z / sqrt(n) + rest / n``: the spread of the
    outcomes, and what is owed to the ones never seen. With ``r`` times the samples it has to come
    down to ``max_drop - drop``, a quadratic in ``sqrt(r)``.
    """
    room = claim.max_drop - finding.drop
    distance = finding.bound - finding.drop
    if room <= 0:
        return None
    if finding.exact:
        # What goes unseen in n samples falls as 1 - alpha^(1/n), which is 1/n only for large n.
        distance = -math.log1p(-min(distance, 1 - 1e-9))
    spread = distance
    if finding.noise is not None:
        spread = min(finding.noise * float(norm.isf(alpha)) / math.sqrt(finding.n), distance)
    rest = distance - spread
    root = (spread + math.sqrt(spread**2 + 4 * room * rest)) / (2 * room)
    wanted = float(finding.n * root**2)
    if wanted > MOST_SAMPLES:
        return None
    digits: int = max(0, math.floor(math.log10(wanted)) - 1)
    return max(int(math.ceil(wanted / 10**digits) * 10**digits), finding.n + 1)


def _certificate(finding: _Finding, claim: Claim, alpha: float) -> Certificate:
    holds = finding.bound <= claim.max_drop
    silent = Certificate(
        metric=claim.metric,
        claim="",
        drop=finding.drop,
        bound=finding.bound,
        max_drop=claim.max_drop,
        holds=holds,
        confidence=claim.confidence,
        alpha=alpha,
        n=finding.n,
        changed=finding.changed,
        losses=finding.losses,
        gains=finding.gains,
        method=finding.method,
        exact=finding.exact,
        equal=False,
        more_samples_needed=None if holds else _samples_needed(finding, claim, alpha),
        isa=claim.isa,
        engines=claim.engines,
    )
    return replace(
        silent, claim=words(silent, falls=claim.larger_is_better, points=claim.bounds == (0.0, 1.0))
    )
