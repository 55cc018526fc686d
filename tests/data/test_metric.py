import numpy as np
import pytest

from lepton_ai.data.metric import Metric, metrics
from lepton_ai.errors import DataError

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 60)
REFERENCE = {"y": RNG.normal(size=(60, 3)).astype(np.float32)}
CANDIDATE = {"y": REFERENCE["y"] + RNG.normal(size=(60, 3)).astype(np.float32)}


@pytest.fixture(params=metrics.names())
def metric(request) -> Metric:
    return metrics.get(request.param)()


def test_the_name_is_the_registered_one(metric):
    assert metrics.get(metric.name) is type(metric)
    assert metric.content_key() == metric.name


def test_a_score_is_within_bounds_and_its_outcomes_average_to_it(metric):
    metric.check_labels(LABELS)
    metric.check(LABELS, REFERENCE)
    score = metric.score(CANDIDATE, LABELS, REFERENCE)
    assert 0 < score.value < 1
    if score.per_sample is not None:
        assert score.per_sample.shape == (60,)
        assert score.per_sample.mean() == pytest.approx(score.value)
        assert (score.per_sample >= 0).all()
        assert (score.per_sample <= 1).all()


def test_a_better_candidate_scores_higher(metric):
    worse = {"y": -REFERENCE["y"]}
    perfect = {"y": np.eye(3, dtype=np.float32)[LABELS]}
    best = perfect if metric.needs_labels else REFERENCE
    assert metric.score(best, LABELS, best).value == 1
    assert metric.score(worse, LABELS, REFERENCE).value < 0.6


def test_resamples_score_as_the_samples_they_hold(metric):
    indices = RNG.integers(0, 60, (5, 60))
    values = metric.resampled(CANDIDATE, LABELS, REFERENCE, indices)
    for value, chosen in zip(values, indices, strict=True):
        alone = metric.score(
            {"y": CANDIDATE["y"][chosen]}, LABELS[chosen], {"y": REFERENCE["y"][chosen]}
        )
        assert value == pytest.approx(alone.value)


def test_inputs_are_not_changed(metric):
    before = {"y": CANDIDATE["y"].copy()}, LABELS.copy(), {"y": REFERENCE["y"].copy()}
    metric.score(CANDIDATE, LABELS, REFERENCE)
    np.testing.assert_array_equal(before[0]["y"], CANDIDATE["y"])
    np.testing.assert_array_equal(before[1], LABELS)
    np.testing.assert_array_equal(before[2]["y"], REFERENCE["y"])


def test_missing_labels_are_refused_where_they_are_needed(metric):
    if not metric.needs_labels:
        metric.check_labels(None)
        return
    with pytest.raises(DataError, match=rf"{metric.name} needs labels.*--metric agreement"):
        metric.check_labels(None)
    with pytest.raises(DataError, match="needs labels"):
        metric.check(None, REFERENCE)


def test_a_description_is_one_sentence_that_names_the_output(metric):
    words = metric.describe(REFERENCE, LABELS)
    assert "y" in words
    assert "\n" not in words
    assert metric.describe(REFERENCE)
