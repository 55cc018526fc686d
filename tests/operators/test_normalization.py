"""Normalisations in the forms of all opsets, against PyTorch's and the formulas."""

import ml_dtypes
import numpy as np
import pytest
import torch
from torch.nn import functional

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, size=(4, 6, 5)).astype(np.float32)
SCALE, BIAS, MEAN = (RNG.normal(size=6).astype(np.float32) for _ in range(3))
VARIANCE = RNG.uniform(0.5, 2, size=6).astype(np.float32)
SPREAD = (slice(None), None)


def test_inference_is_pytorchs(one_node):
    (y,) = one_node("BatchNormalization", [X, SCALE, BIAS, MEAN, VARIANCE], epsilon=1e-3)
    tensors = [torch.from_numpy(one) for one in (X, MEAN, VARIANCE, SCALE, BIAS)]
    np.testing.assert_allclose(y, functional.batch_norm(*tensors, eps=1e-3), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("opset", "outputs"), [(15, 3), (9, 5), (7, 5)])
def test_training_uses_the_batchs_own_statistics(one_node, opset, outputs):
    options = {"training_mode": 1} if opset >= 14 else {}
    y, mean, variance, *own = one_node(
        "BatchNormalization",
        [X, SCALE, BIAS, MEAN, VARIANCE],
        opset=opset,
        outputs=outputs,
        momentum=0.7,
        **options,
    )
    now, spread = X.mean((0, 2)), X.var((0, 2))
    wanted = (X - now[SPREAD]) / np.sqrt(spread[SPREAD] + 1e-5) * SCALE[SPREAD] + BIAS[SPREAD]
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(mean, 0.7 * MEAN + 0.3 * now, rtol=1e-5)
    np.testing.assert_allclose(variance, 0.7 * VARIANCE + 0.3 * spread, rtol=1e-5)
    for one, other in zip(own, (now, spread), strict=False):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_statistics_of_every_element_before_opset_9(one_node):
    shape = X.shape[1:]
    scale, bias, mean = (RNG.normal(size=shape).astype(np.float32) for _ in range(3))
    variance = RNG.uniform(0.5, 2, size=shape).astype(np.float32)
    (y,) = one_node("BatchNormalization", [X, scale, bias, mean, variance], opset=7, spatial=0)
    wanted = (X - mean) / np.sqrt(variance + 1e-5) * scale + bias
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)


def test_statistics_keep_their_own_dtype(one_node):
    half = [X.astype(np.float16), *(one.astype(np.float16) for one in (SCALE, BIAS))]
    y, mean, _ = one_node(
        "BatchNormalization", [*half, MEAN, VARIANCE], opset=15, outputs=3, training_mode=1
    )
    assert (y.dtype, mean.dtype) == (np.float16, np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("axis", [1, -1])
def test_layers_and_their_statistics(one_node, dtype, axis):
    x = X.astype(dtype)
    scale = RNG.normal(size=X.shape[axis:]).astype(dtype)
    y, mean, inverse = one_node("LayerNormalization", [x, scale], outputs=3, axis=axis)
    wide, axes = x.astype(np.float64), tuple(range(axis % 3, 3))
    middle, spread = (f(axis=axes, keepdims=True) for f in (wide.mean, wide.var))
    wanted = (wide - middle) / np.sqrt(spread + 1e-5) * scale.astype(np.float64)
    # One rounding to the dtype before the scale and one after it.
    step = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(y.astype(np.float64), wanted, rtol=4 * step, atol=4 * step)
    np.testing.assert_allclose(mean, middle, rtol=1e-5)
    np.testing.assert_allclose(inverse, 1 / np.sqrt(spread + 1e-5), rtol=1e-5)
    assert (y.dtype, mean.dtype, inverse.dtype) == (dtype, np.float32, np.float32)


def test_float64_is_not_computed_in_less(one_node):
    x = RNG.normal(1e6, 1, size=(2, 8))
    (y,) = one_node("LayerNormalization", [x, np.ones(8)])
    wanted = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, wanted, rtol=1e-7)


@pytest.mark.parametrize("opset", [18, 21])
def test_groups_are_scaled_by_group_first_and_by_channel_later(one_node, opset):
    by_group = opset < 21
    scale, bias = ((one[:3] if by_group else one) for one in (SCALE, BIAS))
    (y,) = one_node("GroupNormalization", [X, scale, bias], opset=opset, num_groups=3)
    every = [torch.from_numpy(one.repeat(2) if by_group else one) for one in (scale, bias)]
    wanted = functional.group_norm(torch.from_numpy(X), 3, *every)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_local_responses_are_onnxruntimes(one_node, by_onnxruntime, size):
    options = {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.5}
    x = X[..., None]
    (y,) = one_node("LRN", [x], **options)
    if size % 2:
        (wanted,) = by_onnxruntime("LRN", [x], **options)
    else:  # which it refuses: of two channels the second is the next one
        total = x**2 + np.concatenate([x[:, 1:] ** 2, np.zeros_like(x[:, :1])], axis=1)
        wanted = x / (1.5 + 0.15 * total) ** 0.6
    np.testing.assert_allclose(y, wanted, rtol=1e-4)


@pytest.mark.parametrize("p", [1, 2])
def test_a_norm_of_negative_elements(one_node, p):
    x = np.array([[-3.0, 4.0], [0.0, 0.0]], np.float32)
    (y,) = one_node("LpNormalization", [x], p=p, axis=1)
    length = 7 if p == 1 else 5
    np.testing.assert_allclose(y, np.array([[-3 / length, 4 / length], [0, 0]]), rtol=1e-6)
