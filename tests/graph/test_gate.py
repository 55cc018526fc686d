import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ai.graph.gate import check_equal


def one(array, name="y"):
    return [{name: np.asarray(array)}]


def test_identical_answers_are_equal():
    found = check_equal(one([1.0, np.nan, np.inf]), one([1.0, np.nan, np.inf]))
    assert found.equal
    assert found.largest_difference == 0.0


def test_rounding_is_allowed_relative_to_the_scale_of_the_output():
    a = np.array([1000.0, 1e-3], np.float32)
    assert check_equal(one(a), one(a + np.float32(0.05))).equal
    found = check_equal(one(a), one(a + np.float32(0.5)))
    assert not found.equal
    assert found.output == "y"
    assert found.largest_difference == pytest.approx(5e-4, rel=0.01)
    assert "differs by" in found.why


def test_the_scale_is_taken_over_all_calls():
    original = [{"y": np.float32([100.0])}, {"y": np.float32([0.0])}]
    rewritten = [{"y": np.float32([100.0])}, {"y": np.float32([0.005])}]
    assert check_equal(original, rewritten).equal
    assert not check_equal(original[1:], rewritten[1:]).equal


def test_a_narrow_dtype_may_round_more():
    a = np.array([1.0, 0.5])
    for dtype, equal in ((np.float64, False), (np.float16, True), (ml_dtypes.bfloat16, True)):
        assert check_equal(one(a.astype(dtype)), one((a + 0.004).astype(dtype))).equal is equal


def test_the_callers_tolerance_wins():
    a = np.float32([1.0])
    assert not check_equal(one(a), one(a * np.float32(1.00001)), rtol=0.0, atol=0.0).equal
    assert check_equal(one(a), one(a * np.float32(1.4)), rtol=0.5).equal


@pytest.mark.parametrize(
    ("original", "rewritten", "why"),
    [
        (np.zeros((2, 1), np.float32), np.zeros((1, 2), np.float32), "shape"),
        (np.zeros(2, np.float32), np.zeros(2, np.float64), "dtype"),
        (np.array([1, 2]), np.array([1, 3]), "1 of 2 values"),
        (np.array([True]), np.array([False]), "values changed"),
        (np.array(["a"], object), np.array(["b"], object), "text"),
        (np.float32([np.nan, 1]), np.float32([1, np.nan]), "NaN"),
        (np.float32([np.inf, 1]), np.float32([-np.inf, 1]), "infinity"),
        (np.float32([np.inf, 1]), np.float32([9e9, 1]), "infinity"),
    ],
)
def test_what_must_be_identical(original, rewritten, why):
    found = check_equal(one(original), one(rewritten))
    assert not found.equal
    assert why in found.why
    assert found.output == "y"


def test_same_text_is_equal():
    assert check_equal(one(np.array(["a"], object)), one(np.array(["a"]))).equal


def test_outputs_gone_new_or_missing_calls():
    a = np.float32([1.0])
    assert "gone" in check_equal(one(a), one(a, "z")).why
    assert "new" in check_equal(one(a), [{"y": a, "z": a}]).why
    assert not check_equal(one(a), []).equal
    assert not check_equal([], []).equal


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1))
def test_an_answer_equals_itself_and_empty_arrays_are_fine(values):
    a = np.array(values, np.float32)
    assert check_equal(one(a), one(a.copy())).equal
    assert check_equal(one(a[:0]), one(a[:0])).equal
