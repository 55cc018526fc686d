"""Windows, or the whole of the spatial axes, reduced to one element each."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from lepton_ai.operators.accumulation import accumulated
from lepton_ai.operators.dtypes import INT64, is_floating
from lepton_ai.operators.namespace import Namespace, Tensor, namespaces
from lepton_ai.operators.operator import Call, integers, operator
from lepton_ai.operators.windows import Pads, Windows, windows

Ints = Sequence[int] | None


@operator("AveragePool")
@accumulated
def average_pool(
    call: Call,
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints = None,
    kernel_shape: Sequence[int],
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """The mean of each window, over what it has of the input, or of the input and its padding.

    What ``ceil_mode`` adds after the padding never counts.
    """
    xp = call.xp
    shape, given, pads_ = _pooled(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    sums = _reduced(xp, _padded(xp, x, pads_, 0), "sum", shape)
    if not any(pad for both in pads_ for pad in both):
        return sums / prod(shape.kernel)
    inner: Pads = [(0, 0)] * len(pads_)
    if count_include_pad:
        inner = [(before, min(a, b)) for (before, a), (_, b) in zip(given, pads_, strict=True)]
    outer = [(a - c, b - d) for (a, b), (c, d) in zip(pads_, inner, strict=True)]
    static = all(isinstance(size, int) for size in x.shape[2:])
    space = namespaces.get("numpy")() if static else xp
    ones = np.ones((1, 1, *x.shape[2:]), xp.dtype_of(x)) if static else xp.ones_like(x[:1, :1])
    ones = _padded(space, _padded(space, ones, inner, 1), outer, 0)
    counts = _reduced(space, ones, "sum", shape)
    return sums / (xp.from_host(counts) if static else counts)


@operator("MaxPool")
@accumulated
def max_pool(
    call: Call,
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = None,
    kernel_shape: Sequence[int],
    pads: Ints = None,
    storage_order: int = 0,
    strides: Ints = None,
) -> Any:
    """The greatest element of each window, and where it is if a second output is asked for."""
    xp = call.xp
    shape, _, pads_ = _pooled(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    padded = _padded(xp, x, pads_, _lowest(xp.dtype_of(x)))
    if call.outputs == 1:
        return _reduced(xp, padded, "max", shape)
    return _greatest(xp, x, padded, pads_, shape, storage_order)


@operator("LpPool")
@accumulated
def lp_pool(
    call: Call,
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = None,
    kernel_shape: Sequence[int],
    p: float = 2,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """The p-norm of each window."""
    xp = call.xp
    shape, _, pads_ = _pooled(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    powers = _padded(xp, xp.abs(x) ** p, pads_, 0)
    return _reduced(xp, powers, "sum", shape) ** (1 / p)


@operator("GlobalAveragePool")
@accumulated
def global_average_pool(call: Call, x: Tensor) -> Tensor:
    """The mean over the spatial axes, which stay with a size of one."""
    return call.xp.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(call: Call, x: Tensor) -> Tensor:
    """The greatest element over the spatial axes, which stay with a size of one."""
    return call.xp.max(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalLpPool")
@accumulated
def global_lp_pool(call: Call, x: Tensor, *, p: float = 2) -> Tensor:
    """The p-norm over the spatial axes, which stay with a size of one."""
    xp = call.xp
    powers = xp.abs(x) ** p
    return xp.sum(powers, axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / p)


@operator("MaxUnpool", host=("output_shape",))
def max_unpool(
    call: Call,
    x: Tensor,
    indices: Tensor,
    output_shape: np.ndarray[Any, Any] | None = None,
    *,
    kernel_shape: Sequence[int],
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """The elements where ``MaxPool`` found them, zeros elsewhere.

    ``indices`` count in the array that the pooling was of, as its attributes tell; an
    ``output_shape`` beyond that array adds zeros after it.
    """
    xp = call.xp
    shape = windows(kernel_shape, strides, None)
    margins = shape.pads(x.shape[2:], pads, "NOTSET")
    axes = zip(x.shape[2:], shape.strides, shape.kernel, margins, strict=True)
    sizes = [
        stride * (size - 1) + span - before - after for size, stride, span, (before, after) in axes
    ]
    pooled = (*x.shape[:2], *sizes)
    zeros = xp.broadcast_to(xp.scalar(0, x), (prod(pooled),))
    flat = xp.reshape(xp.cast(indices, INT64), (-1,))
    y = xp.reshape(xp.scatter(zeros, (flat,), xp.reshape(x, (-1,)), "none"), pooled)
    if output_shape is None or not output_shape.size:
        return y
    wanted = integers(output_shape)[-len(sizes) :]
    more = [(0, max(a - b, 0)) for a, b in zip(wanted, sizes, strict=True)]
    y = _padded(xp, y, more, 0)
    return y[(slice(None), slice(None), *[slice(size) for size in wanted])]


def _pooled(
    x: Tensor,
    kernel: Sequence[int],
    strides: Ints,
    dilations: Ints,
    pads: Ints,
    auto_pad: str,
    ceil_mode: int,
) -> tuple[Windows, Pads, Pads]:
    """The windows, the pads that are asked for, and those with which the last window fits too."""
    shape, sizes = windows(kernel, strides, dilations), x.shape[2:]
    given = shape.pads(sizes, pads, auto_pad)
    # With automatic padding, rounding up and rounding down come to the same.
    if not ceil_mode or auto_pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        return shape, given, given
    shape = shape.trimmed(sizes, given)
    return shape, given, shape.stretched(sizes, given)


def _padded(xp: Namespace, x: Tensor, pads: Pads, value: Any) -> Tensor:
    if all(isinstance(pad, int) and pad == 0 for both in pads for pad in both):
        return x
    return xp.pad(x, [(0, 0), (0, 0), *pads], value)


def _reduced(xp: Namespace, padded: Tensor, kind: str, shape: Windows) -> Tensor:
    return xp.reduce_windows(
        padded, kind, kernel=shape.kernel, strides=shape.strides, dilations=shape.dilations
    )


def _lowest(dtype: np.dtype[Any]) -> Any:
    """What no element of ``dtype`` is below."""
    return float("-inf") if is_floating(dtype) else int(np.iinfo(dtype).min)


def _greatest(
    xp: Namespace, x: Tensor, padded: Tensor, pads: Pads, shape: Windows, storage_order: int
) -> tuple[Tensor, Tensor]:
    """The greatest element of each window and its index, the first one's of equals.

    One step for each element of the kernel: the windows' elements at that place are compared with
    the greatest so far.
    """
    batch, channels, *sizes = x.shape
    places = xp.reshape(xp.positions(prod(sizes)), (1, 1, *sizes))
    if storage_order:
        axes = tuple(range(2, x.ndim))
        places = xp.reshape(xp.positions(prod(sizes)), (1, 1, *reversed(sizes)))
        places = xp.permute_dims(places, (0, 1, *reversed(axes)))
    places = xp.pad(places, [(0, 0), (0, 0), *pads], -1)
    greatest: Tensor = None
    found: Tensor = None
    for tap in np.ndindex(*shape.kernel):
        part = _every(padded, tap, shape)
        index = xp.broadcast_to(_every(places, tap, shape), part.shape)
        if greatest is None:
            greatest, found = part, index
            continue
        # A window's padding is passed over even where the input is as low as that.
        better = (part > greatest) | ((found < 0) & (part >= greatest))
        greatest = xp.where(better, part, greatest)
        found = xp.where(better, index, found)
    images = xp.reshape(xp.positions(batch * channels), (batch, channels, *[1] * len(sizes)))
    return greatest, found + images * prod(sizes)


def _every(x: Tensor, tap: Sequence[int], shape: Windows) -> Tensor:
    """The element at ``tap`` of every window."""
    cuts = []
    axes = zip(x.shape[2:], tap, shape.spans, shape.strides, shape.dilations, strict=True)
    for size, place, span, stride, dilation in axes:
        count = (size - span) // stride + 1
        start = place * dilation
        cuts.append(slice(start, start + (count - 1) * stride + 1, stride))
    return x[(slice(None), slice(None), *cuts)]
