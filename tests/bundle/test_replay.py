import ml_dtypes
import numpy as np
import pytest

from lepton_ai.bundle.replay import compare


def one(array, dtype=np.float32):
    return [{"y": np.asarray(array, dtype=dtype)}]


def test_equal_answers_match():
    found = compare(one([[1, 2, 3]]), one([[1, 2, 3]]), 1e-3)
    assert found.matches
    assert found.difference == 0.0
    assert found.calls == 1


def test_the_difference_is_relative_to_the_scale():
    assert compare(one([100.0, 1.0]), one([100.0, 1.05]), 1e-3).matches
    found = compare(one([1.0, 1.0]), one([1.0, 1.05]), 1e-3)
    assert found.difference == pytest.approx(0.05, rel=1e-5)
    assert "output 'y' of golden call 0 differs by 0.05" in found.why


def test_the_scale_is_that_of_all_calls():
    wanted = one([10.0]) + one([0.0])
    assert compare(wanted, one([10.0]) + one([0.001]), 1e-3).matches


def test_a_clear_winner_must_stay():
    wanted = one([[1.0, 0.96, 0.0]])
    found = compare(wanted, one([[0.975, 0.985, 0.0]]), 0.03)
    assert found.difference < 0.03
    assert "names another class" in found.why


def test_a_near_tie_may_turn():
    assert compare(one([[1.0, 0.99, 0.0]]), one([[0.99, 1.0, 0.0]]), 0.03).matches


@pytest.mark.parametrize(
    ("wanted", "came"),
    [([1.0, np.nan], [1.0, 2.0]), ([1.0, 2.0], [1.0, np.nan]), ([1.0, np.inf], [1.0, -np.inf])],
)
def test_nan_and_infinity_in_another_place_do_not_match(wanted, came):
    found = compare(one(wanted), one(came), 0.03)
    assert not found.matches
    assert found.difference == np.inf


def test_nan_and_infinity_in_place_match():
    values = [1.0, np.nan, np.inf, -np.inf]
    assert compare(one(values), one(values), 1e-3).difference == 0.0


def test_another_shape_or_a_missing_output_does_not_match():
    assert not compare(one([1.0]), one([[1.0]]), 0.03).matches
    assert not compare(one([1.0]), [{}], 0.03).matches


def test_names_and_texts_match_exactly():
    assert not compare(one([900], np.int64), one([901], np.int64), 0.03).matches
    assert not compare(one(["a"], object), one(["b"], object), 0.03).matches
    assert not compare(one([True], bool), one([False], bool), 0.03).matches
    assert compare(one(["a"], object), one(["a"], object), 0.03).matches


def test_pixels_and_bfloat16_are_quantities():
    assert compare(one([200, 100], np.uint8), one([201, 100], np.uint8), 0.03).matches
    left, right = one([1.0, 2.0], ml_dtypes.bfloat16), one([1.0, 2.02], ml_dtypes.bfloat16)
    found = compare(left, right, 0.03)
    assert found.matches
    assert found.difference > 0


def test_nothing_to_compare_is_equal():
    assert compare([], [], 1e-3).matches
    assert compare(one(np.zeros((0, 3))), one(np.zeros((0, 3))), 1e-3).matches
