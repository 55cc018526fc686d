import numpy as np

from lepton_ai.plan.bench import join
from lepton_ai.plan.oracle import first_not_finite


def test_joining_stretches_of_outputs():
    whole = join({"y": np.ones((2, 3))}, {"y": np.zeros((1, 3))})
    assert whole["y"].shape == (3, 3)


def test_joining_ragged_outputs_keeps_one_row_per_sample():
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.ones(1), np.ones(2)]
    whole = join({"y": ragged}, {"y": np.zeros((1, 4))})["y"]
    assert [len(row) for row in whole] == [1, 2, 4]


def test_joining_texts_keeps_their_axes():
    texts = np.full((2, 3), "a", dtype=object)
    assert join({"y": texts}, {"y": texts[:1]})["y"].shape == (3, 3)


def test_the_first_sample_that_is_not_finite_is_named():
    outputs = {"a": np.zeros((3, 2)), "b": np.array([[0.0], [np.inf], [np.nan]])}
    assert first_not_finite(outputs) == ("b", 1)
    assert first_not_finite({"a": np.zeros((3, 2), int), "t": np.array(["x"], object)}) is None
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.ones(1), np.array([1.0, np.nan])]
    assert first_not_finite({"r": ragged}) == ("r", 1)
