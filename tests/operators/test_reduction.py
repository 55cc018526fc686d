"""Reductions of nothing and of wide numbers, places of equals, and the top in order."""

import ml_dtypes
import numpy as np
import pytest

NOTHING = np.zeros((2, 0), np.float32)


@pytest.mark.parametrize(
    ("operator", "neutral"),
    [
        ("ReduceSum", 0),
        ("ReduceProd", 1),
        ("ReduceMax", -np.inf),
        ("ReduceMin", np.inf),
        ("ReduceLogSumExp", -np.inf),
    ],
)
def test_of_nothing_there_is_the_neutral_element(one_node, operator, neutral):
    (y,) = one_node(operator, [NOTHING, np.array([1])], opset=20, keepdims=0)
    assert y.tolist() == [neutral] * 2


def test_of_no_integers_there_is_the_least(one_node):
    (y,) = one_node("ReduceMax", [NOTHING.astype(np.int8), np.array([1])], opset=20)
    assert y.tolist() == [[-128]] * 2


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_many_small_numbers_do_not_vanish_in_a_narrow_sum(one_node, dtype):
    x = np.full(4096, 0.125, dtype)
    for operator, wanted in (("ReduceSum", 512), ("ReduceMean", 0.125)):
        (y,) = one_node(operator, [x], opset=18, keepdims=0)
        assert y.dtype == dtype
        assert float(y) == wanted


def test_axes_were_an_attribute_once_and_none_may_mean_none(one_node):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (y,) = one_node("ReduceSum", [x], opset=11, axes=[-1], keepdims=0)
    assert y.tolist() == [3, 12]
    (y,) = one_node("ReduceSumSquare", [x], opset=18, noop_with_empty_axes=1)
    assert np.array_equal(y, x * x)


@pytest.mark.parametrize(("last", "place"), [(0, 1), (1, 3)])
def test_the_first_or_the_last_of_equals(one_node, last, place):
    x = np.array([[0, 5, 2, 5]], np.float32)
    (y,) = one_node("ArgMax", [x], axis=1, select_last_index=last, keepdims=0)
    assert y.tolist() == [place]


@pytest.mark.parametrize(("largest", "places"), [(1, [1, 3, 2]), (0, [0, 2, 1])])
def test_of_equals_in_the_top_those_that_come_first(one_node, largest, places):
    x = np.array([0, 5, 2, 5], np.float32)
    values, found = one_node("TopK", [x, np.array([3])], outputs=2, largest=largest)
    assert found.tolist() == places
    assert np.array_equal(values, x[places])


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sums(one_node, by_onnxruntime, exclusive, reverse):
    inputs = [np.arange(12, dtype=np.int32).reshape(3, 4), np.array(-2)]
    options = {"exclusive": exclusive, "reverse": reverse}
    (mine,) = one_node("CumSum", inputs, opset=14, **options)
    (wanted,) = by_onnxruntime("CumSum", inputs, opset=14, **options)
    np.testing.assert_array_equal(mine, wanted)
    assert mine.dtype == np.int32
