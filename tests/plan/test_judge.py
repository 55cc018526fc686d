from types import SimpleNamespace

import numpy as np
import pytest

from lepton_ai.data.accuracy import Accuracy
from lepton_ai.plan.budget import Budget
from lepton_ai.plan.judge import Judge


def ragged(*rows):
    outputs = np.empty(len(rows), dtype=object)
    outputs[:] = [np.float32(row) for row in rows]
    return outputs


def equality(reference, outputs, count):
    return Judge(SimpleNamespace(), SimpleNamespace(tune_outputs=reference))._equality(
        outputs, count
    )


def test_answers_of_unequal_shape_are_compared_sample_by_sample():
    reference = {"found": ragged([1, 2], [3], []), "count": np.array([2, 1, 0])}
    first = {"found": ragged([1, 2], [3]), "count": np.array([2, 1])}
    assert equality(reference, first, 2).equal
    lost = {"found": ragged([1, 2], []), "count": np.array([2, 1])}
    assert "shape (1,) became (0,)" in equality(reference, lost, 2).why
    moved = {"found": ragged([1, 2], [3.5]), "count": np.array([2, 1])}
    assert "differs by 0.5" in equality(reference, moved, 2).why


LABELS = np.arange(200) % 3


@pytest.fixture
def judge():
    scores = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    scores[np.arange(200), LABELS] += 2
    metric = Accuracy()
    oracle = SimpleNamespace(tune_outputs={"y": scores}, tune_labels=LABELS, score=metric.score)
    split = SimpleNamespace(certify=np.arange(1000))
    job = SimpleNamespace(metric=metric, budget=Budget(max_drop=0.01), split=split)
    return Judge(job, oracle), scores


def test_rounding_is_equal(judge):
    judge, scores = judge
    assert judge.difference({"y": scores * np.float32(1 + 1e-6)}, 200) is None
    assert judge.difference({"y": scores[:50]}, 50) is None


def test_a_wide_row_cannot_hide_that_classes_change(judge):
    judge, scores = judge
    scores[0, 0] = 1e6  # the gate's tolerance is relative to the largest value
    other = scores.copy()
    other[100:] = -other[100:]
    assert "accuracy changes on" in judge.difference({"y": other}, 200)


def test_a_clear_loss_is_harm_and_noise_is_not(judge):
    judge, scores = judge
    assert "loses" in judge.harm({"y": -scores}, 200)
    assert judge.harm({"y": scores + 1e-3}, 200) is None
    assert "NaN" in judge.harm({"y": np.full_like(scores, np.nan)}, 200)


def test_no_change_at_all_still_has_a_likely_bound(judge):
    judge, scores = judge
    score, drop, likely = judge.scored({"y": scores}, 200)
    assert drop == 0
    assert score.value > 0.5
    assert 0.001 < likely < 0.01
