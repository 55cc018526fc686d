import numpy as np
import pytest
from scipy.stats import binom

from lepton_ai.plan.bounds_betting import betting_bound

ALPHA = 0.05


@pytest.mark.parametrize("n", [1, 20, 1_000, 50_000])
def test_no_drop_anywhere_costs_little_more_than_the_rule_of_three(n: int) -> None:
    rule = 1 - ALPHA ** (1 / n)
    assert rule <= betting_bound(np.zeros(n), ALPHA) <= max(1.6 * rule, 1.0 if n < 4 else 0.0)


def test_a_drop_on_every_sample_is_never_bounded_below_itself() -> None:
    assert betting_bound(np.ones(50), ALPHA) == 1.0
    assert betting_bound(np.full(500, 0.2), ALPHA) > 0.2


def test_a_better_candidate_is_bounded_at_zero_and_not_below() -> None:
    assert betting_bound(np.full(500, -0.3), ALPHA) == 0.0


def test_the_order_in_which_a_data_set_is_sorted_hardly_matters() -> None:
    drops = np.random.default_rng(3).beta(0.5, 20, 2_000)
    bounds = [betting_bound(part, ALPHA) for part in (np.sort(drops), np.sort(drops)[::-1])]
    assert max(bounds) - min(bounds) < 0.1 * (max(bounds) - drops.mean())


def test_coverage_for_drops_of_many_shapes() -> None:
    """Rare large drops, common small ones, and both signs: wherever an approximation breaks."""
    generator = np.random.default_rng(11)
    pairs, failures = 600, 0
    for index in range(pairs):
        n = int(np.exp(generator.uniform(np.log(20), np.log(3_000))))
        rate = np.exp(generator.uniform(np.log(0.002), np.log(0.5)))
        if index % 3 == 0:
            mean, drops = rate, (generator.random(n) < rate) * 1.0
        elif index % 3 == 1:
            mean, drops = rate * 0.1 / 1.1, generator.beta(0.1, 1, n) * (generator.random(n) < rate)
        else:
            mean, drops = (
                0.0,
                generator.choice([-1.0, 0.0, 1.0], n, p=[rate / 2, 1 - rate, rate / 2]),
            )
        failures += betting_bound(drops, ALPHA) < mean
    assert failures <= binom.ppf(0.999, pairs, ALPHA)


def test_many_small_drops_are_bounded_close_to_their_mean() -> None:
    drops = np.clip(np.random.default_rng(5).normal(0.003, 0.003, 10_000), 0, 1)
    assert drops.mean() < betting_bound(drops, ALPHA) < drops.mean() + 0.0006
