"""Approximate upper bounds on a drop, where no exact one exists: the paired bootstrap.

Two cases are left to it: per-sample outcomes whose range nobody knows (a user's own score), and
scores that exist only over all samples (macro-F1). Both resample *samples*, so that the two models
stay paired. Neither is exact, and the certificate says so; neither may go below what ``n`` samples
can show at all (:func:`floor`), because a bootstrap of samples that did not change is blind to the
ones that would.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

#: Resamples; the 5 % quantile of 4,000 is itself known to about 0.35 %.
RESAMPLES = 4_000
#: Index entries drawn at a time, which bounds memory at about 100 MB.
CHUNK = 4_000_000
#: Groups left out in turn for the acceleration; single samples would cost n scores of n samples.
JACKKNIFE_GROUPS = 100
SEED = 20_240_215

Floats = NDArray[np.float64]
#: Scores of many resamples: indices of shape ``[resamples, n]`` to scores of shape ``[resamples]``.
Resampled = Callable[[NDArray[np.int64]], Floats]


def floor(n: int, alpha: float, width: float) -> float:
    """The least that ``n`` samples can show for an outcome that spans ``width``.

    A loss of ``width`` on a share ``1 - alpha ** (1 / n)`` of all samples (about ``3 / n`` at 95 %,
    the rule of three) goes unseen in ``n`` of them with probability ``alpha``.
    """
    return float(-np.expm1(np.log(alpha) / n) * width)


def studentised_bound(drops: Floats, alpha: float) -> float:
    """The bootstrap-t upper bound on the mean of ``drops``, shape ``[n]``.

    The spread is always taken with one imagined sample at the far end of the range, so that a
    resample of equal values has one too. Source: Efron & Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 12.
    """
    n = len(drops)
    reach = float(np.ptp(drops))
    if reach == 0.0:
        return float(drops.mean())
    observed = float(drops.mean())
    error = float(_error(np.array(observed), np.array(np.mean(drops**2)), n, reach))
    ratios = []
    for indices in _draws(n):
        picked = drops[indices]
        means = picked.mean(axis=1)
        errors = _error(means, np.mean(picked**2, axis=1), n, reach)
        ratios.append((means - observed) / errors)
    return observed - float(np.quantile(np.concatenate(ratios), alpha)) * error


def _error(means: Floats, squares: Floats, n: int, reach: float) -> Floats:
    variances = np.maximum(squares - means**2, 0.0) + reach**2 / n
    return np.asarray(np.sqrt(variances / n))


def accelerated_bound(drop_of: Resampled, n: int, alpha: float) -> float:
    """The BCa upper bound on a drop that ``drop_of`` computes over resamples of ``n`` samples.

    Where no resample differs from another, that one value is the answer. Source: Efron, Better
    Bootstrap Confidence Intervals, JASA 82, 1987.
    """
    everything = np.arange(n, dtype=np.int64)
    observed = float(drop_of(everything[None, :])[0])
    drops = np.concatenate([np.asarray(drop_of(indices)) for indices in _draws(n)])
    if np.ptp(drops) == 0.0:
        return float(drops[0])
    below = np.mean(drops < observed) + np.mean(drops == observed) / 2
    edge = 1 / (2 * len(drops))
    bias = float(norm.ppf(np.clip(below, edge, 1 - edge)))
    acceleration = _acceleration(drop_of, everything)
    shifted = bias + float(norm.isf(alpha))
    level = norm.cdf(bias + shifted / max(1 - acceleration * shifted, 1e-3))
    return float(np.quantile(drops, level))


def _acceleration(drop_of: Resampled, everything: NDArray[np.int64]) -> float:
    """The skewness of the drop's influence, from leaving out equal groups of samples."""
    n = len(everything)
    size = max(1, n // JACKKNIFE_GROUPS)
    groups = n // size
    if groups < 2:
        return 0.0
    order = np.random.default_rng(SEED).permutation(n)
    left = [np.delete(order, slice(g * size, (g + 1) * size)) for g in range(groups)]
    values = np.concatenate([np.asarray(drop_of(indices[None, :])) for indices in left])
    away = values.mean() - values
    spread = float(np.sum(away**2))
    return float(np.sum(away**3) / (6 * spread**1.5)) if spread > 0 else 0.0


def _draws(n: int) -> Iterator[NDArray[np.int64]]:
    """Bootstrap indices of shape ``[rows, n]``, ``RESAMPLES`` rows in all, the same each time."""
    generator = np.random.default_rng(SEED)
    rows = max(1, min(RESAMPLES, CHUNK // n))
    for start in range(0, RESAMPLES, rows):
        yield generator.integers(0, n, size=(min(rows, RESAMPLES - start), n))
