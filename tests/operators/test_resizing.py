"""Resizing, warping and cropping beyond the ONNX project's cases."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from lepton_ai.errors import EngineError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 7, 6)).astype(np.float32)


@pytest.mark.parametrize(
    "coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("size", [(14, 12), (4, 9), (1, 5)])
def test_resizing_to_a_size_is_onnxruntimes(one_node, by_onnxruntime, coordinates, mode, size):
    inputs = [X, None, None, np.array([2, 3, *size])]
    options = {"coordinate_transformation_mode": coordinates, "mode": mode}
    (y,) = one_node("Resize", inputs, opset=19, **options)
    (wanted,) = by_onnxruntime("Resize", inputs, opset=19, known=[3], **options)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(3, 4), (2, 9), (20, 15)])
def test_antialiasing_without_what_is_outside_is_pytorchs(one_node, mode, size):
    options = {"mode": "linear" if mode == "bilinear" else "cubic", "cubic_coeff_a": -0.5}
    inputs = [X, None, None, np.array(size)]
    (y,) = one_node(
        "Resize", inputs, opset=19, antialias=1, exclude_outside=1, axes=[2, 3], **options
    )
    wanted = functional.interpolate(torch.from_numpy(X), size, mode=mode, antialias=True)
    np.testing.assert_allclose(y, wanted.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("policy", "size"), [("not_larger", (9, 8)), ("not_smaller", (11, 9))])
def test_the_aspect_is_kept(one_node, policy, size):
    inputs = [X, None, None, np.array([9, 9])]
    (y,) = one_node("Resize", inputs, opset=19, axes=[-2, -1], keep_aspect_ratio_policy=policy)
    assert y.shape == (2, 3, *size)


def test_integers_are_rounded_and_kept_in_range(one_node):
    x = np.array([[[0, 255, 0, 255]]], np.uint8)
    (y,) = one_node("Resize", [x, None, np.array([1, 1, 2], "f4")], opset=19, mode="cubic")
    assert y.dtype == np.uint8
    assert y.min() == 0
    assert y.max() == 255


@pytest.mark.parametrize("factor", [0.6, 2.0])
def test_before_opset_11_scales_come_second(one_node, by_onnxruntime, factor):
    inputs = [X, np.array([1, 1, factor, factor], np.float32)]
    for mode in ("nearest", "linear"):
        (y,) = one_node("Resize", inputs, opset=10, mode=mode)
        (wanted,) = by_onnxruntime("Resize", inputs, opset=10, mode=mode)
        np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsampling_by_input_and_by_attribute_is_the_same(one_node, mode):
    factors = [1.0, 1.0, 2.0, 3.0]
    (y,) = one_node("Upsample", [X, np.array(factors, np.float32)], opset=9, mode=mode)
    (old,) = one_node("Upsample", [X], opset=7, mode=mode, scales=factors)
    name = "bilinear" if mode == "linear" else mode
    (oldest,) = one_node("Upsample", [X], opset=1, mode=name, height_scale=2.0, width_scale=3.0)
    np.testing.assert_array_equal(y, old)
    np.testing.assert_array_equal(y, oldest)
    assert y.shape == (2, 3, 14, 18)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_sampling_a_grid_is_pytorchs(one_node, mode, padding, corners):
    grid = RNG.uniform(-1.7, 1.7, size=(2, 5, 4, 2)).astype(np.float32)
    options = {"padding_mode": padding, "align_corners": corners}
    name = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    (y,) = one_node("GridSample", [X, grid], opset=20, mode=name, **options)
    (old,) = one_node("GridSample", [X, grid], opset=16, mode=mode, **options)
    wanted = functional.grid_sample(
        *map(torch.from_numpy, (X, grid)), mode, padding, align_corners=bool(corners)
    )
    np.testing.assert_allclose(y, wanted.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(y, old)


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 5, 4), (2, 3, 3, 5, 4)])
def test_a_grid_of_an_affine_map_is_pytorchs(one_node, corners, size):
    rank = len(size) - 2
    theta = RNG.normal(size=(2, rank, rank + 1)).astype(np.float32)
    (y,) = one_node("AffineGrid", [theta, np.array(size)], opset=20, align_corners=corners)
    wanted = functional.affine_grid(torch.from_numpy(theta), size, align_corners=bool(corners))
    np.testing.assert_allclose(y, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_a_file_that_is_no_image_has_no_pixels(one_node):
    (y,) = one_node("ImageDecoder", [np.arange(40, dtype=np.uint8)], opset=20)
    assert y.shape == (0, 0, 3)


def test_pixels_in_the_order_asked_for(one_node):
    pixels = RNG.integers(0, 256, size=(4, 5, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    stream = np.frombuffer(file.getvalue(), np.uint8)
    (rgb,) = one_node("ImageDecoder", [stream], opset=20)
    (bgr,) = one_node("ImageDecoder", [stream], opset=20, pixel_format="BGR")
    (grey,) = one_node("ImageDecoder", [stream], opset=20, pixel_format="Grayscale")
    np.testing.assert_array_equal(rgb, pixels)
    np.testing.assert_array_equal(bgr, pixels[:, :, ::-1])
    assert grey.shape == (4, 5, 1)


@pytest.mark.parametrize("options", [{"mode": "quintic"}, {"coordinate_transformation_mode": "x"}])
def test_unknown_modes_are_named(one_node, options):
    with pytest.raises(EngineError, match=r"quintic|'x'"):
        one_node("Resize", [X, None, np.array([1, 1, 2, 2], "f4")], opset=19, **options)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "half_pixel_symmetric"])
@pytest.mark.parametrize("scale", [0.6, 0.7, 1.3, 1.7])
def test_scales_that_float32_does_not_hold_are_onnxruntimes(
    one_node, by_onnxruntime, mode, coordinates, scale
):
    x = RNG.normal(size=(1, 1, 10, 15)).astype(np.float32)
    inputs = [x, None, np.array([1, 1, scale, scale], np.float32)]
    options = {"mode": mode, "coordinate_transformation_mode": coordinates}
    options |= {"nearest_mode": "floor"} if coordinates == "asymmetric" else {}
    (y,) = one_node("Resize", inputs, opset=19, **options)
    (wanted,) = by_onnxruntime("Resize", inputs, opset=19, known=[2], **options)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(3, 2), (9, 1)])
def test_a_crop_and_what_lies_outside_is_onnxruntimes(one_node, by_onnxruntime, size):
    crop = np.array([0, 0, 0.1, 0.3, 1, 1, 1.2, 0.9], np.float32)
    inputs = [X, crop, None, np.array([2, 3, *size])]
    options = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0}
    for mode in ("nearest", "linear"):
        (y,) = one_node("Resize", inputs, opset=19, mode=mode, **options)
        (wanted,) = by_onnxruntime("Resize", inputs, opset=19, mode=mode, known=[1, 3], **options)
        np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
        assert (y == 9).any()
