import functools
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, multinomial, norm

from lepton_ai.plan.bounds_paired import paired_bound

ALPHA = 0.05


def test_unchanged_samples_give_nearly_the_rule_of_three() -> None:
    for n in (10, 125, 2_000, 50_000):
        rule = 1 - ALPHA ** (1 / n)
        assert rule <= paired_bound(0, 0, n, ALPHA) <= 1.03 * rule


def test_125_unchanged_samples_bound_the_drop_at_two_and_a_half_points() -> None:
    assert 0.0236 < paired_bound(0, 0, 125, ALPHA) < 0.025


def test_losses_alone_are_bounded_no_lower_than_clopper_pearson_on_them() -> None:
    exact = binomtest(7, 200, alternative="less").proportion_ci(1 - ALPHA).high
    assert exact * 0.995 <= paired_bound(7, 0, 200, ALPHA) <= exact * 1.15


@pytest.mark.parametrize(
    ("b", "c", "n"), [(500, 500, 50_000), (900, 850, 20_000), (400, 200, 9_999)]
)
def test_many_changes_come_close_to_the_normal_bound(b: int, c: int, n: int) -> None:
    drop = (b - c) / n
    reach = norm.isf(ALPHA) * np.sqrt(((b + c) / n - drop**2) / n)
    assert 1.0 <= (paired_bound(b, c, n, ALPHA) - drop) / reach <= 1.05


def test_the_bound_exactly_enumerated_fails_at_most_alpha_everywhere() -> None:
    """No simulation: every outcome of a small n, weighed by its probability, over a fine grid."""
    n, alpha = 12, 0.1
    outcomes = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    bounds = np.array([paired_bound(b, c, n, alpha) for b, c in outcomes])
    counts = np.array([(b, c, n - b - c) for b, c in outcomes])
    grid = np.linspace(0, 1, 26)
    for p10, p01 in itertools.product(grid, grid):
        if p10 + p01 > 1:
            continue
        rest = max(0.0, 1 - p10 - p01)
        weights = multinomial.pmf(counts, n, [p10, p01, rest])
        assert weights[bounds < p10 - p01 - 1e-12].sum() <= alpha


def test_the_bound_just_below_the_truth_is_where_coverage_is_tested() -> None:
    """At the drops that the bound itself takes, where a bound too low by a hair would show."""
    n, alpha = 15, 0.05
    outcomes = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    bounds = np.array([paired_bound(b, c, n, alpha) for b, c in outcomes])
    counts = np.array([(b, c, n - b - c) for b, c in outcomes])
    for drop in np.unique(bounds)[::4] + 1e-9:
        for psi in np.linspace(abs(drop), 1, 40):
            p10, p01 = max((psi + drop) / 2, 0.0), max((psi - drop) / 2, 0.0)
            if p10 + p01 > 1:
                continue
            weights = multinomial.pmf(counts, n, [p10, p01, max(0.0, 1 - p10 - p01)])
            assert weights[bounds < drop].sum() <= alpha


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.data())
def test_one_more_loss_or_one_less_gain_never_lowers_the_bound(n: int, data: st.DataObject) -> None:
    b = data.draw(st.integers(0, n - 1))
    c = data.draw(st.integers(0, n - 1 - b))
    bound = paired_bound(b, c, n, ALPHA)
    assert (b - c) / n <= bound <= 1
    # The bound is found to one part in a hundred of its distance from the drop.
    slack = 0.02 * (bound - (b - c) / n)
    assert paired_bound(b + 1, c, n, ALPHA) >= bound - slack


def test_coverage_over_two_thousand_pairs_of_models() -> None:
    """A hundred kinds of pairs, twenty of each; equal counts are bounded once."""
    generator = np.random.default_rng(7)
    bound_of = functools.cache(paired_bound)
    kinds, each, failures, looseness = 100, 20, 0, []
    for _ in range(kinds):
        n = int(np.exp(generator.uniform(np.log(20), np.log(2_000))))
        psi = np.exp(generator.uniform(np.log(0.001), np.log(0.1)))
        p10 = psi * generator.uniform()
        for b, c, _ in generator.multinomial(n, [p10, psi - p10, 1 - psi], size=each).tolist():
            bound = bound_of(b, c, n, ALPHA)
            failures += bound < 2 * p10 - psi
            if b + c >= 30:
                drop = (b - c) / n
                reach = norm.isf(ALPHA) * np.sqrt(((b + c) / n - drop**2) / n)
                looseness.append((bound - drop) / reach)
    assert failures <= binom.ppf(0.999, kinds * each, ALPHA)
    assert len(looseness) > 100
    assert np.median(looseness) < 1.1
    assert max(looseness) < 1.35


def test_fifty_thousand_samples_take_less_than_two_seconds() -> None:
    started = time.perf_counter()
    bound = paired_bound(12_000, 11_900, 50_000, ALPHA)
    assert time.perf_counter() - started < 2
    assert 0.002 < bound < 0.01


def test_a_single_sample_shows_next_to_nothing() -> None:
    assert paired_bound(0, 0, 1, ALPHA) >= 0.95
    assert paired_bound(1, 0, 1, ALPHA) == 1.0


def test_a_candidate_that_is_better_gets_a_negative_bound() -> None:
    assert -0.03 < paired_bound(10, 300, 10_000, ALPHA) < -0.02
