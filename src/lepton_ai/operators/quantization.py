"""Numbers as integers (or as small floats) times a scale."""

from typing import Any

import ml_dtypes
import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.convolution import conv_integer
from lepton_ai.operators.dtypes import FLOAT32, is_floating, is_integer, is_narrow
from lepton_ai.operators.linear import matmul_integer
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import LEPTON, Call, dtype_named, operator

UINT8 = np.dtype(np.uint8)
INT32 = np.dtype(np.int32)


@operator("QuantizeLinear")
def quantize_linear(
    call: Call,
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    """``x / scale + zero``, rounded to even and held within the range of the dtype."""
    xp = call.xp
    dtype = dtype_named(output_dtype) if output_dtype else UINT8
    if zero is not None:
        dtype = xp.dtype_of(zero)
    at = dtype_named(precision) if precision else xp.dtype_of(scale)
    spread = spread_over(call, scale, x, axis, block_size)
    ratio = xp.cast(xp.cast(x, at) / xp.cast(spread, at), at)
    offset = None if zero is None else spread_over(call, zero, x, axis, block_size)
    if is_floating(dtype):
        return _small_float(call, ratio, offset, dtype, saturate)
    return to_integers(call, ratio, offset, dtype)


def _small_float(
    call: Call, ratio: Tensor, zero: Tensor | None, dtype: np.dtype[Any], saturate: int
) -> Tensor:
    """Floats of eight bits and fewer; the zero point of those of eight is zero by definition."""
    xp = call.xp
    wide = xp.cast(ratio, FLOAT32)
    if zero is not None and not dtype.name.startswith("float8"):
        wide = wide + xp.cast(zero, FLOAT32)
    if saturate:
        most = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
        wide = xp.clip(wide, -most, most)
    return xp.cast(wide, dtype)


def to_integers(call: Call, ratio: Tensor, zero: Tensor | None, dtype: np.dtype[Any]) -> Tensor:
    """``ratio`` rounded to even, moved by ``zero``, within the range of ``dtype``."""
    xp, limits = call.xp, _range(dtype)
    rounded = xp.round(xp.cast(ratio, FLOAT32) if is_narrow(xp.dtype_of(ratio)) else ratio)
    if zero is not None:
        rounded = rounded + xp.cast(zero, xp.dtype_of(rounded))
    return xp.cast(xp.clip(rounded, *limits), dtype)


def _range(dtype: np.dtype[Any]) -> tuple[int, int]:
    limits = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    return int(limits.min), int(limits.max)


@operator("DequantizeLinear")
def dequantize_linear(
    call: Call,
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """``(x - zero) * scale``, in the dtype of the scale unless told otherwise."""
    xp = call.xp
    source, own = xp.dtype_of(x), xp.dtype_of(scale)
    dtype = dtype_named(output_dtype) if output_dtype else own
    wide = FLOAT32 if is_narrow(own) or not is_floating(own) else own
    # Differences of integers are exact in int32, which float32 is not.
    exact = INT32 if is_integer(source) else wide
    values = xp.cast(x, exact)
    if zero is not None and not source.name.startswith("float8"):
        values = values - xp.cast(spread_over(call, zero, x, axis, block_size), exact)
    spread = xp.cast(spread_over(call, scale, x, axis, block_size), wide)
    return xp.cast(xp.cast(values, wide) * spread, dtype)


@operator("FakeQuantize", domain=LEPTON)
def fake_quantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor, *, axis: int = 1) -> Tensor:
    """``x`` at the nearest of the numbers that it would be stored as.

    Gradients pass as if it were not rounded, and end where it is out of range.
    """
    low, high = _range(call.xp.dtype_of(zero))
    if scale.shape == (1,):
        scale, zero = (call.xp.reshape(each, ()) for each in (scale, zero))
    return call.xp.fake_quantize(x, scale, zero, axis, low, high)


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(call: Call, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``x`` as uint8 over the range that it has, zero included; the scale, the zero point."""
    return over_its_range(call, x, UINT8)


def over_its_range(call: Call, x: Tensor, dtype: np.dtype[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """``x`` in integers over the range that it has, zero included; the scale, the zero point."""
    xp, (low, high) = call.xp, _range(dtype)
    nothing = xp.scalar(0, x)
    least, most = xp.minimum(xp.min(x), nothing), xp.maximum(xp.max(x), nothing)
    width = most - least
    scale = xp.where(width == 0, xp.scalar(1, x), width / (high - low))
    zero = xp.round(xp.clip(low - least / scale, low, high))
    zero = xp.cast(zero, dtype)
    return to_integers(call, x / scale, zero, dtype), scale, zero


@operator("QLinearConv")
def qlinear_conv(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    weight_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """A convolution of integers, summed exactly, then brought to the scale of the output."""
    xp = call.xp
    given = {
        "dilations": dilations,
        "kernel_shape": kernel_shape,
        "pads": pads,
        "strides": strides,
    }
    given = {name: value for name, value in given.items() if value is not None}
    sums = conv_integer(
        call, x, weight, x_zero, weight_zero, auto_pad=auto_pad, group=group, **given
    )
    behind = [1] * (x.ndim - 2)
    if bias is not None:
        sums = sums + xp.reshape(bias, (-1, *behind))
    if weight_scale.ndim:
        weight_scale = xp.reshape(weight_scale, (-1, *behind))
    return requantized(call, sums, (x_scale, weight_scale), y_scale, y_zero)


@operator("QLinearMatMul")
def qlinear_matmul(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
) -> Tensor:
    """A product of integers, summed exactly, then brought to the scale of the output."""
    sums = matmul_integer(call, a, b, a_zero, b_zero)
    by_row = _column(call, a_scale), b_scale
    return requantized(call, sums, by_row, _column(call, y_scale), _column(call, y_zero))


def _column(call: Call, one: Tensor) -> Tensor:
    """A vector of one number per row as a column."""
    by_row = one.ndim == 1 and one.shape[0] != 1
    return call.xp.expand_dims(one, axis=-1) if by_row else one


def requantized(
    call: Call, sums: Tensor, scales: tuple[Tensor, Tensor], scale: Tensor, zero: Tensor
) -> Tensor:
    """Sums of products of two scales, at the scale, the zero point and the dtype of the output."""
    xp = call.xp
    first, second, last = (
        xp.cast(one if one.shape != (1,) else xp.reshape(one, ()), FLOAT32)
        for one in (*scales, scale)
    )
    shift = xp.reshape(zero, ()) if zero.shape == (1,) else zero
    ratio = xp.cast(sums, FLOAT32) * (first * second / last)
    return to_integers(call, ratio, shift, xp.dtype_of(zero))


def spread_over(call: Call, scale: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """One number for all of ``x``, one per index of an axis, or one per block along it."""
    xp = call.xp
    if scale.ndim == 0:
        return scale
    if scale.shape == (1,):
        return xp.reshape(scale, ())
    axis = axis % x.ndim
    if block_size:
        whole = repeated(call, scale, block_size, axis)
        return whole[(*[slice(None)] * axis, slice(0, x.shape[axis]))]
    if scale.ndim != 1:
        raise EngineError(f"a scale of {scale.ndim} axes needs a block_size")
    return xp.reshape(scale, (-1, *[1] * (x.ndim - axis - 1)))


def repeated(call: Call, x: Tensor, times: int, axis: int) -> Tensor:
    """Each element ``times`` times in a row along ``axis``."""
    if times == 1:
        return x
    shape = list(x.shape)
    before, behind = shape[: axis + 1], shape[axis + 1 :]
    wide = call.xp.broadcast_to(call.xp.expand_dims(x, axis=axis + 1), (*before, times, *behind))
    return call.xp.reshape(wide, (*before[:-1], before[-1] * times, *behind))
