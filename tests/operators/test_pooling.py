"""Pooling in more shapes than the ONNX project's cases have, against other libraries'."""

import numpy as np
import pytest
import torch
from torch.nn import functional

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 9, 8)).astype(np.float32)


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("dilations", [(1, 1), (2, 1)])
@pytest.mark.parametrize("pads", [(0, 0), (1, 1)])
def test_greatest_and_where_they_are(one_node, ceil, dilations, pads):
    y, index = one_node(
        "MaxPool",
        [X],
        outputs=2,
        kernel_shape=[3, 2],
        strides=[2, 3],
        dilations=list(dilations),
        pads=[*pads, *pads],
        ceil_mode=ceil,
    )
    wanted, places = functional.max_pool2d(
        torch.from_numpy(X), (3, 2), (2, 3), pads, dilations, bool(ceil), return_indices=True
    )
    images = np.arange(6).reshape(2, 3, 1, 1) * 72
    np.testing.assert_array_equal(y, wanted.numpy())
    np.testing.assert_array_equal(index, places.numpy() + images)
    assert index.dtype == np.int64


def test_of_equals_the_first_is_found_and_padding_never(one_node):
    low = np.full((1, 1, 3), -np.inf, np.float32)
    _, index = one_node("MaxPool", [low], outputs=2, kernel_shape=[3], pads=[1, 1])
    np.testing.assert_array_equal(index, [[[0, 0, 1]]])


def test_columns_first(one_node):
    _, index = one_node(
        "MaxPool", [X], outputs=2, kernel_shape=[2, 2], strides=[2, 2], storage_order=1
    )
    _, rows = one_node("MaxPool", [X], outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    image, place = np.divmod(rows, 72)
    np.testing.assert_array_equal(index, image * 72 + place % 8 * 9 + place // 8)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_padding_is_below_every_integer(one_node, dtype):
    low = np.iinfo(dtype).min
    x = np.array([[[low, low + 1, low]]], dtype)
    (y,) = one_node("MaxPool", [x], kernel_shape=[2], pads=[1, 1])
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, [[[low, low + 1, low + 1, low]]])


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("size", [6, 7, 8, 9, 10])
@pytest.mark.parametrize("pad", [0, 1])
def test_means_at_the_edges_are_pytorchs(one_node, ceil, include, size, pad):
    x = X[:, :, :, :1].repeat(2, axis=2)[:, :, :size, 0]
    (y,) = one_node(
        "AveragePool",
        [x],
        kernel_shape=[3],
        strides=[3],
        pads=[pad, pad],
        ceil_mode=ceil,
        count_include_pad=include,
    )
    wanted = functional.avg_pool1d(torch.from_numpy(x), 3, 3, pad, bool(ceil), bool(include))
    np.testing.assert_allclose(y, wanted.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool", "LpPool"])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_padding_is_onnxruntimes(one_node, by_onnxruntime, operator, auto_pad):
    options = {"auto_pad": auto_pad, "kernel_shape": [4, 3], "strides": [3, 2]}
    (y,) = one_node(operator, [X], **options)
    (wanted,) = by_onnxruntime(operator, [X], **options)
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)


def test_unpooling_undoes_the_places(one_node):
    pooled, index = one_node("MaxPool", [X], outputs=2, kernel_shape=[3, 2], strides=[3, 2])
    (y,) = one_node("MaxUnpool", [pooled, index], kernel_shape=[3, 2], strides=[3, 2])
    assert y.shape == X.shape
    np.testing.assert_array_equal(y[y != 0], X[y != 0])
    assert np.count_nonzero(y) == pooled.size


def test_global_norm(one_node):
    (y,) = one_node("GlobalLpPool", [X], p=3)
    wanted = (np.abs(X).astype(np.float64) ** 3).sum((2, 3), keepdims=True) ** (1 / 3)
    np.testing.assert_allclose(y, wanted, rtol=1e-5)


def test_half_precision_is_summed_up_in_single(one_node):
    x = np.full((1, 1, 100, 100), 100, np.float16)
    for operator, options in (
        ("GlobalAveragePool", {}),
        ("AveragePool", {"kernel_shape": [100, 100]}),
    ):
        (y,) = one_node(operator, [x], **options)
        assert y.dtype == np.float16
        assert y.item() == 100


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("pad", [0, 100])
def test_a_window_larger_than_the_image_costs_no_more_than_the_image(one_node, include, pad):
    # As exporters write the mean over an image whose size they do not look at: 1280 by 1280.
    options = {"kernel_shape": [100_000] * 2, "strides": [100_000] * 2, "ceil_mode": 1}
    (y,) = one_node("AveragePool", [X], pads=[pad] * 4, count_include_pad=include, **options)
    count = (9 + 2 * pad) * (8 + 2 * pad) if include else 72
    wanted = X.sum((2, 3), keepdims=True) / count
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-6)
    (greatest,) = one_node("MaxPool", [X], pads=[pad] * 4, **options)
    np.testing.assert_array_equal(greatest, X.max((2, 3), keepdims=True))
