"""Elements picked and written at places counted from either end, against ONNX Runtime."""

import numpy as np
import pytest

RNG = np.random.default_rng(5)
X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_gathering_slices(one_node, by_onnxruntime, axis, shape):
    inputs = [X, RNG.integers(-3, 3, shape)]
    (mine,) = one_node("Gather", inputs, axis=axis)
    np.testing.assert_array_equal(mine, by_onnxruntime("Gather", inputs, axis=axis)[0])


@pytest.mark.parametrize(("depth", "batch"), [(1, 0), (3, 0), (1, 1), (2, 1), (1, 2)])
def test_gathering_by_tuples(one_node, by_onnxruntime, depth, batch):
    inputs = [X, RNG.integers(-3, 3, (3, 4, 2, depth) if batch else (2, depth))]
    (mine,) = one_node("GatherND", inputs, batch_dims=batch)
    np.testing.assert_array_equal(mine, by_onnxruntime("GatherND", inputs, batch_dims=batch)[0])


def test_gathering_a_window_of_elements_along_a_long_axis(one_node):
    x = np.arange(200, dtype=np.float32).reshape(2, 100)
    (y,) = one_node("GatherElements", [x, np.array([[99, 0, -1]])], axis=1)
    assert y.tolist() == [[99, 0, 99]]


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scattering_elements(one_node, by_onnxruntime, reduction):
    places = np.array([[[0, -1], [2, 1]]]) if reduction != "none" else np.array([[[0, -1], [1, 2]]])
    inputs = [X, places, np.full((1, 2, 2), 7, np.float32)]
    options = {"axis": 0, "reduction": reduction}
    (mine,) = one_node("ScatterElements", inputs, opset=18, **options)
    wanted = by_onnxruntime("ScatterElements", inputs, opset=18, **options)[0]
    np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scattering_slices_that_add_up_where_they_meet(one_node, by_onnxruntime, depth):
    places = np.array([[0, 1, -1], [-1, 2, 0], [0, 1, -1]])[:, :depth]
    inputs = [X, places, np.ones((3, *X.shape[depth:]), np.float32)]
    (mine,) = one_node("ScatterND", inputs, opset=18, reduction="add")
    wanted = by_onnxruntime("ScatterND", inputs, opset=18, reduction="add")[0]
    np.testing.assert_array_equal(mine, wanted)


def test_hot_ones_of_texts_and_of_classes_out_of_range(one_node):
    values = np.array(["off", "on"], dtype=object)
    (y,) = one_node("OneHot", [np.array([1, -1, 3, -4]), np.array(3), values])
    hot = [["off", "on", "off"], ["off", "off", "on"], ["off"] * 3, ["off"] * 3]
    assert y.tolist() == hot


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_distinct_values_in_order_of_appearance(one_node, by_onnxruntime, axis):
    x = np.array([[3, 1, 3], [2, 2, 2], [3, 1, 3]], np.float32)
    options = {"sorted": 0} if axis is None else {"sorted": 0, "axis": axis}
    mine = one_node("Unique", [x], opset=11, outputs=4, **options)
    for one, other in zip(
        mine, by_onnxruntime("Unique", [x], opset=11, outputs=4, **options), strict=True
    ):
        np.testing.assert_array_equal(one, other)
