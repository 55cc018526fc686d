"""Tensors out of nothing, against ONNX Runtime and NumPy."""

import numpy as np
import pytest


def scalar(value, dtype):
    return np.array(value, dtype)


@pytest.mark.parametrize(
    ("start", "limit", "delta", "dtype"),
    [(0, 5, 2, np.int64), (5, 0, -2, np.int32), (3, 3, 1, np.int64), (0, 1, 0.3, np.float32)],
)
def test_ranges(one_node, by_onnxruntime, start, limit, delta, dtype):
    inputs = [scalar(one, dtype) for one in (start, limit, delta)]
    (mine,) = one_node("Range", inputs, opset=11)
    np.testing.assert_array_equal(mine, by_onnxruntime("Range", inputs, opset=11)[0])
    assert mine.dtype == dtype


def test_long_ranges_of_narrow_floats_do_not_stand_still(one_node):
    inputs = [scalar(one, np.float16) for one in (0, 4096, 2)]
    (y,) = one_node("Range", inputs, opset=27)
    np.testing.assert_array_equal(y, np.arange(0, 4096, 2, dtype=np.float32).astype(np.float16))


@pytest.mark.parametrize("k", [-1, 0, 2])
@pytest.mark.parametrize("upper", [0, 1])
def test_triangles(one_node, k, upper):
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    (y,) = one_node("Trilu", [x, np.array(k)], upper=upper)
    np.testing.assert_array_equal(y, (np.triu if upper else np.tril)(x, k))
