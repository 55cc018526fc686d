"""One axis after another of an array resized, by where its new elements lie among the old."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import FLOAT32, FLOAT64, INT64, is_floating, is_narrow
from lepton_ai.operators.namespace import Namespace, Tensor, namespaces
from lepton_ai.operators.sampling import clipped, cubic, cubic_weights


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of ``size`` elements that is to have ``wanted``.

    ``scale`` is what it was asked to grow by, and ``length`` the size that this gives before it is
    rounded down. ``start`` and ``end`` are the part of it that is read, as shares of the whole.
    """

    axis: int
    size: Any
    wanted: Any
    scale: Any
    length: Any
    start: float = 0.0
    end: float = 1.0

    @property
    def unchanged(self) -> bool:
        """Whether the axis stays as it is."""
        whole = (self.start, self.end) == (0.0, 1.0)
        return whole and isinstance(self.scale, float) and self.scale == 1.0

    @property
    def static(self) -> bool:
        """Whether its sizes are numbers and not symbols."""
        return isinstance(self.size, int) and isinstance(self.wanted, int)


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """How elements between elements are made up; the names are those of ``Resize``'s attributes."""

    mode: str
    coordinates: str
    nearest: str = "round_prefer_floor"
    cubic_a: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False
    extrapolation: float = 0.0


def resized(xp: Namespace, x: Tensor, axes: Sequence[Axis], how: Interpolation) -> Tensor:
    """``x`` with each of ``axes`` resized; integers are rounded and kept in range."""
    dtype = xp.dtype_of(x)
    axes = [axis for axis in axes if not axis.unchanged]
    exact = is_floating(dtype) and not is_narrow(dtype)
    if axes and how.mode != "nearest" and not exact:
        x = xp.cast(x, FLOAT32)
    for axis in axes:
        x = _along(xp, x, axis, how)
    if is_floating(dtype) or xp.dtype_of(x) == dtype:
        return xp.cast(x, dtype)
    ends = np.iinfo(dtype)
    return xp.cast(xp.clip(xp.round(x), float(ends.min), float(ends.max)), dtype)


def _along(xp: Namespace, x: Tensor, axis: Axis, how: Interpolation) -> Tensor:
    # What is known beforehand is computed with NumPy. Which of two elements is the nearest is told
    # in float32, as the engines do: a scale of 0.6 is not quite that, and 3 / 0.6 is 5 only there.
    space = namespaces.get("numpy")() if axis.static else xp
    dtype = FLOAT64 if axis.static and how.mode != "nearest" else FLOAT32

    def over(row: Tensor, to: np.dtype[Any] | None = None) -> Tensor:
        """One number for each new element, as an array of ``xp`` that broadcasts to ``x``."""
        row = row if to is None else space.cast(row, to)
        row = xp.from_host(row) if axis.static else row
        return xp.reshape(row, (*[1] * axis.axis, -1, *[1] * (x.ndim - axis.axis - 1)))

    position = _positions(space, axis, how.coordinates, dtype)
    result = None
    for index, weight in _taps(space, position, axis, how):
        place = space.cast(index, INT64)
        part = xp.take(x, xp.from_host(place) if axis.static else place, axis=axis.axis)
        if weight is not None:
            part = part * over(weight, xp.dtype_of(x))
        result = part if result is None else result + part
    if how.coordinates == "tf_crop_and_resize":
        outside = (position < 0) | (position > axis.size - 1)
        filling = xp.cast(xp.zeros_like(result) + how.extrapolation, xp.dtype_of(x))
        result = xp.where(over(outside), filling, result)
    return result


def _positions(space: Namespace, axis: Axis, coordinates: str, dtype: np.dtype[Any]) -> Tensor:
    """Where the new elements lie among the old, by the transformation that has this name."""
    new = space.cast(space.positions(axis.wanted), dtype)
    if coordinates in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"):
        if coordinates == "pytorch_half_pixel" and axis.static and axis.wanted <= 1:
            return space.zeros_like(new)
        offset = 0.0
        if coordinates == "half_pixel_symmetric":
            offset = axis.size / 2 * (1 - axis.wanted / axis.length)
        return offset + (new + 0.5) / axis.scale - 0.5
    if coordinates == "asymmetric":
        return new / axis.scale
    if coordinates == "align_corners":
        if axis.static and axis.length == 1:
            return space.zeros_like(new)
        return new * (axis.size - 1) / (axis.length - 1)
    if coordinates == "tf_crop_and_resize":
        last = axis.size - 1
        if axis.static and axis.wanted <= 1:
            return space.zeros_like(new) + 0.5 * (axis.start + axis.end) * last
        return axis.start * last + new * (axis.end - axis.start) * last / (axis.wanted - 1)
    raise EngineError(f"coordinate_transformation_mode {coordinates!r} is not known")


def _taps(
    space: Namespace, position: Tensor, axis: Axis, how: Interpolation
) -> list[tuple[Tensor, Tensor | None]]:
    """For each neighbour that counts: its index, and its weight; alone, it needs no weight."""
    if how.mode == "nearest":
        index = _nearest(space, position, axis, how.nearest)
        return [(clipped(space, index, axis.size), None)]
    below = space.floor(position)
    first, weights = _weights(space, position - below, axis, how)
    places = [below + (first + step) for step in range(len(weights))]
    if how.exclude_outside:
        nothing = space.zeros_like(position)
        inside = [(place >= 0) & (place <= axis.size - 1) for place in places]
        weights = [
            space.where(here, weight, nothing) for here, weight in zip(inside, weights, strict=True)
        ]
        total = sum(weights[1:], weights[0])
        weights = [weight / total for weight in weights]
    taps = zip(places, weights, strict=True)
    return [(clipped(space, place, axis.size), weight) for place, weight in taps]


def _weights(
    space: Namespace, share: Tensor, axis: Axis, how: Interpolation
) -> tuple[int, list[Tensor]]:
    """The first neighbour, counted from the element below, and the weights from there on."""
    if how.mode not in ("linear", "cubic"):
        raise EngineError(f"mode {how.mode!r} is not one of nearest, linear and cubic")
    if not how.antialias or (isinstance(axis.scale, float) and axis.scale >= 1):
        if how.mode == "linear":
            return 0, [1 - share, share]
        return -1, cubic_weights(space, share, how.cubic_a)
    if not isinstance(axis.scale, float):
        raise EngineError("antialias needs to know the sizes beforehand")
    reach = 1 if how.mode == "linear" else 2
    first = floor(-reach / axis.scale) + 1
    distances = [abs(step - share) * axis.scale for step in range(first, 2 - first)]
    if how.mode == "linear":
        weights = [space.where(d < 1, 1 - d, space.zeros_like(d)) for d in distances]
    else:
        weights = [cubic(space, distance, how.cubic_a) for distance in distances]
    total = sum(weights[1:], weights[0])
    return first, [weight / total for weight in weights]


def _nearest(space: Namespace, position: Tensor, axis: Axis, nearest: str) -> Tensor:
    if nearest == "round_prefer_floor":
        return space.ceil(position - 0.5)
    if nearest == "round_prefer_ceil":
        return space.floor(position + 0.5)
    if nearest == "simple":  # of the opsets that had no choice
        return space.floor(position) if axis.scale >= 1 else space.ceil(position)
    if nearest == "floor":
        return space.floor(position)
    if nearest == "ceil":
        return space.ceil(position)
    raise EngineError(f"nearest_mode {nearest!r} is not known")
