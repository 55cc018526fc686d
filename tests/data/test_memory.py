import numpy as np
import pytest
import torch
from PIL import Image

from lepton_ai.data.raw import UNNAMED
from lepton_ai.data.source import read_data
from lepton_ai.errors import DataError

X = np.arange(30, dtype=np.float32).reshape(10, 3)
Y = np.arange(10) % 3


def test_a_mapping_holds_inputs_and_labels():
    raw = read_data({"x": X, "labels": Y})
    assert list(raw.arrays) == ["x"]
    assert raw.labels is Y


def test_arrays_are_not_copied():
    assert read_data({"x": X}).arrays["x"] is X
    assert read_data((X, Y)).arrays[UNNAMED] is X


@pytest.mark.parametrize("x", [X, X.tolist(), torch.from_numpy(X)], ids=["numpy", "list", "torch"])
def test_one_array_with_its_labels(x):
    raw = read_data((x, Y))
    np.testing.assert_array_equal(raw.arrays[UNNAMED], X)
    np.testing.assert_array_equal(raw.labels, Y)


def test_a_tensor_that_wants_a_gradient_is_read():
    tensor = torch.from_numpy(X).requires_grad_()
    np.testing.assert_array_equal(read_data({"x": tensor}).arrays["x"], X)


def test_anything_with_a_numpy_method_is_a_tensor():
    class Eager:
        def numpy(self):
            return X

    assert read_data(Eager()).arrays[UNNAMED] is X


def test_no_labels_in_a_tuple():
    assert read_data((X, None)).labels is None


@pytest.mark.parametrize("wrap", [list, np.asarray], ids=["list", "array"])
def test_texts_are_items(wrap):
    raw = read_data((wrap([f"text {i}" for i in range(10)]), ["a", "b"] * 5))
    assert raw.arrays is None
    assert raw.items[3] == "text 3"
    assert raw.labels.tolist() == ["a", "b"] * 5


def test_images_are_items():
    images = [Image.new("RGB", (2, 2))] * 10
    assert read_data(images).items == images


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ((X, Y, Y), r"\(X, y\), and one of 3"),
        (({"x": X, "labels": Y}, Y), "labels came twice"),
        ([[1, 2], [3]] * 5, "X cannot be read as one array"),
        ({"labels": Y}, "holds no arrays"),
        ({}, "holds no arrays"),
        ([], "no samples"),
        ({"x": torch.zeros(10, dtype=torch.bfloat16)}, "array 'x' cannot be read"),
    ],
)
def test_what_cannot_be_read_is_a_data_error(source, told):
    with pytest.raises(DataError, match=told):
        read_data(source)
