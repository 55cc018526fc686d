"""Whole numbers, signs and bounds, against ONNX Runtime and the words of the standard."""

import numpy as np
import pytest

SIGNED = np.array([-7, -6, -1, 0, 1, 6, 7], dtype=np.int64)


@pytest.mark.parametrize("by", [-3, -2, 2, 3])
@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_whole_numbers_are_divided_towards_zero(one_node, by_onnxruntime, operator, by):
    inputs = [SIGNED, np.array([by])]
    (mine,) = one_node(operator, inputs)
    (wanted,) = by_onnxruntime(operator, inputs)
    np.testing.assert_array_equal(mine, wanted)
    assert mine.dtype == np.int64


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
def test_remainders_with_the_sign_of_the_dividend(one_node, dtype):
    x = np.array([-7.5, -6, -1, 0, 1, 6, 7.5]).astype(dtype)
    (y,) = one_node("Mod", [x, np.array([4], dtype)], fmod=1)
    np.testing.assert_array_equal(y, np.fmod(x, np.array(4, dtype)))
    assert y.dtype == dtype


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.array([2, 3, -1, 1], np.int64), np.array([3, 40, -3, -2], np.int64)),
        (np.array([2, -2, 5, 0], np.int32), np.array([-1, -2, 0, 2], np.int32)),
    ],
)
def test_powers_of_whole_numbers_are_exact(one_node, x, y):
    # Thirty-nine decimal digits would be lost in a float; what is below one is cut off.
    wanted = [
        int(a) ** int(b) if b >= 0 else int(float(a) ** float(b)) for a, b in zip(x, y, strict=True)
    ]
    wrapped = np.array([w & (2**64 - 1) for w in wanted], np.uint64).astype(x.dtype)
    (z,) = one_node("Pow", [x, y])
    np.testing.assert_array_equal(z, wrapped)


def test_a_power_has_the_dtype_of_its_base(one_node):
    (z,) = one_node("Pow", [np.array([2], np.int32), np.array([0.5], np.float32)])
    assert z.dtype == np.int32
    assert z.tolist() == [1]


def test_bounds_that_cross_leave_the_upper_one(one_node):
    (y,) = one_node("Clip", [SIGNED, np.int64(3)[None][0], np.int64(-2)[None][0]])
    assert y.tolist() == [-2] * 7


@pytest.mark.parametrize("opset", [1, 6])
def test_bounds_were_attributes_once(one_node, opset):
    x = np.array([-2, 0, 2], np.float32)
    (y,) = one_node("Clip", [x], opset=opset, min=-1.0, max=1.0)
    assert y.tolist() == [-1, 0, 1]
