import numpy as np
import pytest
from scipy.stats import binom, norm

from lepton_ai.plan import bounds_bootstrap
from lepton_ai.plan.bounds_bootstrap import accelerated_bound, floor, studentised_bound

ALPHA = 0.05


def test_the_floor_is_the_rule_of_three() -> None:
    assert floor(1_000, ALPHA, 1.0) == pytest.approx(3 / 1_000, rel=0.01)
    assert floor(1_000, ALPHA, 20.0) == pytest.approx(20 * floor(1_000, ALPHA, 1.0))
    assert floor(1, ALPHA, 1.0) == pytest.approx(1 - ALPHA)


def test_the_studentised_bound_of_a_bell_curve_is_the_normal_one() -> None:
    drops = np.random.default_rng(1).normal(0.1, 1.0, 2_000)
    normal = drops.mean() + norm.isf(ALPHA) * drops.std() / np.sqrt(len(drops))
    assert studentised_bound(drops, ALPHA) == pytest.approx(normal, abs=0.01)


def test_equal_drops_are_their_own_bound() -> None:
    assert studentised_bound(np.full(30, 0.25), ALPHA) == 0.25


def test_one_changed_sample_gives_a_finite_bound_above_its_mean() -> None:
    drops = np.zeros(100)
    drops[3] = 5.0
    assert 0.05 < studentised_bound(drops, ALPHA) < 5.0


def test_the_studentised_bound_covers_skewed_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds_bootstrap, "RESAMPLES", 400)
    generator = np.random.default_rng(2)
    failures = sum(
        studentised_bound(generator.exponential(1.0, 100), ALPHA) < 1.0 for _ in range(300)
    )
    # Approximate by nature: up to eight in a hundred where five are wanted.
    assert failures <= binom.ppf(0.999, 300, 0.08)


def test_the_accelerated_bound_of_a_mean_is_the_normal_one() -> None:
    drops = np.random.default_rng(4).normal(0.1, 1.0, 1_000)
    normal = drops.mean() + norm.isf(ALPHA) * drops.std() / np.sqrt(len(drops))
    bound = accelerated_bound(lambda indices: drops[indices].mean(axis=1), len(drops), ALPHA)
    assert bound == pytest.approx(normal, abs=0.01)


def test_the_accelerated_bound_leans_out_for_a_long_upper_tail() -> None:
    drops = np.random.default_rng(6).exponential(1.0, 60)
    normal = drops.mean() + norm.isf(ALPHA) * drops.std() / np.sqrt(len(drops))
    assert accelerated_bound(lambda i: drops[i].mean(axis=1), len(drops), ALPHA) > normal


def test_a_score_that_never_moves_is_its_own_bound() -> None:
    assert accelerated_bound(lambda indices: np.full(len(indices), 0.5), 40, ALPHA) == 0.5


def test_a_single_sample_is_resampled_without_complaint() -> None:
    assert accelerated_bound(lambda indices: np.zeros(len(indices)), 1, ALPHA) == 0.0
