"""Shapes read and changed, tensors cut, joined and put together again."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, integers, operator

Host = np.ndarray[Any, Any]

#: Ends of a slice at and beyond which exporters mean "all of it".
_FAR = 2**31 - 1


@operator("Shape")
def shape(call: Call, x: Tensor, *, start: int = 0, end: int | None = None) -> Host:
    """The sizes of the axes from ``start`` to ``end``."""
    return sizes_of(tuple(x.shape)[start:end])


@operator("Size")
def size(call: Call, x: Tensor) -> Host:
    """How many elements there are."""
    return np.reshape(sizes_of([math.prod(x.shape)]), ())


def sizes_of(sizes: Sequence[Any]) -> Host:
    """Sizes as a host array: int64, or objects if some are not known yet."""
    known = all(isinstance(one, int) for one in sizes)
    array = np.empty(len(sizes), np.int64 if known else object)
    array[:] = sizes
    return array


@operator("Reshape", host=("target",))
def reshape(
    call: Call,
    x: Tensor,
    target: Host | None = None,
    *,
    shape: Sequence[int] | None = None,
    allowzero: int = 0,
) -> Tensor:
    """The same elements in another shape; zero keeps a size, -1 is whatever is left."""
    wanted = list(shape or ()) if target is None else integers(target)
    kept = {
        axis
        for axis, one in enumerate(wanted)
        if not allowzero and isinstance(one, int) and one == 0
    }
    sizes = [x.shape[axis] if axis in kept else one for axis, one in enumerate(wanted)]
    return call.xp.reshape(x, _completed(tuple(x.shape), sizes, kept))


def _completed(shape: tuple[Any, ...], sizes: list[Any], kept: set[int]) -> tuple[Any, ...]:
    """``sizes`` with -1 filled in, where all is known; an axis that is kept may be empty."""
    if -1 not in [one for one in sizes if isinstance(one, int)]:
        return tuple(sizes)
    there = [one for axis, one in enumerate(shape) if axis not in kept]
    wanted = [one for axis, one in enumerate(sizes) if axis not in kept]
    if not all(isinstance(one, int) for one in (*there, *wanted)):
        return tuple(sizes)
    others = -math.prod(wanted)
    if others and math.prod(there) % others == 0:
        sizes = [math.prod(there) // others if one == -1 else one for one in sizes]
    return tuple(sizes)


@operator("Flatten")
def flatten(call: Call, x: Tensor, *, axis: int = 1) -> Tensor:
    """A matrix, folded before and from the axis on."""
    sizes = tuple(x.shape)
    axis = axis + x.ndim if axis < 0 else axis
    return call.xp.reshape(x, (math.prod(sizes[:axis]), math.prod(sizes[axis:])))


@operator("Squeeze", host=("which",))
def squeeze(
    call: Call, x: Tensor, which: Host | None = None, *, axes: Sequence[int] | None = None
) -> Tensor:
    """Without the axes given, whose sizes are one, or without all such."""
    given = axes if which is None else integers(which)
    if given is None:
        given = [axis for axis, one in enumerate(x.shape) if isinstance(one, int) and one == 1]
    return call.xp.squeeze(x, axis=tuple(axis % x.ndim for axis in given))


@operator("Unsqueeze", host=("which",))
def unsqueeze(
    call: Call, x: Tensor, which: Host | None = None, *, axes: Sequence[int] = ()
) -> Tensor:
    """With axes of size one where they are asked for in the result."""
    given = axes if which is None else integers(which)
    for axis in sorted(axis % (x.ndim + len(given)) for axis in given):
        x = call.xp.expand_dims(x, axis=axis)
    return x


@operator("Transpose")
def transpose(call: Call, x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    """The axes in another order; in reverse if none is given."""
    order = tuple(range(x.ndim))[::-1] if perm is None else tuple(perm)
    return call.xp.permute_dims(x, order)


@operator("Concat")
def concat(call: Call, *inputs: Tensor, axis: int = 1) -> Tensor:
    """The inputs one after another along the axis, which only opset 1 could leave out."""
    return call.xp.concat(list(inputs), axis=axis % inputs[0].ndim)


@operator("Split", host=("sizes",))
def split(
    call: Call,
    x: Tensor,
    sizes: Host | None = None,
    *,
    axis: int = 0,
    split: Sequence[int] | None = None,
    num_outputs: int | None = None,
) -> tuple[Tensor, ...]:
    """The parts along the axis: of the sizes given, or equal but for the last."""
    axis = axis % x.ndim
    if sizes is not None:
        split = integers(sizes)
    if split is None:
        parts = num_outputs or call.outputs
        size = -(-x.shape[axis] // parts)
        starts = [size * part for part in range(parts)]
        ends: list[Any] = [*starts[1:], x.shape[axis]]
    else:
        starts = [sum(split[:part]) for part in range(len(split))]
        ends = [start + size for start, size in zip(starts, split, strict=True)]
        if all(isinstance(one, int) for one in (ends[-1], x.shape[axis])):
            _check_parts(split, x.shape[axis])
    return tuple(x[_part(axis, start, end)] for start, end in zip(starts, ends, strict=True))


def _check_parts(split: Sequence[int], size: int) -> None:
    if sum(split) != size:
        raise EngineError(f"parts of {list(split)} do not add up to the {size} that there are")


def _part(axis: int, start: Any, end: Any, step: int | None = None) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(start, end, step))


@operator("Slice", host=("begin", "until", "along", "by"))
def slice_(
    call: Call,
    x: Tensor,
    begin: Host | None = None,
    until: Host | None = None,
    along: Host | None = None,
    by: Host | None = None,
    *,
    starts: Sequence[int] = (),
    ends: Sequence[int] = (),
    axes: Sequence[int] | None = None,
) -> Tensor:
    """A part of each of the axes given, by steps that may go backwards."""
    first = starts if begin is None else integers(begin)
    last = ends if until is None else integers(until)
    given = axes if along is None else integers(along)
    which = range(len(first)) if given is None else [axis % x.ndim for axis in given]
    steps = [1] * len(first) if by is None else integers(by)
    for axis, start, end, step in zip(which, first, last, steps, strict=True):
        if step == 0:
            raise EngineError("a slice cannot step by zero")
        if step < 0:  # not every library counts backwards
            x = call.xp.flip(x, axis=axis)
            start, end, step = *_mirrored(start, end, x.shape[axis]), -step
        x = x[_part(axis, _bounded(start, x.shape[axis]), _bounded(end, x.shape[axis]), step)]
    return x


def _mirrored(start: Any, end: Any, size: Any) -> tuple[Any, Any]:
    """Both counted from the other end. A start before the beginning is the beginning itself."""
    if all(isinstance(one, int) for one in (start, end, size)):
        start = min(max(start + size if start < 0 else start, 0), max(size - 1, 0))
        end = min(max(end + size if end < 0 else end, -1), size - 1)
        return size - 1 - start, size - 1 - end
    return _from_behind(start, size), _from_behind(end, size)


def _from_behind(place: Any, size: Any) -> Any:
    if not isinstance(place, int):
        return size - 1 - place
    if place < 0:
        return min(-1 - place, _FAR)
    return size - 1 - place if place < _FAR else 0


def _bounded(place: Any, size: Any) -> Any:
    """``place`` as a slice takes it, or ``None`` for the end of all."""
    if not isinstance(place, int):
        return place
    if isinstance(size, int):
        return min(max(place + size if place < 0 else place, 0), size)
    if place >= _FAR:
        return None
    return 0 if place <= -_FAR else place


@operator("Expand", host=("target",))
def expand(call: Call, x: Tensor, target: Host) -> Tensor:
    """Broadcast to the target and to its own shape, whichever is larger."""
    wanted = integers(target)
    rank = max(len(wanted), x.ndim)
    own = [*[1] * (rank - x.ndim), *x.shape]
    asked = [*[1] * (rank - len(wanted)), *wanted]
    sizes = [
        mine if _is_one(new) else new if _is_one(mine) else mine
        for mine, new in zip(own, asked, strict=True)
    ]
    for mine, new in zip(own, asked, strict=True):
        if isinstance(mine, int) and isinstance(new, int) and 1 not in (mine, new) and mine != new:
            raise EngineError(f"{tuple(x.shape)} does not broadcast to {tuple(wanted)}")
    return call.xp.broadcast_to(x, tuple(sizes))


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


@operator("Tile", host=("repeats", "axis"))
def tile(call: Call, x: Tensor, repeats: Host, axis: Host | None = None) -> Tensor:
    """Repeated along each axis; opset 1 gives one number and its axis."""
    times = integers(repeats)
    if axis is not None:
        times = [times[0] if one == integers(axis)[0] % x.ndim else 1 for one in range(x.ndim)]
    sizes = tuple(x.shape)
    spread = [one for pair in zip([1] * x.ndim, sizes, strict=True) for one in pair]
    repeated = [one for pair in zip(times, sizes, strict=True) for one in pair]
    wide = call.xp.broadcast_to(call.xp.reshape(x, tuple(spread)), tuple(repeated))
    return call.xp.reshape(wide, tuple(a * b for a, b in zip(times, sizes, strict=True)))


@operator("ReverseSequence")
def reverse_sequence(
    call: Call, x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0
) -> Tensor:
    """Each of the batch backwards along time, up to its own length."""
    xp = call.xp
    shape = [
        [-1 if axis == one else 1 for axis in range(x.ndim)] for one in (time_axis, batch_axis)
    ]
    steps = xp.reshape(xp.positions(x.shape[time_axis]), tuple(shape[0]))
    ends = xp.reshape(lengths, tuple(shape[1]))
    places = xp.where(steps < ends, ends - 1 - steps, steps)
    return xp.take_along_axis(x, places, axis=time_axis)


@operator("DepthToSpace")
def depth_to_space(call: Call, x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels laid out as blocks of pixels."""
    n, c, h, w = x.shape
    deep = (c // blocksize**2,)
    blocks = (blocksize, blocksize)
    inner, order = {
        "DCR": ((*blocks, *deep), (0, 3, 4, 1, 5, 2)),
        "CRD": ((*deep, *blocks), (0, 1, 4, 2, 5, 3)),
    }[mode]
    x = call.xp.permute_dims(call.xp.reshape(x, (n, *inner, h, w)), order)
    return call.xp.reshape(x, (n, *deep, h * blocksize, w * blocksize))


@operator("SpaceToDepth")
def space_to_depth(call: Call, x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Blocks of pixels as channels."""
    n, c, h, w = x.shape
    rows, columns = h // blocksize, w // blocksize
    order = {"DCR": (0, 3, 5, 1, 2, 4), "CRD": (0, 1, 3, 5, 2, 4)}[mode]
    x = call.xp.reshape(x, (n, c, rows, blocksize, columns, blocksize))
    return call.xp.reshape(call.xp.permute_dims(x, order), (n, c * blocksize**2, rows, columns))
