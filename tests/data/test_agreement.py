import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lepton_ai.data.agreement import Agreement, agree
from lepton_ai.errors import DataError, MetricError

RNG = np.random.default_rng(0)


def ragged(*rows):
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


EXAMPLES = {
    "scores": RNG.normal(size=(6, 3)).astype(np.float32),
    "constant scores": np.ones((6, 3), np.float32),
    "regression": RNG.normal(size=6).astype(np.float32),
    "column": RNG.normal(size=(6, 1)).astype(np.float32),
    "constant regression": np.full(6, 3.5, np.float32),
    "map": RNG.normal(size=(6, 4, 4)).astype(np.float32),
    "flat map": np.zeros((6, 4, 4), np.float32),
    "integers": RNG.integers(0, 9, (6, 2)),
    "truth": RNG.random((6, 2)) > 0.5,
    "text": np.asarray(list("abcdef"), dtype=object),
    "boxes": ragged(*(RNG.normal(size=(k, 4)).astype(np.float32) for k in (0, 1, 2, 3, 4, 5))),
    "ragged integers": ragged(*(np.arange(k) for k in (1, 0, 2, 3, 4, 5))),
    "bfloat16": RNG.normal(size=(6, 4, 4)).astype(ml_dtypes.bfloat16),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_equal_answers_agree_fully_whatever_they_are(name):
    reference = {"y": EXAMPLES[name]}
    Agreement().check(None, reference)
    score = Agreement().score(reference, None, reference)
    assert score.value == 1
    assert score.per_sample is not None
    assert score.per_sample.tolist() == [1.0] * 6


floats = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4),
    elements=st.floats(-100, 100, width=32),
)


@settings(deadline=None)
@given(floats, st.floats(-10, 10), st.integers(0, 10))
def test_agreement_is_from_zero_to_one_and_no_less_for_a_smaller_error(reference, size, seed):
    noise = np.random.default_rng(seed).normal(size=reference.shape) * size
    near, far = agree(reference + noise / 2, reference), agree(reference + noise, reference)
    assert ((near >= 0) & (near <= 1) & (far >= 0) & (far <= 1)).all()
    if reference.ndim != 2 or reference.shape[1] == 1:
        assert (near >= far - 1e-9).all()


def test_class_scores_agree_by_the_largest():
    reference = np.asarray([[1, 2, 0], [1, 2, 0], [1, 2, 0]], np.float32)
    ours = np.asarray([[0, 9, 0], [3, 2, 0], [2, 2, 0]], np.float32)
    assert agree(ours, reference).tolist() == [1, 0, 0]


def test_a_constant_row_decides_nothing():
    reference = np.asarray([[5, 2], [2, 2]], np.float32)
    assert agree(np.ones((2, 2), np.float32), reference).tolist() == [0, 1]


def test_any_of_the_originals_tied_classes_will_do():
    reference = np.asarray([[2, 2, 0]] * 3, np.float32)
    assert agree(np.eye(3, dtype=np.float32), reference).tolist() == [1, 1, 0]


def test_numbers_agree_by_error_over_spread():
    reference = np.asarray([0.0, 2.0])  # standard deviation 1
    assert agree(np.asarray([0.25, 4.0]), reference).tolist() == [0.75, 0]
    column = agree(np.asarray([[0.25], [4.0]]), reference[:, None])
    assert column.tolist() == [0.75, 0]


def test_maps_agree_by_variance_explained():
    reference = np.asarray([[[1.0, -1.0]], [[1.0, -1.0]]])
    ours = np.asarray([[[0.5, -1.0]], [[0.0, 0.0]]])
    assert agree(ours, reference).tolist() == [pytest.approx(1 - 0.25 / 2), 0]


def test_noise_on_a_flat_map_is_judged_by_the_others():
    reference = np.stack([np.zeros((8, 8)), RNG.normal(size=(8, 8))])
    ours = reference + 1e-4
    assert agree(ours, reference).min() > 0.999


def test_elements_agree_by_the_share_that_is_equal():
    assert agree(np.asarray([[1, 2], [3, 4]]), np.asarray([[1, 9], [3, 4]])).tolist() == [0.5, 1]
    assert agree(np.asarray(["a", "b"], object), np.asarray(["a", "c"], object)).tolist() == [1, 0]


def test_a_shape_that_differs_is_no_agreement():
    boxes = EXAMPLES["boxes"]
    ours = boxes.copy()
    ours[3] = boxes[3][:2]
    assert agree(ours, boxes).tolist() == [1, 1, 1, 0, 1, 1]
    assert agree(np.zeros((6, 2)), EXAMPLES["scores"]).tolist() == [0] * 6


@pytest.mark.parametrize("name", ["scores", "regression", "column", "map", "bfloat16"])
def test_nan_is_no_agreement(name):
    ours = EXAMPLES[name].copy()
    ours[2] = np.nan
    assert agree(ours, EXAMPLES[name]).tolist() == [1, 1, 0, 1, 1, 1]


def test_the_least_of_the_outputs_counts():
    reference = {"a": EXAMPLES["scores"], "b": EXAMPLES["integers"]}
    ours = {"a": reference["a"].copy(), "b": reference["b"].copy()}
    ours["a"][0] *= -1
    ours["b"][1, 0] += 1
    score = Agreement().score(ours, None, reference)
    assert score.per_sample is not None
    assert score.per_sample.tolist() == [0, 0.5, 1, 1, 1, 1]


def test_it_says_what_it_compares():
    words = Agreement().describe({"cls": EXAMPLES["scores"], "boxes": EXAMPLES["boxes"]})
    assert "cls: the same class has the largest score" in words
    assert "boxes: the share of the original's variance" in words


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_original_with_nothing_to_compare_is_refused(bad):
    broken = EXAMPLES["map"].copy()
    broken[4, 0, 0] = bad
    with pytest.raises(DataError, match=r"output 'y' for sample 4"):
        Agreement().check(None, {"y": broken})
    with pytest.raises(DataError, match="the model has none"):
        Agreement().check(None, {})


def test_other_outputs_or_counts_are_metric_errors():
    with pytest.raises(MetricError, match=r"\['y'\] are to be compared"):
        Agreement().score({"z": EXAMPLES["map"]}, None, {"y": EXAMPLES["map"]})
    with pytest.raises(MetricError, match="6 answers are to be compared, and 5 came"):
        agree(EXAMPLES["map"][:5], EXAMPLES["map"])
