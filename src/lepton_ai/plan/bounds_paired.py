"""An exact upper bound on a drop in accuracy, from paired right-or-wrong outcomes.

Of ``n`` samples, ``b`` were right in the baseline and are wrong in the candidate, ``c`` the other
way round, each sample doing so with the unknown probabilities ``p10`` and ``p01``. Wanted is an
upper bound on the drop ``d = p10 - p01`` that fails with probability at most ``alpha`` for every
pair ``(p10, p01)`` and every ``n``: no normal approximation, because the interesting case is a
handful of changes, where it is wrong.

How: outcomes are ordered by an approximate bound, ``b - c + z * sqrt(b + c + k)``, and the exact
bound is the largest ``d`` under which an outcome ordered no later than the observed one still has
a probability above ``alpha`` (Buehler 1957; for paired proportions, Lloyd & Moldovan, Statistics
in Medicine 26, 2007). The other parameter, ``psi = p10 + p01``, ranges over a Clopper-Pearson
interval that fails with probability ``gamma``, and ``alpha`` is lowered by as much (Berger & Boos,
JASA 89, 1994).

The largest probability over ``psi`` is not only sampled. The set of outcomes ordered no later
shrinks with ``b`` and grows with ``c``, so its probability falls with ``p10`` and rises with
``p01``. Over a cell of ``psi`` of width ``h`` it is therefore at most its value at the cell's
smallest ``p10`` and largest ``p01``, which is the value at the cell's centre for a drop smaller by
``h / 2``. A search that uses centres and then adds ``h / 2`` to the drop is a proof.

The alternative that orders by ``b - c`` alone gives 3.4 points for 125 unchanged samples at 95 %;
this one gives 2.4. The first takes ``0, 0`` for no better a sign than ``1, 1``.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom, norm

#: The share of ``alpha`` spent on the interval of ``psi``: more loosens the bound at few changes
#: (a tenth gives 2.47 points for 125 unchanged samples), less widens the search for nothing.
NUISANCE_SHARE = 0.01
#: The bound is at most this share of its distance from the observed drop above the exact one.
RESOLUTION = 0.01
#: Standard deviations of a binomial that are summed, with Bernstein's allowance for a small mean;
#: what lies beyond is added to the p-value.
WINDOW = 7.0
#: Cells of ``psi`` in the first, coarse search.
COARSE_CELLS = 16

Floats = NDArray[np.float64]


def paired_bound(b: int, c: int, n: int, alpha: float) -> float:
    """The upper bound on ``p10 - p01`` after ``b`` losses and ``c`` gains in ``n`` pairs.

    Fails with probability at most ``alpha``. At most 1; negative where the candidate is shown to
    be better.
    """
    gamma = NUISANCE_SHARE * alpha
    region = _Region(b=b, c=c, n=n, alpha=alpha)
    psi = _clopper_pearson(b + c, n, gamma)
    level = alpha - gamma
    low = region.observed
    high = min(low + region.reach, 1.0)
    while high < 1 and region.largest(high, psi, COARSE_CELLS) > level:
        low, high = high, min(2 * high - region.observed, 1.0)
    while high - low > RESOLUTION / 2 * (high - region.observed):
        middle = (low + high) / 2
        if region.largest(middle, psi, COARSE_CELLS) > level:
            low = middle
        else:
            high = middle
    return _prove(region, high, psi, level)


def _prove(region: "_Region", drop: float, psi: tuple[float, float], level: float) -> float:
    """Raise ``drop`` until a grid fine enough to be a proof accepts it."""
    half = max(RESOLUTION / 2 * (drop - region.observed), 1e-9)
    cells = max(COARSE_CELLS, math.ceil((psi[1] - psi[0]) / (2 * half)))
    while drop < 1 and region.largest(drop, psi, cells) > level:
        drop += half
    return min(drop + half, 1.0)


def _clopper_pearson(count: int, n: int, gamma: float) -> tuple[float, float]:
    low = float(beta.ppf(gamma / 2, count, n - count + 1)) if count > 0 else 0.0
    high = float(beta.ppf(1 - gamma / 2, count + 1, n - count)) if count < n else 1.0
    return low, high


class _Region:
    """The outcomes ordered no later than the observed one, and how probable they are."""

    def __init__(self, *, b: int, c: int, n: int, alpha: float) -> None:
        self.n = n
        self.observed = (b - c) / n
        self._z = float(norm.isf(alpha))
        # The order falls with c only while its root exceeds z / 2; this keeps it so from (0, 0) on.
        self._k = max(1.0, self._z**2 / 4)
        self._last = b - c + self._z * math.sqrt(b + c + self._k)
        # Where the search starts: about one and a half times the way to the bound.
        self.reach = 1.5 * (self._z * math.sqrt(b + c + self._k) + 1) / n

    def losses(self, gains: Floats) -> Floats:
        """The largest ``b`` in the region for each ``c``; below 0 where there is none."""
        inner = self._z**2 + 4 * (self._last + 2 * gains + self._k)
        root = (np.sqrt(np.maximum(inner, 0.0)) - self._z) / 2
        # Rounding must not shut out the observed outcome, so a hair is added before the floor.
        most = np.floor(root**2 - gains - self._k + 1e-7)
        return np.where((inner < 0) | (root < 0), -1.0, most)

    def largest(self, drop: float, psi: tuple[float, float], cells: int) -> float:
        """The largest probability over the centres of ``cells`` cells of ``psi``, and its ends."""
        low, high = max(psi[0], abs(drop)), psi[1]
        if high <= low:
            if drop > 0:
                return 0.0
            # So few changes can only be gains; the most of them is the most probable.
            return float(self._probability(np.zeros(1), np.array([high]))[0])
        centres = low + (high - low) * (np.arange(cells) + 0.5) / cells
        grid = np.concatenate([[low], centres, [high]])
        return float(self._probability((grid + drop) / 2, (grid - drop) / 2).max())

    def _probability(self, p10: Floats, p01: Floats) -> Floats:
        """The probability of the region, never understated, for each pair; shape ``[pairs]``."""
        p10, p01 = np.maximum(p10, 0.0), np.maximum(p01, 0.0)
        spread = WINDOW * np.sqrt(self.n * p01 * (1 - p01)) + WINDOW**2 / 3
        first = np.maximum(np.floor(self.n * p01 - spread), 0.0)
        width = int(min(np.ceil(2 * spread.max()), self.n)) + 1
        gains = first[:, None] + np.arange(width, dtype=np.float64)
        weights = np.asarray(binom.pmf(gains, self.n, p01[:, None]))
        rest = np.where(p01 < 1, p10 / np.maximum(1 - p01, 1e-300), 0.0)
        inside = np.asarray(
            binom.cdf(
                self.losses(gains), np.maximum(self.n - gains, 0), np.minimum(rest, 1.0)[:, None]
            )
        )
        beyond = np.maximum(1 - weights.sum(axis=1), 0.0)
        return np.asarray((weights * np.nan_to_num(inside, nan=1.0)).sum(axis=1) + beyond)
