"""Arrays brought to a mean of zero, a variance of one, or a norm of one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ai.operators.accumulation import accumulated
from lepton_ai.operators.dtypes import FLOAT32, is_narrow
from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.operator import Call, dtype_named, operator

_FLOAT = 1


@operator("BatchNormalization")
def batch_normalization(
    call: Call,
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    is_test: int = 0,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
) -> Any:
    """Each channel normalised by the statistics given, or, while training, by its own.

    Training is asked for by ``training_mode``, and before opset 14 by having more than one output.
    The outputs then are ``y``, the running mean and variance, and before opset 14 the batch's own.
    """
    xp = call.xp
    dtypes = [xp.dtype_of(one) for one in (x, mean, variance)]
    x, scale, bias, mean, variance = (_widened(xp, one) for one in (x, scale, bias, mean, variance))
    spread = (1, -1, *[1] * (x.ndim - 2)) if spatial else (1, *x.shape[1:])
    training = training_mode if call.opset >= 14 else call.outputs > 1 and not is_test
    running = (mean, variance)
    if training:
        axes = (0, *range(2, x.ndim)) if spatial else 0
        mean, _, variance = _moments(xp, x, axes)
        running = tuple(
            old * momentum + xp.reshape(new, old.shape) * (1 - momentum)
            for old, new in zip(running, (mean, variance), strict=True)
        )
    factor = xp.reshape(scale, spread) / xp.sqrt(xp.reshape(variance, spread) + epsilon)
    y = (x - xp.reshape(mean, spread)) * factor + xp.reshape(bias, spread)
    y = xp.cast(y, dtypes[0])
    if not training:
        return y
    own = [xp.reshape(one, old.shape) for one, old in zip((mean, variance), running, strict=True)]
    kept = [*running] if call.opset >= 14 else [*running, *own]
    return (y, *[xp.cast(one, dtypes[1 + i % 2]) for i, one in enumerate(kept)])


@operator("InstanceNormalization")
@accumulated
def instance_normalization(
    call: Call,
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    epsilon: float = 1e-5,
) -> Tensor:
    """Each channel of each element of the batch normalised by its own statistics."""
    xp = call.xp
    _, apart, variance = _moments(xp, x, tuple(range(2, x.ndim)))
    spread = (1, -1, *[1] * (x.ndim - 2))
    normal = apart / xp.sqrt(variance + epsilon)
    return normal * xp.reshape(scale, spread) + xp.reshape(bias, spread)


@operator("LayerNormalization")
def layer_normalization(
    call: Call,
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = _FLOAT,
) -> tuple[Tensor, ...]:
    """The axes from ``axis`` on normalised together; the mean and the inverse deviation too.

    It is computed in the wider of the dtypes of ``x`` and ``stash_type``.
    """
    xp = call.xp
    dtype, stash = xp.dtype_of(x), dtype_named(stash_type)
    if call.outputs == 1 and dtype == _wider(dtype, stash):
        return (xp.layer_norm(x, scale, bias, axis, epsilon),)
    wide = xp.cast(x, _wider(dtype, stash))
    mean, apart, variance = _moments(xp, wide, tuple(range(axis % x.ndim, x.ndim)))
    inverse = 1 / xp.sqrt(variance + epsilon)
    y = xp.cast(apart * inverse, dtype) * scale
    y = y if bias is None else y + bias
    return xp.cast(y, dtype), xp.cast(mean, stash), xp.cast(inverse, stash)


@operator("RMSNormalization")
def rms_normalization(
    call: Call,
    x: Tensor,
    scale: Tensor,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = _FLOAT,
) -> Tensor:
    """The axes from ``axis`` on divided by the root of their mean square."""
    xp = call.xp
    dtype = xp.dtype_of(x)
    wide = xp.cast(x, _wider(dtype, dtype_named(stash_type)))
    square = xp.mean(wide * wide, axis=tuple(range(axis % x.ndim, x.ndim)), keepdims=True)
    normal = xp.cast(wide / xp.sqrt(square + epsilon), dtype)
    return xp.cast(normal * scale, xp.dtype_of(scale))


@operator("GroupNormalization")
def group_normalization(
    call: Call,
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    epsilon: float = 1e-5,
    num_groups: int,
    stash_type: int = _FLOAT,
) -> Tensor:
    """Each group of channels normalised together; before opset 21 scaled group by group too."""
    xp = call.xp
    dtype = xp.dtype_of(x)
    batch, channels, *sizes = x.shape
    wide = xp.cast(x, _wider(dtype, dtype_named(stash_type)))
    grouped = xp.reshape(wide, (batch, num_groups, channels // num_groups, *sizes))
    _, apart, variance = _moments(xp, grouped, tuple(range(2, grouped.ndim)))
    normal = xp.cast(apart / xp.sqrt(variance + epsilon), dtype)
    ones = [1] * len(sizes)
    by_group = call.opset < 21
    spread = (1, num_groups, 1 if by_group else channels // num_groups, *ones)
    y = normal * xp.reshape(xp.cast(scale, dtype), spread)
    y = y + xp.reshape(xp.cast(bias, dtype), spread)
    return xp.reshape(y, x.shape)


@operator("LRN")
@accumulated
def lrn(
    call: Call,
    x: Tensor,
    *,
    alpha: float = 0.0001,
    beta: float = 0.75,
    bias: float = 1.0,
    size: int,
) -> Tensor:
    """Each element divided by a power of the squares' sum over ``size`` neighbouring channels."""
    xp = call.xp
    before = (size - 1) // 2
    pads = [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)]
    squares = xp.pad(x * x, pads, 0)
    channels = x.shape[1]
    total = squares[:, :channels]
    for step in range(1, size):
        total = total + squares[:, step : step + channels]
    return x / (bias + alpha / size * total) ** beta


@operator("LpNormalization")
@accumulated
def lp_normalization(call: Call, x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """``x`` divided by its p-norm along ``axis``; where that is zero, zero."""
    xp = call.xp
    norm = xp.sum(xp.abs(x) ** p, axis=axis, keepdims=True) ** (1 / p)
    nothing = norm == 0
    return xp.where(nothing, xp.zeros_like(x), x / xp.where(nothing, xp.ones_like(norm), norm))


@operator("MeanVarianceNormalization")
@accumulated
def mean_variance_normalization(
    call: Call, x: Tensor, *, axes: Sequence[int] = (0, 2, 3)
) -> Tensor:
    """The mean over ``axes`` taken away, and the rest divided by its deviation."""
    xp = call.xp
    _, apart, variance = _moments(xp, x, tuple(axis % x.ndim for axis in axes))
    return apart / (xp.sqrt(variance) + 1e-9)


def _moments(
    xp: Namespace, x: Tensor, axes: int | tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """The mean over ``axes``, which stay with a size of one, what ``x`` is apart, the variance."""
    mean = xp.mean(x, axis=axes, keepdims=True)
    apart = x - mean
    return mean, apart, xp.mean(apart * apart, axis=axes, keepdims=True)


def _widened(xp: Namespace, x: Tensor) -> Tensor:
    return xp.cast(x, FLOAT32) if is_narrow(xp.dtype_of(x)) else x


def _wider(one: np.dtype[Any], other: np.dtype[Any]) -> np.dtype[Any]:
    return one if one.itemsize > other.itemsize else other
