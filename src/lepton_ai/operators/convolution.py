"""Convolutions, their transposes, and columns folded back into images."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.accumulation import INT32, accumulated, whole
from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.operator import Call, integers, operator
from lepton_ai.operators.sampling import linear_taps, sampled
from lepton_ai.operators.transposition import cropped, spread_out, transposed
from lepton_ai.operators.windows import Pads, Windows, windows

Ints = Sequence[int] | None


@operator("Conv")
@accumulated
def conv(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = None,
    group: int = 1,
    kernel_shape: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """Cross-correlation of ``x`` [N, C, *spatial] with ``weight`` [M, C / group, *kernel]."""
    shape = windows(weight.shape[2:], strides, dilations)
    return call.xp.convolve(
        x,
        weight,
        bias,
        strides=shape.strides,
        pads=shape.pads(x.shape[2:], pads, auto_pad),
        dilations=shape.dilations,
        groups=group,
    )


@operator("ConvInteger")
def conv_integer(
    call: Call,
    x: Tensor,
    weight: Tensor,
    x_zero_point: Tensor | None = None,
    w_zero_point: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = None,
    group: int = 1,
    kernel_shape: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """A convolution of integers of eight bits, summed up in 32; padding is the zero point."""
    xp = call.xp
    shape = windows(weight.shape[2:], strides, dilations)
    spatial = (1,) * len(shape.kernel)
    y = _convolved(
        xp,
        whole(xp, x, x_zero_point, (1, 1, *spatial)),
        whole(xp, weight, w_zero_point, (-1, 1, *spatial)),
        shape,
        shape.pads(x.shape[2:], pads, auto_pad),
        group,
    )
    return xp.cast(y, INT32)


@operator("ConvTranspose")
@accumulated
def conv_transpose(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = None,
    group: int = 1,
    kernel_shape: Ints = None,
    output_padding: Ints = None,
    output_shape: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """The gradient of a convolution: ``weight`` is [C, M / group, *kernel]."""
    shape = windows(weight.shape[2:], strides, dilations)
    sizes = x.shape[2:]
    extra = tuple(output_padding or (0,) * len(sizes))
    axes = list(zip(sizes, shape.spans, shape.strides, extra, strict=True))
    full = [stride * (size - 1) + span + more for size, span, stride, more in axes]
    if output_shape:
        cut = [a - b for a, b in zip(full, output_shape[-len(sizes) :], strict=True)]
    elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        cut = [span + more - stride for _, span, stride, more in axes]
    else:
        margins = shape.pads(sizes, pads, auto_pad)
        return call.xp.biased(transposed(call.xp, x, weight, shape, margins, extra, group), bias)
    more = 0 if auto_pad == "SAME_UPPER" else 1
    heads = [(max(total, 0) + more) // 2 for total in cut]
    margins = [(head, total - head) for head, total in zip(heads, cut, strict=True)]
    return call.xp.biased(transposed(call.xp, x, weight, shape, margins, extra, group), bias)


@operator("DeformConv")
@accumulated
def deform_conv(
    call: Call,
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dilations: Ints = None,
    group: int = 1,
    kernel_shape: Ints = None,
    offset_group: int = 1,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """A convolution whose windows pick their elements at ``offset`` from the regular places."""
    xp = call.xp
    batch, channels, *sizes = x.shape
    outputs, rank, taps = weight.shape[0], len(sizes), prod(weight.shape[2:])
    shape = windows(weight.shape[2:], strides, dilations)
    counts = offset.shape[2:]
    places = prod(counts)
    regular = _regular_places(shape, counts, shape.pads(sizes, pads, "NOTSET"))
    # [N * offset_group, taps, rank, places]
    offset = xp.reshape(offset, (batch * offset_group, taps, rank, places))
    where = offset + xp.cast(xp.from_host(regular), xp.dtype_of(offset))
    points = [
        linear_taps(xp, xp.reshape(where[:, :, axis, :], (batch * offset_group, -1)), size)
        for axis, size in enumerate(sizes)
    ]
    grouped = xp.reshape(x, (batch * offset_group, channels // offset_group, *sizes))
    columns = sampled(xp, grouped, points)
    if mask is not None:
        columns = columns * xp.reshape(mask, (batch * offset_group, 1, taps * places))
    columns = xp.reshape(columns, (batch, group, channels // group * taps, places))
    kernels = xp.reshape(weight, (1, group, outputs // group, channels // group * taps))
    y = xp.reshape(xp.matmul(kernels, columns), (batch, outputs, *counts))
    return xp.biased(y, bias)


@operator("Col2Im", host=("image_shape", "block_shape"))
def col2im(
    call: Call,
    columns: Tensor,
    image_shape: np.ndarray[Any, Any],
    block_shape: np.ndarray[Any, Any],
    *,
    dilations: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """Blocks [N, C * block, L] added up at the places in the image that they were taken from."""
    xp = call.xp
    sizes, block = integers(image_shape), integers(block_shape)
    shape = windows(block, strides, dilations)
    margins = shape.pads(sizes, pads, "NOTSET")
    padded = [size + before + after for size, (before, after) in zip(sizes, margins, strict=True)]
    axes = list(zip(padded, shape.spans, shape.strides, strict=True))
    counts = [(size - span) // stride + 1 for size, span, stride in axes]
    batch, depth, _ = columns.shape
    channels = depth // prod(block)
    spread = spread_out(
        xp, xp.reshape(columns, (batch, channels, prod(block), *counts)), 3, shape.strides
    )
    image = None
    for tap, place in enumerate(np.ndindex(*block)):
        starts = [i * dilation for i, dilation in zip(place, shape.dilations, strict=True)]
        rest = [
            size - start - have
            for size, start, have in zip(padded, starts, spread.shape[3:], strict=True)
        ]
        around = [(0, 0), (0, 0), *zip(starts, rest, strict=True)]
        one = xp.pad(spread[:, :, tap], around, 0)
        image = one if image is None else image + one
    return cropped(xp, image, margins)


@operator("CausalConvWithState")
@accumulated
def causal_conv_with_state(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    past_state: Tensor | None = None,
    *,
    activation: str = "none",
) -> tuple[Tensor, Tensor]:
    """A depthwise convolution of what came before, and the last inputs as the next call's past."""
    xp = call.xp
    before = weight.shape[2] - 1
    if past_state is None:
        padded = xp.pad(x, [(0, 0), (0, 0), (before, 0)], 0)
    else:
        padded = xp.concat([past_state, x], axis=2)
    shape = windows(weight.shape[2:], None, None)
    y = xp.biased(_convolved(xp, padded, weight, shape, [(0, 0)], weight.shape[0]), bias)
    if activation in ("silu", "swish"):
        y = y / (1 + xp.exp(-y))
    elif activation != "none":
        raise EngineError(f"activation {activation!r} is not one of none, silu and swish")
    # Not -before: the last none of them are not all of them.
    return y, padded[:, :, padded.shape[2] - before :]


def _convolved(
    xp: Namespace, x: Tensor, weight: Tensor, shape: Windows, pads: Pads, groups: int
) -> Tensor:
    return xp.convolve(
        x, weight, strides=shape.strides, pads=pads, dilations=shape.dilations, groups=groups
    )


def _regular_places(shape: Windows, counts: Sequence[int], pads: Pads) -> np.ndarray[Any, Any]:
    """Where windows that are not deformed read: [1, taps, rank, places]."""
    starts = [
        np.arange(count) * stride - before
        for count, stride, (before, _) in zip(counts, shape.strides, pads, strict=True)
    ]
    taps = [
        np.arange(size) * dilation
        for size, dilation in zip(shape.kernel, shape.dilations, strict=True)
    ]
    corner = np.stack(np.meshgrid(*starts, indexing="ij")).reshape(len(counts), -1)
    within = np.stack(np.meshgrid(*taps, indexing="ij")).reshape(len(counts), -1)
    places = within.T[:, :, None] + corner[None]
    return np.asarray(places[None]).astype(np.float32)
