"""Elements picked by their places, and written to them."""

from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import BOOL, INT64, is_narrow
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, integers, operator

_REDUCTIONS = ("none", "add", "mul", "max", "min")


@operator("Gather")
def gather(call: Call, data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """The slices of ``data`` along the axis that ``indices`` name."""
    xp, axis = call.xp, axis % data.ndim
    flat = xp.reshape(_counted(call, indices, data.shape[axis]), (-1,))
    taken = xp.take(data, flat, axis=axis)
    return xp.reshape(taken, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))


@operator("GatherElements")
def gather_elements(call: Call, data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """One element along the axis for each of ``indices``, at its own place on the other axes."""
    axis = axis % data.ndim
    window = tuple(
        slice(None) if other == axis or size == data.shape[other] else slice(0, size)
        for other, size in enumerate(indices.shape)
    )
    counted = _counted(call, indices, data.shape[axis])
    return call.xp.take_along_axis(data[window], counted, axis=axis)


@operator("GatherND")
def gather_nd(call: Call, data: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """The slices of ``data`` that the tuples along the last axis of ``indices`` name.

    The first ``batch_dims`` axes of both run in step.
    """
    rank = indices.ndim - 1
    batch = [_along(call, data.shape[axis], axis, rank) for axis in range(batch_dims)]
    return data[(*batch, *_tuples(call, data, indices, batch_dims))]


@operator("ScatterElements", "Scatter")
def scatter_elements(
    call: Call,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    *,
    axis: int = 0,
    reduction: str = "none",
) -> Tensor:
    """A copy of ``data``; each update goes to its own place, but to its index along the axis."""
    axis = axis % data.ndim
    index = [_along(call, size, other, data.ndim) for other, size in enumerate(indices.shape)]
    index[axis] = _counted(call, indices, data.shape[axis])
    return _scattered(call, data, index, updates, reduction)


@operator("ScatterND")
def scatter_nd(
    call: Call, data: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none"
) -> Tensor:
    """A copy of ``data`` with the updates at the slices that the tuples of ``indices`` name."""
    xp, depth = call.xp, indices.shape[-1]
    behind = data.ndim - depth
    index = [
        xp.reshape(one, (*one.shape, *[1] * behind)) for one in _tuples(call, data, indices, 0)
    ]
    index += [
        _along(call, data.shape[axis], axis - data.ndim, 0) for axis in range(depth, data.ndim)
    ]
    return _scattered(call, data, index, updates, reduction)


@operator("TensorScatter")
def tensor_scatter(
    call: Call,
    past: Tensor,
    update: Tensor,
    write_indices: Tensor | None = None,
    *,
    axis: int = -2,
    mode: str = "linear",
) -> Tensor:
    """A cache with ``update`` written along the axis, for each of the batch from its own place."""
    xp, axis = call.xp, axis % past.ndim
    index = [_along(call, size, other, past.ndim) for other, size in enumerate(update.shape)]
    if write_indices is not None:
        index[axis] = index[axis] + xp.reshape(write_indices, (-1, *[1] * (past.ndim - 1)))
    if mode == "circular":
        index[axis] = index[axis] % past.shape[axis]
    elif mode != "linear":
        raise EngineError(f"mode is 'linear' or 'circular', not {mode!r}")
    return xp.scatter(past, tuple(index), update, "none")


@operator("OneHot", host=("depth",))
def one_hot(
    call: Call, indices: Tensor, depth: np.ndarray[Any, Any], values: Tensor, *, axis: int = -1
) -> Tensor:
    """``values[1]`` at each index along a new axis, ``values[0]`` elsewhere."""
    xp = call.xp
    (classes,) = integers(depth)
    axis = axis % (indices.ndim + 1)
    places = xp.reshape(xp.positions(classes), (-1, *[1] * (indices.ndim - axis)))
    chosen = xp.expand_dims(_counted(call, indices, classes), axis=axis)
    return xp.where(chosen == places, values[1:2], values[0:1])


@operator("NonZero")
def non_zero(call: Call, x: Tensor) -> Tensor:
    """The places of what is not zero, one column each; of a scalar there is no place to tell."""
    xp = call.xp
    if x.ndim == 0:
        found = xp.reshape(xp.cast(x != 0, INT64), (1,))
        return xp.from_host(np.zeros((0, int(xp.to_host(found)[0])), np.int64))
    return xp.cast(xp.stack(xp.nonzero(x)), INT64)


@operator("Compress", host=("condition",))
def compress(
    call: Call, x: Tensor, condition: np.ndarray[Any, Any], *, axis: int | None = None
) -> Tensor:
    """The slices along the axis, or the elements, for which the condition holds."""
    if axis is None:
        x, axis = call.xp.reshape(x, (-1,)), 0
    kept = call.xp.from_host(np.flatnonzero(condition))
    return call.xp.take(x, kept, axis=axis % x.ndim)


@operator("Unique", host=("x",))
def unique(
    call: Call,
    x: np.ndarray[Any, Any],
    *,
    axis: int | None = None,
    sorted: int = 1,  # noqa: A002  ONNX's own name
) -> tuple[Tensor, ...]:
    """The distinct values, where each is first, which each element is, and how many there are."""
    dtype = x.dtype
    wide = x.astype(np.float32) if is_narrow(dtype) else x
    found, first, which, counts = np.unique(wide, True, True, True, axis=axis)
    which = which.reshape(-1)
    if not sorted:
        order = np.argsort(first)
        found, first, counts = np.take(found, order, axis=axis or 0), first[order], counts[order]
        which = np.argsort(order)[which]
    return (found.astype(dtype), *(one.astype(np.int64) for one in (first, which, counts)))


def _counted(call: Call, indices: Tensor, size: Any) -> Tensor:
    """``indices`` as int64, those below zero counted from the end."""
    indices = call.xp.cast(indices, INT64)
    return call.xp.where(indices < 0, indices + size, indices)


def _along(call: Call, size: Any, axis: int, rank: int) -> Tensor:
    """``0, 1, ... size - 1`` along one of ``rank`` axes, or along one counted from the end."""
    behind = rank - 1 - axis if axis >= 0 else -1 - axis
    return call.xp.reshape(call.xp.positions(size), (-1, *[1] * behind))


def _tuples(call: Call, data: Tensor, indices: Tensor, first: int) -> list[Tensor]:
    """The indices into the axes of ``data`` from ``first`` on: the last axis of ``indices``."""
    return [
        _counted(call, indices[..., place], data.shape[first + place])
        for place in range(indices.shape[-1])
    ]


def _scattered(
    call: Call, data: Tensor, index: list[Tensor], updates: Tensor, reduction: str
) -> Tensor:
    if reduction not in _REDUCTIONS:
        raise EngineError(f"reduction is one of {list(_REDUCTIONS)}, not {reduction!r}")
    if reduction in ("add", "mul") and call.xp.dtype_of(data) == BOOL:
        reduction = {"add": "max", "mul": "min"}[reduction]
    return call.xp.scatter(data, tuple(index), updates, reduction)
