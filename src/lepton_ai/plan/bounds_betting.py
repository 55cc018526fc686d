"""An upper bound on a mean drop, from paired outcomes that lie in a known range.

For outcomes between 0 and 1 (the share of pixels that agree), the drop of one sample lies between
-1 and 1 and nothing else is known of it. The bound holds for every such distribution and every
``n``: a gambler bets, sample after sample, that the mean drop is below ``m``. If it is not, the
gambler's capital is a nonnegative supermartingale and reaches ``1 / alpha`` times its start with
probability at most ``alpha`` (Ville); so each ``m`` at which it does is ruled out (Waudby-Smith &
Ramdas, JRSS B 86, 2024, "Estimating means of bounded random variables by betting").

The bootstrap would be tighter at a few dozen samples, and wrong there; a Hoeffding bound holds as
well and is many times looser when most samples hardly change.
"""

import math

import numpy as np
from numpy.typing import NDArray

#: The largest share of the capital that one sample may cost.
BOLDEST = 0.75
#: Bisections of [0, 1]: the bound is found to 2^-40.
STEPS = 40
#: Samples are taken in an order that owes nothing to how a data set was sorted.
ORDER_SEED = 20_240_215


def betting_bound(drops: NDArray[np.float64], alpha: float) -> float:
    """The upper bound on the mean of ``drops`` (shape ``[n]``, each between -1 and 1).

    Fails with probability at most ``alpha``. Never below 0: that the candidate is better on
    average is not claimed.
    """
    n = len(drops)
    drops = drops[np.random.default_rng(ORDER_SEED).permutation(n)]
    stakes = _stakes(drops, alpha)
    goal = math.log(1 / alpha)

    def ruled_out(mean: float) -> bool:
        return bool(np.cumsum(np.log1p(stakes * (mean - drops))).max() >= goal)

    low, high = 0.0, 1.0
    if ruled_out(low):
        return 0.0
    if not ruled_out(high):
        return 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if ruled_out(middle) else (middle, high)
    return high


def _stakes(drops: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Each sample's stake, from the samples before it alone; the paper's predictable plug-in.

    A stake of at most ``BOLDEST`` keeps the capital positive for every mean from 0 up, and the
    capital then rises with the mean, so that bisection finds the one place where it is enough.
    """
    n = len(drops)
    counts = np.arange(1, n + 1)
    means = np.cumsum(drops) / (counts + 1)
    # One imagined sample of variance 1/4 opens the estimate, so that the first bets are small.
    variances = (0.25 + np.cumsum((drops - means) ** 2)) / (counts + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.minimum(np.sqrt(2 * math.log(1 / alpha) / (n * before)), BOLDEST)
