"""Convolutions in more shapes than the ONNX project's cases have, against PyTorch's."""

import numpy as np
import pytest
import torch
from torch.nn import functional

RNG = np.random.default_rng(0)
SIZES = {1: (11,), 2: (9, 8), 3: (5, 6, 7)}
CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSE = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def torch_of(function, *arrays, **options):
    return function(*map(torch.from_numpy, arrays), **options).numpy()


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_conv_of_any_rank_and_group(one_node, rank, group):
    x, w, b = normal(2, 4, *SIZES[rank]), normal(8, 4 // group, *(3, 2, 3)[:rank]), normal(8)
    (y,) = one_node(
        "Conv",
        [x, w, b],
        group=group,
        pads=[1, 2, 1][:rank] * 2,
        strides=[2, 1, 2][:rank],
        dilations=[1, 2, 2][:rank],
    )
    wanted = torch_of(
        CONVOLVE[rank],
        x,
        w,
        b,
        groups=group,
        padding=(1, 2, 1)[:rank],
        stride=(2, 1, 2)[:rank],
        dilation=(1, 2, 2)[:rank],
    )
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize(
    ("strides", "dilations", "extra"),
    [
        ((1, 1, 1), (1, 1, 1), (0, 0, 0)),
        ((3, 2, 4), (1, 1, 1), (2, 1, 0)),
        ((2, 3, 2), (2, 1, 3), (1, 0, 1)),
    ],
)
def test_conv_transpose_of_any_geometry(one_node, rank, group, strides, dilations, extra):
    x, w, b = normal(2, 4, *SIZES[rank]), normal(4, 3, *(3, 2, 3)[:rank]), normal(3 * group)
    options = {
        "pads": [1, 0, 1][:rank] * 2,
        "strides": list(strides[:rank]),
        "dilations": list(dilations[:rank]),
        "output_padding": list(extra[:rank]),
    }
    (y,) = one_node("ConvTranspose", [x, w, b], group=group, **options)
    wanted = torch_of(
        TRANSPOSE[rank],
        x,
        w,
        b,
        groups=group,
        padding=(1, 0, 1)[:rank],
        stride=strides[:rank],
        dilation=dilations[:rank],
        output_padding=extra[:rank],
    )
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_automatic_padding_is_onnxruntimes(one_node, by_onnxruntime, auto_pad, stride, kernel):
    x, w = normal(1, 2, 10, 7), normal(3, 2, kernel, kernel)
    options = {"auto_pad": auto_pad, "strides": [stride, stride]}
    (y,) = one_node("Conv", [x, w], **options)
    (wanted,) = by_onnxruntime("Conv", [x, w], **options)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("size", [19, 20, 21])
def test_the_size_of_a_transposed_convolution_can_be_asked_for(
    one_node, by_onnxruntime, auto_pad, size
):
    x, w = normal(1, 2, 10), normal(2, 3, 4)
    options = {"auto_pad": auto_pad, "strides": [2], "output_shape": [size]}
    (y,) = one_node("ConvTranspose", [x, w], **options)
    (wanted,) = by_onnxruntime("ConvTranspose", [x, w], **options)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_a_transposed_convolution_with_gaps_keeps_its_size_with_automatic_padding(one_node):
    x, w = normal(1, 1, 5), normal(1, 1, 2)
    (y,) = one_node("ConvTranspose", [x, w], auto_pad="SAME_UPPER", strides=[3])
    assert y.shape == (1, 1, 15)
    np.testing.assert_allclose(y[0, 0, 2::3], 0)


def test_conv_integer_is_exact_where_float32_would_not_be(one_node):
    x = np.full((1, 600, 5), 255, np.uint8)
    x[0, 0, 0] = 254
    w = np.full((2, 600, 3), 127, np.int8)
    zeros = [np.array(0, np.uint8), np.array([1, -1], np.int8)]
    (y,) = one_node("ConvInteger", [x, w, *zeros], pads=[1, 1])
    wide = torch.from_numpy(x.astype(np.int64)).double()
    by = torch.from_numpy(w.astype(np.int64) - np.array([1, -1])[:, None, None]).double()
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, functional.conv1d(wide, by, padding=1).numpy())


def test_conv_integer_pads_with_the_zero_point(one_node):
    x = np.full((1, 1, 3), 7, np.uint8)
    w = np.ones((1, 1, 3), np.uint8)
    (y,) = one_node("ConvInteger", [x, w, np.array(7, np.uint8)], pads=[1, 1])
    np.testing.assert_array_equal(y, np.zeros((1, 1, 3)))


@pytest.mark.parametrize("group", [1, 2])
def test_a_deformed_convolution_without_offsets_is_an_ordinary_one(one_node, group):
    x, w, b = normal(2, 4, 7, 6), normal(6, 4 // group, 3, 2), normal(6)
    shape = {"pads": [1, 0, 1, 1], "strides": [2, 1], "dilations": [1, 2], "group": group}
    (wanted,) = one_node("Conv", [x, w, b], **shape)
    offset = np.zeros((2, 2 * 3 * 2 * 2, *wanted.shape[2:]), np.float32)
    mask = np.full((2, 2 * 3 * 2, *wanted.shape[2:]), 0.5, np.float32)
    (y,) = one_node("DeformConv", [x, w, offset, b], offset_group=2, **shape)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    (halved,) = one_node("DeformConv", [x, w, offset, b, mask], offset_group=2, **shape)
    np.testing.assert_allclose(halved - b[:, None, None], (y - b[:, None, None]) / 2, atol=1e-5)


def test_whole_offsets_move_the_window(one_node):
    x, w = normal(1, 1, 6, 6), normal(1, 1, 1, 1)
    offset = np.zeros((1, 2, 6, 6), np.float32)
    offset[:, 0], offset[:, 1] = 1, -2
    (y,) = one_node("DeformConv", [x, w, offset])
    wanted = np.zeros((6, 6), np.float32)
    wanted[:5, 2:] = x[0, 0, 1:, :4] * w[0, 0, 0, 0]
    np.testing.assert_allclose(y[0, 0], wanted, rtol=1e-5)


def test_folding_columns_is_pytorchs(one_node):
    options = {"dilation": (1, 2), "padding": (1, 2), "stride": (2, 1)}
    count = functional.unfold(torch.zeros(1, 1, 7, 8), (3, 2), **options).shape[-1]
    columns = normal(2, 3 * 6, count)
    wanted = torch_of(functional.fold, columns, output_size=(7, 8), kernel_size=(3, 2), **options)
    (y,) = one_node(
        "Col2Im",
        [columns, np.array([7, 8]), np.array([3, 2])],
        dilations=[1, 2],
        pads=[1, 2, 1, 2],
        strides=[2, 1],
    )
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)


def test_half_precision_is_summed_up_in_single(one_node):
    x, w = np.ones((1, 4096, 1), np.float16), np.ones((1, 4096, 1), np.float16)
    x[0, 0], w[0, 0] = 2048, 1
    (y,) = one_node("Conv", [x, w])
    assert y.dtype == np.float16
    assert y.item() == np.float16(2048 + 4095)
