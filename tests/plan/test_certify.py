import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lepton_ai.data.metric import Score
from lepton_ai.errors import DataError, MetricError
from lepton_ai.plan.bounds_paired import paired_bound
from lepton_ai.plan.certify import Certificate, Claim, certify, certify_equal, spend


def score(outcomes: Any) -> Score:
    values = np.asarray(outcomes, dtype=float)
    return Score(value=float(values.mean()) if values.size else 0.0, per_sample=values)


def right_and_wrong(n: int, losses: int, gains: int) -> tuple[Score, Score]:
    """Outcomes of a baseline and a candidate; the samples that do not change are right."""
    baseline, candidate = np.ones(n), np.ones(n)
    candidate[:losses] = 0
    baseline[losses : losses + gains] = 0
    return score(baseline), score(candidate)


def claim(**changes: Any) -> Claim:
    return Claim(**{"metric": "accuracy", "max_drop": 0.01, **changes})


def test_right_or_wrong_gets_the_exact_paired_bound_at_the_spent_alpha() -> None:
    found = certify(*right_and_wrong(2_000, 9, 6), claim())
    assert (found.losses, found.gains, found.changed, found.n) == (9, 6, 15, 2_000)
    assert found.alpha == 0.04
    assert found.bound == paired_bound(9, 6, 2_000, 0.04)
    assert found.drop == pytest.approx(0.0015)
    assert found.exact
    assert "Lloyd & Moldovan" in found.method
    assert found.holds
    assert found.claim.startswith("On 2,000 unseen samples, accuracy drops by at most 0.")
    assert "95 % confidence" in found.claim
    assert "9 got worse and 6 got better" in found.claim


def test_the_words_never_claim_less_of_a_drop_than_the_bound() -> None:
    for losses in range(12):
        found = certify(*right_and_wrong(3_000, losses, 3), claim())
        said = float(found.claim.split(" by ")[1].removeprefix("at most ").split()[0])
        assert found.bound * 100 <= said <= found.bound * 101.1


def test_a_later_candidate_has_less_alpha_and_a_looser_bound() -> None:
    pair = right_and_wrong(2_000, 9, 6)
    bounds = [certify(*pair, claim(order=order)).bound for order in (0, 1, 2)]
    assert bounds == sorted(bounds)
    assert sum(spend(0.05, order) for order in (0, 1, 2)) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="3 candidates"):
        spend(0.05, 3)


def test_too_few_samples_say_how_many_would_do_and_that_many_do() -> None:
    for losses, gains, n in [(0, 0, 125), (0, 0, 1), (2, 2, 125), (5, 5, 300), (3, 1, 600)]:
        found = certify(*right_and_wrong(n, losses, gains), claim())
        needed = found.more_samples_needed
        assert not found.holds
        assert needed is not None
        assert f"{needed:,} unseen samples would do" in found.claim
        times = needed / n
        then = paired_bound(round(losses * times), round(gains * times), needed, found.alpha)
        assert 0.007 < then < 0.0105


def test_a_drop_above_the_budget_says_that_samples_do_not_help() -> None:
    found = certify(*right_and_wrong(1_000, 60, 20), claim())
    assert not found.holds
    assert found.more_samples_needed is None
    assert "more samples would not help" in found.claim


def test_no_drop_allowed_cannot_be_shown_by_any_number_of_samples() -> None:
    found = certify(*right_and_wrong(1_000, 0, 0), claim(max_drop=0.0))
    assert not found.holds
    assert found.more_samples_needed is None


def test_a_better_candidate_is_said_to_improve() -> None:
    found = certify(*right_and_wrong(5_000, 10, 200), claim())
    assert found.bound < 0
    assert "improves by at least" in found.claim


def test_smaller_is_better_turns_the_drop_around() -> None:
    better, worse = score(np.zeros(400)), score(np.r_[np.ones(30), np.zeros(370)])
    found = certify(better, worse, claim(metric="error", larger_is_better=False))
    assert (found.losses, found.gains) == (30, 0)
    assert found.drop == pytest.approx(0.075)
    assert "error may worsen by" in found.claim


def test_outcomes_in_a_known_range_get_the_betting_bound_scaled_to_it() -> None:
    generator = np.random.default_rng(0)
    baseline = np.full(4_000, 0.9)
    candidate = baseline - generator.uniform(0, 0.006, 4_000)
    unit = certify(score(baseline), score(candidate), claim())
    wide = certify(score(10 * baseline), score(10 * candidate), claim(bounds=(0.0, 10.0)))
    assert "betting" in unit.method
    assert unit.exact
    assert unit.holds
    assert unit.losses is None
    assert unit.drop < unit.bound < 0.005
    assert wide.bound == pytest.approx(10 * unit.bound)


def test_outcomes_of_unknown_range_get_an_approximate_bound_and_say_so() -> None:
    generator = np.random.default_rng(0)
    baseline = generator.normal(20, 1, 3_000)
    candidate = baseline - generator.normal(0.05, 0.1, 3_000)
    found = certify(score(baseline), score(candidate), claim(bounds=None, max_drop=0.1))
    assert not found.exact
    assert "bootstrap-t" in found.method
    assert "approximate" in found.claim
    assert found.drop < found.bound < 0.06


def test_unchanged_outcomes_of_unknown_range_are_bounded_by_what_n_can_show() -> None:
    outcomes = np.linspace(10, 14, 200)
    found = certify(score(outcomes), score(outcomes), claim(bounds=None))
    assert found.drop == 0
    assert found.bound == pytest.approx(4 * (1 - 0.04 ** (1 / 200)))


def macro_f1_of(labels: NDArray[Any], answers: NDArray[Any]) -> Any:
    def resampled(indices: NDArray[np.int64]) -> NDArray[np.float64]:
        wanted, given = labels[indices], answers[indices]
        parts = [
            2
            * np.sum((wanted == k) & (given == k), axis=1)
            / np.maximum(np.sum(wanted == k, axis=1) + np.sum(given == k, axis=1), 1)
            for k in range(3)
        ]
        return np.asarray(np.mean(parts, axis=0))

    return resampled


def test_a_score_over_all_samples_is_resampled_in_pairs() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 1_500)
    before = np.where(generator.random(1_500) < 0.8, labels, (labels + 1) % 3)
    after = np.where(generator.random(1_500) < 0.99, before, generator.integers(0, 3, 1_500))
    pair = macro_f1_of(labels, before), macro_f1_of(labels, after)
    every = np.arange(1_500)[None]
    scores = [Score(value=float(one(every)[0]), per_sample=None) for one in pair]
    changed = int(np.sum(before != after))
    found = certify(
        scores[0],
        scores[1],
        claim(metric="macro-f1", max_drop=0.02),
        n=1_500,
        resampled=pair,
        changed=changed,
    )
    assert "BCa" in found.method
    assert not found.exact
    assert found.changed == changed
    assert found.drop < found.bound < found.drop + 0.01
    same = certify(scores[0], scores[0], claim(), n=1_500, resampled=(pair[0], pair[0]))
    assert same.bound == pytest.approx(1 - 0.04 ** (1 / 1_500))


def test_a_score_over_all_samples_that_cannot_be_resampled_is_refused() -> None:
    whole = Score(value=0.5, per_sample=None)
    with pytest.raises(MetricError, match="one value per sample"):
        certify(whole, whole, claim(metric="mine"))


def test_resamples_that_are_not_finite_are_refused() -> None:
    whole = Score(value=0.5, per_sample=None)
    broken = lambda indices: np.full(len(indices), np.nan)  # noqa: E731
    with pytest.raises(MetricError, match="finite"):
        certify(whole, whole, claim(), n=10, resampled=(broken, broken))


def test_no_samples_are_refused() -> None:
    with pytest.raises(DataError, match="at least 1"):
        certify(score([]), score([]), claim())


def test_outcomes_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(MetricError, match="3 and 2"):
        certify(score([1, 1, 0]), score([1, 0]), claim())


def test_outcomes_that_are_not_finite_are_refused_by_place_and_model() -> None:
    with pytest.raises(MetricError, match="sample 1 of the candidate scored nan"):
        certify(score([1, 1]), Score(value=0.0, per_sample=np.array([1, np.nan])), claim())


def test_outcomes_outside_the_promised_range_are_refused() -> None:
    with pytest.raises(MetricError, match="from 0 to 1, and 1 to 7"):
        certify(score([1, 7]), score([1, 1]), claim())


def test_an_equal_artifact_needs_no_sampling_argument() -> None:
    found = certify_equal(claim(isa=("avx512_vnni",), engines={"openvino": "2026.4.1"}), 64)
    assert found.equal
    assert found.holds
    assert found.bound == 0
    assert found.alpha == 0
    assert "equal" in found.claim
    assert "confidence" not in found.claim


@pytest.mark.parametrize("losses", [0, 90])
def test_a_certificate_survives_json(losses: int) -> None:
    settings = claim(isa=("avx2", "amx_int8"), engines={"onnxruntime": "1.32.0"})
    found = certify(*right_and_wrong(500, losses, 4), settings)
    assert Certificate.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_score_of_unknown_range_is_not_taken_for_right_or_wrong():
    """Only zeros and ones were seen, but a rare loss of fifty may not have been."""
    claim = Claim(metric="mine", max_drop=0.05, bounds=None)
    ones = Score(value=1.0, per_sample=np.ones(500))
    mixed = Score(value=0.998, per_sample=np.r_[np.ones(499), 0.0])
    certificate = certify(ones, mixed, claim)
    assert not certificate.exact
    assert certificate.bound > 0


def test_outcomes_that_are_all_one_number_do_not_give_a_bound_of_nothing():
    claim = Claim(metric="mine", max_drop=0.001, bounds=None)
    same = Score(value=7.0, per_sample=np.full(100, 7.0))
    assert certify(same, same, claim).bound > 0.01
