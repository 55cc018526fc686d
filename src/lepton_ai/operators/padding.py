"""Borders put around a tensor, or taken off it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import is_floating
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, integers, operator

Host = np.ndarray[Any, Any]

_MODES = ("constant", "reflect", "edge", "wrap")


@operator("Pad", host=("widths", "constant", "along"))
def pad(
    call: Call,
    x: Tensor,
    widths: Host | None = None,
    constant: Host | None = None,
    along: Host | None = None,
    *,
    mode: str = "constant",
    pads: Sequence[int] | None = None,
    paddings: Sequence[int] | None = None,
    value: float = 0.0,
) -> Tensor:
    """Wider before and after each axis, by a constant or by what is there; or narrower."""
    if mode not in _MODES:
        raise EngineError(f"mode is one of {list(_MODES)}, not {mode!r}")
    given = list(pads or paddings or ()) if widths is None else integers(widths)
    axes = range(x.ndim) if along is None else [axis % x.ndim for axis in integers(along)]
    if len(given) != 2 * len(axes):
        raise EngineError(f"{len(axes)} axes need {2 * len(axes)} pads, and {len(given)} came")
    pairs: list[tuple[Any, Any]] = [(0, 0)] * x.ndim
    for place, axis in enumerate(axes):
        pairs[axis] = (given[place], given[place + len(axes)])
    x = cropped(x, pairs)
    wider = [(_widening(before), _widening(after)) for before, after in pairs]
    if mode == "constant":
        filling = value if constant is None else constant.reshape(-1)[0]
        return call.xp.pad(x, wider, _plain(filling, call.xp.dtype_of(x)))
    for axis, (before, after) in enumerate(wider):
        if (before, after) != (0, 0):
            x = _continued(call, x, axis, before, after, mode)
    return x


def _widening(pad: Any) -> Any:
    return 0 if isinstance(pad, int) and pad < 0 else pad


def _plain(value: Any, dtype: np.dtype[Any]) -> Any:
    """The filling as a plain number, truth or text."""
    if dtype.kind == "O":
        return value if isinstance(value, str) else ""
    if dtype.kind in "bc":
        return dtype.type(value).item()
    return float(value) if is_floating(dtype) else int(value)


def cropped(x: Tensor, pairs: Sequence[tuple[Any, Any]]) -> Tensor:
    """``x`` without what negative pads take off."""
    for axis, (before, after) in enumerate(pairs):
        start = -before if isinstance(before, int) and before < 0 else 0
        end = x.shape[axis] + after if isinstance(after, int) and after < 0 else None
        if start or end is not None:
            x = x[(*(slice(None),) * axis, slice(start, end))]
    return x


def _continued(call: Call, x: Tensor, axis: int, before: Any, after: Any, mode: str) -> Tensor:
    """``x`` continued along one axis by itself."""
    size = x.shape[axis]
    if all(isinstance(one, int) for one in (size, before, after)):
        places = np.pad(np.arange(size), (before, after), mode=mode)  # type: ignore[call-overload]
        return call.xp.take(x, call.xp.from_host(places), axis=axis)
    if mode == "edge":
        front, back = _cut(x, axis, 0, 1), _cut(x, axis, -1, None)
        shapes = [(*x.shape[:axis], width, *x.shape[axis + 1 :]) for width in (before, after)]
        ends = [
            call.xp.broadcast_to(one, wide) for one, wide in zip((front, back), shapes, strict=True)
        ]
    elif mode == "reflect":
        ends = [
            call.xp.flip(_cut(x, axis, 1, before + 1), axis=axis),
            call.xp.flip(_cut(x, axis, size - 1 - after, size - 1), axis=axis),
        ]
    else:
        ends = [_cut(x, axis, size - before, None), _cut(x, axis, 0, after)]
    return call.xp.concat([ends[0], x, ends[1]], axis=axis)


def _cut(x: Tensor, axis: int, start: Any, end: Any) -> Tensor:
    return x[(*(slice(None),) * axis, slice(start, end))]


@operator("CenterCropPad", host=("target",))
def center_crop_pad(
    call: Call, x: Tensor, target: Host, *, axes: Sequence[int] | None = None
) -> Tensor:
    """The middle of the axes, of the sizes given, with zeros around what is too small."""
    pairs: list[tuple[Any, Any]] = [(0, 0)] * x.ndim
    for axis, size in zip(range(x.ndim) if axes is None else axes, integers(target), strict=True):
        missing = size - x.shape[axis]
        # An odd one more is cut off behind, and put on behind too.
        before = missing // 2 if missing >= 0 else -(-missing // 2)
        pairs[axis] = (before, missing - before)
    x = cropped(x, pairs)
    return call.xp.pad(
        x,
        [(_widening(before), _widening(after)) for before, after in pairs],
        _plain(0, call.xp.dtype_of(x)),
    )
