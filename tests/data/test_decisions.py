import ml_dtypes
import numpy as np
import pytest

from lepton_ai.data.decisions import (
    NO_CLASS,
    check_class_labels,
    check_decided,
    class_labels,
    decide,
    find_decider,
)
from lepton_ai.errors import DataError, MetricError

RNG = np.random.default_rng(0)
LABELS = np.asarray([0, 1, 2, 1])


def scores(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def decided(outputs, labels=LABELS, reference=None):
    decider = find_decider(labels, reference or outputs)
    return decide(decider, outputs, class_labels(labels).shape)


def test_the_first_output_of_class_scores_decides():
    outputs = {"hidden": scores(4, 5, 7), "logits": scores(4, 3), "other": scores(4, 9)}
    assert find_decider(LABELS, outputs).output == "logits"
    np.testing.assert_array_equal(decided(outputs), outputs["logits"].argmax(1))


@pytest.mark.parametrize("shape", [(4, 3, 1, 1), (4, 1, 1, 3), (4, 1, 3)])
def test_axes_of_one_around_class_scores_do_not_matter(shape):
    outputs = {"y": scores(*shape)}
    np.testing.assert_array_equal(decided(outputs), outputs["y"].reshape(4, 3).argmax(1))


@pytest.mark.parametrize(("shape", "axis"), [((4, 3, 5, 6), 1), ((4, 5, 6, 3), 3)])
def test_dense_scores_with_the_classes_first_or_last(shape, axis):
    outputs = {"y": scores(*shape)}
    labels = RNG.integers(0, 3, (4, 5, 6))
    np.testing.assert_array_equal(decided(outputs, labels), outputs["y"].argmax(axis))


def test_one_label_per_token():
    outputs = {"y": scores(4, 6, 3)}
    labels = RNG.integers(0, 3, (4, 6))
    np.testing.assert_array_equal(decided(outputs, labels), outputs["y"].argmax(2))


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_classes_decide_as_they_are(shape):
    outputs = {"label": np.asarray([7, -1, 7, 3]).reshape(shape)}
    assert decided(outputs, np.asarray([7, -1, 3, 3])).tolist() == [7, -1, 7, 3]


def test_classes_in_text():
    outputs = {"p": scores(4, 2), "label": np.asarray(["a", "b", "a", "a"], dtype=object)}
    assert decided(outputs, np.asarray(["a", "b", "b", "a"])).tolist() == ["a", "b", "a", "a"]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_score_for_two_classes(shape):
    labels = np.asarray([0, 1, 1, 0])
    probabilities = np.asarray([0.2, 0.7, 0.6, 0.4], np.float32).reshape(shape)
    logits = np.asarray([-2, 0.2, 0.4, -0.1], np.float32).reshape(shape)
    assert decided({"y": probabilities}, labels).tolist() == [0, 1, 1, 0]
    assert decided({"y": logits}, labels).tolist() == [0, 1, 1, 0]


def test_the_threshold_is_the_originals_not_the_candidates():
    labels = np.asarray([0, 1, 1, 0])
    reference = {"y": np.asarray([-2, 0.2, 0.4, -0.1], np.float32)}
    candidate = {"y": np.asarray([0.0, 0.3, 0.4, 0.2], np.float32)}
    assert decided(candidate, labels, reference).tolist() == [0, 1, 1, 1]


def test_nan_decides_for_nothing():
    for array, labels in [
        (np.asarray([[np.nan, 1], [0, 1]], np.float32), np.asarray([0, 1])),
        (np.asarray([np.nan, 1], np.float32), np.asarray([0, 1])),
    ]:
        reference = {"y": np.nan_to_num(array)}
        assert decided({"y": array}, labels, reference).tolist() == [NO_CLASS, 1]
        with pytest.raises(DataError, match=r"NaN in output 'y' for sample 0"):
            check_decided(find_decider(labels, reference), {"y": array})


def test_bfloat16_scores_decide():
    outputs = {"y": scores(4, 3).astype(ml_dtypes.bfloat16)}
    expected = outputs["y"].astype(np.float32).argmax(1)
    np.testing.assert_array_equal(decided(outputs), expected)


@pytest.mark.parametrize(
    ("labels", "output", "told"),
    [
        ([0, 1, 2, 3], scores(4, 3), "labels must be 0 to 2.*and 3 came"),
        ([0, -1, 2, 3], scores(4, 3), "labels must be 0 to 2.*and -1 came"),
        ([0, 1, 2, 1], scores(4, 1), "labels must be 0 to 1.*and 2 came"),
        ([0, 1, 2, 1], scores(4, 5, 6), r"fit none.*y: float32\(4, 5, 6\)"),
        (np.eye(4, 3, dtype=int), scores(4, 3), "fit none"),
        (["a", "b", "c", "b"], scores(4, 3), "fit none"),
        ([0.5, 1, 2, 1], scores(4, 3), r"whole numbers or names, and float64 came \(0.5\)"),
        ([0j, 1j, 2j, 1j], scores(4, 3), "complex128 came"),
    ],
)
def test_labels_that_do_not_fit_are_told(labels, output, told):
    with pytest.raises(DataError, match=told):
        find_decider(np.asarray(labels), {"y": output})


def test_whole_floats_and_truth_values_are_classes():
    assert class_labels(np.asarray([0.0, 2.0])).tolist() == [0, 2]
    assert class_labels(np.asarray([[True], [False]])).tolist() == [1, 0]


@pytest.mark.parametrize("labels", [[3, 3, 3], ["a", "a"], [1.0, 1.0]])
def test_constant_labels_are_refused(labels):
    with pytest.raises(DataError, match="says nothing"):
        check_class_labels(np.asarray(labels))


@pytest.mark.parametrize("outputs", [{}, {"y": scores(4, 5)}, {"y": scores(3, 3)}])
def test_a_candidate_with_other_outputs_is_a_metric_error(outputs):
    with pytest.raises(MetricError, match="output 'y'"):
        decide(find_decider(LABELS, {"y": scores(4, 3)}), outputs, (4,))
