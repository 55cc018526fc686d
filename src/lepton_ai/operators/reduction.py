"""One number out of many along an axis: sums, extremes, their places, the top of them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from lepton_ai.operators.dtypes import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    in_float32,
    is_floating,
    is_integer,
)
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, integers, operator

Axes = tuple[int, ...]
Along = np.ndarray[Any, Any] | None
Reduce = Callable[[Call, Tensor, Axes, bool], Tensor]


def _reduction(name: str, floating: bool = False) -> Callable[[Reduce], Reduce]:
    """Enter ``reduce`` under ``name``; with ``floating``, its steps need a wide float.

    The axes are an attribute in older opsets and an input, here ``along``, in newer ones.
    """

    def enter(reduce: Reduce) -> Reduce:
        @operator(name, host=("along",))
        def reduced(
            call: Call,
            data: Tensor,
            along: Along = None,
            *,
            axes: Sequence[int] | None = None,
            keepdims: int = 1,
            noop_with_empty_axes: int = 0,
        ) -> Tensor:
            given = list(axes or ()) if along is None else integers(along)
            every = () if noop_with_empty_axes else tuple(range(data.ndim))
            chosen = tuple(axis % data.ndim for axis in given) or every
            dtype = call.xp.dtype_of(data)
            wide = _wide(dtype) if floating else dtype
            result = reduce(call, call.xp.cast(data, wide), chosen, bool(keepdims))
            return call.xp.cast(result, dtype)

        return reduce

    return enter


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if is_floating(dtype):
        return FLOAT32 if dtype.itemsize < FLOAT32.itemsize else dtype
    return FLOAT64


@_reduction("ReduceSum")
def _sum(call: Call, x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if is_floating(call.xp.dtype_of(x)):
        x = call.xp.cast(x, _wide(call.xp.dtype_of(x)))
    return call.xp.sum(x, axis=axes, keepdims=keep)


@_reduction("ReduceSumSquare")
def _sum_square(call: Call, x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return _sum(call, x * x, axes, keep)


@_reduction("ReduceL1")
def _l1(call: Call, x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return _sum(call, call.xp.abs(x), axes, keep)


@_reduction("ReduceL2", floating=True)
def _l2(call: Call, x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return call.xp.sqrt(_sum(call, x * x, axes, keep))


@_reduction("ReduceMean", floating=True)
def _mean(call: Call, x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return call.xp.mean(x, axis=axes, keepdims=keep)


@_reduction("ReduceLogSum", floating=True)
def _log_sum(call: Call, x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return call.xp.log(_sum(call, x, axes, keep))


@_reduction("ReduceLogSumExp", floating=True)
def _log_sum_exp(call: Call, x: Tensor, axes: Axes, keep: bool) -> Tensor:
    xp = call.xp
    if _empty(x, axes):
        return _log_sum(call, x, axes, keep)
    most = xp.max(x, axis=axes, keepdims=True)
    most = xp.where(xp.isfinite(most), most, xp.scalar(0, x))
    added = xp.log(xp.sum(xp.exp(x - most), axis=axes, keepdims=True)) + most
    return added if keep else xp.squeeze(added, axis=axes)


@_reduction("ReduceProd")
def _prod(call: Call, x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if is_floating(call.xp.dtype_of(x)):
        x = call.xp.cast(x, _wide(call.xp.dtype_of(x)))
    # Not every library multiplies along several axes at once.
    for axis in sorted(axes, reverse=True):
        x = call.xp.prod(x, axis=axis, keepdims=keep)
    return x


@_reduction("ReduceMax")
def _max(call: Call, x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if call.xp.dtype_of(x) == BOOL:
        return call.xp.any(x, axis=axes, keepdims=keep)
    if _empty(x, axes):
        return _filled(call, x, axes, keep, _bounds(call.xp.dtype_of(x))[0])
    return call.xp.max(x, axis=axes, keepdims=keep)


@_reduction("ReduceMin")
def _min(call: Call, x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if call.xp.dtype_of(x) == BOOL:
        return call.xp.all(x, axis=axes, keepdims=keep)
    if _empty(x, axes):
        return _filled(call, x, axes, keep, _bounds(call.xp.dtype_of(x))[1])
    return call.xp.min(x, axis=axes, keepdims=keep)


def _empty(x: Tensor, axes: Axes) -> bool:
    """Whether there is known to be nothing along ``axes``."""
    sizes = [x.shape[axis] for axis in axes]
    return any(isinstance(size, int) and size == 0 for size in sizes)


def _bounds(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The least and the greatest value of ``dtype``."""
    if is_integer(dtype):
        limits = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
        return int(limits.min), int(limits.max)
    return -math.inf, math.inf


def _filled(call: Call, x: Tensor, axes: Axes, keep: bool, value: float) -> Tensor:
    one = [1] if keep else []
    shape = [s for axis, size in enumerate(x.shape) for s in (one if axis in axes else [size])]
    return call.xp.broadcast_to(call.xp.scalar(value, x), tuple(shape))


@operator("ArgMax")
def arg_max(
    call: Call, x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> Tensor:
    """The place of the greatest along the axis: the first, or the last if so asked."""
    return _place(call, x, call.xp.argmax, axis, keepdims, select_last_index)


@operator("ArgMin")
def arg_min(
    call: Call, x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> Tensor:
    """The place of the least along the axis."""
    return _place(call, x, call.xp.argmin, axis, keepdims, select_last_index)


def _place(
    call: Call, x: Tensor, search: Callable[..., Tensor], axis: int, keep: int, last: int
) -> Tensor:
    xp, axis = call.xp, axis % x.ndim
    found = search(xp.flip(x, axis=axis) if last else x, axis=axis)
    found = xp.cast(found, INT64)
    found = x.shape[axis] - 1 - found if last else found
    return xp.expand_dims(found, axis=axis) if keep else found


@operator("CumSum", host=("axis",))
@in_float32
def cumulative_sum(
    call: Call, x: Tensor, axis: np.ndarray[Any, Any], *, exclusive: int = 0, reverse: int = 0
) -> Tensor:
    """The sums of all up to each along the axis."""
    return _running(call, x, call.xp.cumulative_sum, 0, int(axis.item()), exclusive, reverse)


@operator("CumProd", host=("axis",))
@in_float32
def cumulative_prod(
    call: Call, x: Tensor, axis: np.ndarray[Any, Any], *, exclusive: int = 0, reverse: int = 0
) -> Tensor:
    """The products of all up to each along the axis."""
    return _running(call, x, call.xp.cumulative_prod, 1, int(axis.item()), exclusive, reverse)


def _running(
    call: Call,
    x: Tensor,
    accumulate: Callable[..., Tensor],
    neutral: int,
    axis: int,
    exclusive: int,
    reverse: int,
) -> Tensor:
    xp, axis = call.xp, axis % x.ndim
    if reverse:
        x = xp.flip(x, axis=axis)
    result = xp.cast(accumulate(x, axis=axis), xp.dtype_of(x))
    if exclusive:
        before = (slice(None),) * axis
        first = xp.broadcast_to(xp.scalar(neutral, x), (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
        result = xp.concat([first, result[(*before, slice(0, -1))]], axis=axis)
    return xp.flip(result, axis=axis) if reverse else result


@operator("TopK", host=("count",))
def top_k(
    call: Call,
    x: Tensor,
    count: np.ndarray[Any, Any] | None = None,
    *,
    k: int | None = None,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,  # noqa: A002  ONNX's own name
) -> tuple[Tensor, Tensor]:
    """The ``count`` greatest or least along the axis, in order, and their places.

    Of equals, those that come first. Without ``sorted``, any order is right, so this one is too.
    """
    xp, axis = call.xp, axis % x.ndim
    wanted = k if count is None else integers(count)[0]
    order = xp.argsort(x, axis=axis, descending=bool(largest), stable=True)
    places = xp.cast(order[(*(slice(None),) * axis, slice(0, wanted))], INT64)
    return xp.take_along_axis(x, places, axis=axis), places
