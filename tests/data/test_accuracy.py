import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from lepton_ai.data.accuracy import Accuracy
from lepton_ai.errors import DataError

RNG = np.random.default_rng(0)


def test_it_is_the_known_accuracy():
    labels = RNG.integers(0, 5, 200)
    outputs = {"y": RNG.normal(size=(200, 5)).astype(np.float32)}
    outputs["y"][np.arange(200), labels] += 1
    score = Accuracy().score(outputs, labels, outputs)
    assert score.value == pytest.approx(accuracy_score(labels, outputs["y"].argmax(1)))
    assert score.per_sample is not None
    assert set(score.per_sample) == {0.0, 1.0}


def test_a_dense_sample_counts_by_the_share_of_its_positions():
    outputs = {"y": np.zeros((2, 2, 4, 4), np.float32)}
    outputs["y"][0, 1, :, :1] = 1
    labels = np.zeros((2, 4, 4), int)
    score = Accuracy().score(outputs, labels, outputs)
    assert score.per_sample is not None
    assert score.per_sample.tolist() == [0.75, 1.0]
    assert "positions" in Accuracy().describe(outputs, labels)


def test_nan_is_wrong():
    reference = {"y": np.eye(2, dtype=np.float32)}
    broken = {"y": np.full((2, 2), np.nan, np.float32)}
    assert Accuracy().score(broken, np.asarray([0, 1]), reference).value == 0


def test_an_original_that_answers_nan_is_refused():
    broken = {"y": np.full((2, 2), np.nan, np.float32)}
    with pytest.raises(DataError, match="NaN"):
        Accuracy().check(np.asarray([0, 1]), broken)


def test_constant_labels_are_refused():
    with pytest.raises(DataError, match="all 20 labels are 1"):
        Accuracy().check_labels(np.ones(20, int))


def test_a_label_out_of_range_among_samples_not_yet_scored_is_found():
    reference = {"y": np.eye(2, dtype=np.float32)}
    labels = np.asarray([0, 1])
    Accuracy().check(labels, reference, np.asarray([0, 1, 1, 0]))
    with pytest.raises(DataError, match=r"labels must be 0 to 1.*and 2 came"):
        Accuracy().check(labels, reference, np.asarray([0, 1, 1, 2]))
