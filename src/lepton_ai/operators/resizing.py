"""Arrays of other sizes: resized, warped by a grid, or decoded from a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from math import floor, prod
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.accumulation import accumulated
from lepton_ai.operators.dtypes import FLOAT32, is_narrow
from lepton_ai.operators.interpolation import Axis, Interpolation, resized
from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.operator import Call, integers, operator
from lepton_ai.operators.sampling import Taps, clipped, cubic_weights, sampled

Ints = Sequence[int] | None
Host = np.ndarray[Any, Any]

#: The coefficient of cubic interpolation with which grids are sampled.
_GRID_A = -0.75
#: What older opsets called the modes.
_MODES = {"bilinear": "linear", "bicubic": "cubic"}
#: The first opset in which ``Resize`` lets its transformation of coordinates be chosen.
_CHOSEN = 11
#: The largest denominator of a scale of a size that is a symbol.
_PARTS = 10_000


@operator("Resize", host=("roi", "scales", "sizes"))
def resize(
    call: Call,
    x: Tensor,
    roi: Host | None = None,
    scales: Host | None = None,
    sizes: Host | None = None,
    *,
    antialias: int = 0,
    axes: Ints = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """``x`` resized to ``sizes`` or by ``scales``, given for each of ``axes``."""
    if call.opset < _CHOSEN:  # the scales were the second input then
        return _upsampled(call.xp, x, _floats(roi), mode)
    how = Interpolation(
        mode=mode,
        coordinates=coordinate_transformation_mode,
        nearest=nearest_mode,
        cubic_a=cubic_coeff_a,
        antialias=bool(antialias),
        exclude_outside=bool(exclude_outside),
        extrapolation=extrapolation_value,
    )
    axes = range(x.ndim) if axes is None else [axis % x.ndim for axis in axes]
    parts = [(0.0, 1.0)] * len(axes)
    if how.coordinates == "tf_crop_and_resize":
        ends = _floats(roi)
        parts = list(zip(ends[: len(axes)], ends[len(axes) :], strict=True))
    if sizes is not None and sizes.size:
        wanted = integers(sizes)
        found = _fitted(x, axes, wanted, parts, keep_aspect_ratio_policy)
    else:
        found = _scaled(x, axes, _floats(scales), parts)
    return resized(call.xp, x, found, how)


@operator("Upsample", host=("factors",))
def upsample(
    call: Call,
    x: Tensor,
    factors: Host | None = None,
    *,
    height_scale: float = 1.0,
    mode: str = "nearest",
    scales: Sequence[float] | None = None,
    width_scale: float = 1.0,
) -> Tensor:
    """``x`` enlarged by an input; before opset 9 by an attribute, before opset 7 by two."""
    by = _floats(factors) or scales or [1.0, 1.0, height_scale, width_scale]
    return _upsampled(call.xp, x, _floats(by), _MODES.get(mode, mode))


@operator("GridSample")
@accumulated
def grid_sample(
    call: Call,
    x: Tensor,
    grid: Tensor,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Tensor:
    """``x`` [N, C, *spatial] at the points of ``grid`` [N, *places, rank], the last axis first.

    Minus one and one are the ends of an axis: its outermost elements with ``align_corners``, their
    outer edges without.
    """
    xp = call.xp
    batch, channels, *sizes = x.shape
    grid = xp.cast(grid, FLOAT32) if is_narrow(xp.dtype_of(grid)) else grid
    mode = _MODES.get(mode, mode)
    points = []
    for i, size in enumerate(sizes):
        share = xp.reshape(grid[..., len(sizes) - 1 - i], (batch, -1))
        position = (share + 1) / 2 * (size - 1) if align_corners else ((share + 1) * size - 1) / 2
        border = _Border(size=size, corners=bool(align_corners), padding=padding_mode)
        points.append(_grid_taps(xp, position, border, mode))
    y = xp.reshape(sampled(xp, x, points), (batch, channels, *grid.shape[1:-1]))
    return xp.cast(y, xp.dtype_of(x))


@operator("AffineGrid", host=("size",))
@accumulated
def affine_grid(call: Call, theta: Tensor, size: Host, *, align_corners: int = 0) -> Tensor:
    """The points at which ``GridSample`` reads to apply ``theta`` [N, rank, rank + 1]."""
    xp = call.xp
    sizes = integers(size)[2:]
    ends = [1 - (0 if align_corners else 1) / count for count in sizes]
    lines = [np.linspace(-end, end, count) for end, count in zip(ends, sizes, strict=True)]
    mesh = np.meshgrid(*lines, indexing="ij")
    regular = np.stack([*reversed(mesh), np.ones(sizes)]).reshape(len(sizes) + 1, prod(sizes))
    points = xp.matmul(theta, xp.from_host(regular.astype(xp.dtype_of(theta))))
    return xp.reshape(xp.matrix_transpose(points), (theta.shape[0], *sizes, len(sizes)))


@operator("ImageDecoder", host=("encoded_stream",))
def image_decoder(call: Call, encoded_stream: Host, *, pixel_format: str = "RGB") -> Host:
    """The pixels [height, width, channels] of an image file; none of one that cannot be read.

    Raises:
        EngineError: Pillow, which reads it, is not installed.
    """
    try:
        from PIL import Image
    except ImportError as failure:
        raise EngineError("ImageDecoder needs Pillow: pip install pillow") from failure
    kinds = {"RGB": "RGB", "BGR": "RGB", "Grayscale": "L"}
    if pixel_format not in kinds:
        raise EngineError(f"pixel_format {pixel_format!r} is not one of {list(kinds)}")
    try:
        picture = Image.open(BytesIO(encoded_stream.tobytes())).convert(kinds[pixel_format])
    except (OSError, SyntaxError):  # what Pillow raises for files that are broken
        return np.zeros((0, 0, 1 if pixel_format == "Grayscale" else 3), np.uint8)
    pixels = np.array(picture, np.uint8)
    if pixel_format == "Grayscale":
        return pixels[:, :, None]
    return pixels[:, :, ::-1].copy() if pixel_format == "BGR" else pixels


def _upsampled(xp: Namespace, x: Tensor, scales: Sequence[float], mode: str) -> Tensor:
    """The older resizing: from the corner, and to the element before where it enlarges."""
    axes = _scaled(x, range(x.ndim), scales, [(0.0, 1.0)] * x.ndim)
    how = Interpolation(mode=_MODES.get(mode, mode), coordinates="asymmetric", nearest="simple")
    return resized(xp, x, axes, how)


def _fitted(
    x: Tensor,
    axes: Sequence[int],
    sizes: Sequence[Any],
    parts: Sequence[tuple[float, float]],
    policy: str,
) -> list[Axis]:
    """The axes with the sizes that are asked for, or with those nearest that keep the aspect."""
    have = [x.shape[axis] for axis in axes]
    if policy == "stretch":
        wanted, lengths = list(sizes), list(sizes)
        scales = [1.0 if _same(a, b) else a / b for a, b in zip(sizes, have, strict=True)]
    elif policy in ("not_larger", "not_smaller"):
        choose = min if policy == "not_larger" else max
        scale = choose(a / b for a, b in zip(sizes, have, strict=True))
        scales, lengths = [scale] * len(have), [scale * size for size in have]
        wanted = [floor(length + 0.5) for length in lengths]
    else:
        raise EngineError(f"keep_aspect_ratio_policy {policy!r} is not known")
    every = zip(axes, have, wanted, scales, lengths, parts, strict=True)
    return [
        Axis(axis=axis, size=size, wanted=to, scale=scale, length=length, start=start, end=end)
        for axis, size, to, scale, length, (start, end) in every
    ]


def _scaled(
    x: Tensor,
    axes: Sequence[int],
    scales: Sequence[float],
    parts: Sequence[tuple[float, float]],
) -> list[Axis]:
    """The axes by their scales, whichever part of them is read."""
    return [
        Axis(
            axis=axis,
            size=x.shape[axis],
            wanted=_times(x.shape[axis], scale),
            scale=scale,
            length=x.shape[axis] if scale == 1 else x.shape[axis] * scale,
            start=start,
            end=end,
        )
        for axis, scale, (start, end) in zip(axes, scales, parts, strict=True)
    ]


def _times(size: Any, scale: float) -> Any:
    """``size * scale``, rounded down.

    The product is one of float32, as the engines compute it: ten times 1.3 is 13, although the
    float32 next to 1.3 is less. For a size that is a symbol it is a fraction that is as near.
    """
    if isinstance(size, int):
        return floor(np.float32(size) * np.float32(scale))
    near = Fraction(scale).limit_denominator(_PARTS)
    return size * near.numerator // near.denominator


def _same(one: Any, other: Any) -> bool:
    """Whether two sizes are equal; a symbol and a number are not compared, but kept apart.

    To compare them would tie the trace to the answer.
    """
    return isinstance(one, int) == isinstance(other, int) and bool(one == other)


@dataclass(frozen=True, kw_only=True)
class _Border:
    """What lies beyond the ends of an axis of ``size`` elements."""

    size: Any
    corners: bool
    padding: str

    def inward(self, xp: Namespace, position: Tensor) -> Tensor:
        """Positions beyond the ends, moved to where what lies there is taken from."""
        if self.padding not in ("border", "reflection"):
            return position
        edge = 0.0 if self.corners else 0.5
        low, high = -edge, self.size - 1 + edge
        if self.padding == "border":
            moved = xp.where(position < 0, xp.zeros_like(position), position)
            last = xp.zeros_like(position) + (self.size - 1)
            moved = xp.where(moved > self.size - 1, last, moved)
        else:
            moved = self._reflected(xp, position, low, high)
        return xp.where((position < low) | (position > high), moved, position)

    def _reflected(self, xp: Namespace, position: Tensor, low: Any, high: Any) -> Tensor:
        if isinstance(high, float) and high <= low:
            return xp.zeros_like(position)
        reach = high - low
        beyond = abs(position - low)
        times = xp.floor(beyond / reach)
        rest = beyond - times * reach
        odd = times - 2 * xp.floor(times / 2) > 0
        return xp.where(odd, high - rest, low + rest)


def _grid_taps(xp: Namespace, position: Tensor, border: _Border, mode: str) -> Taps:
    if mode == "nearest":
        position = xp.round(position)
    if mode != "cubic":  # whose neighbours alone are moved
        position = border.inward(xp, position)
    below = xp.floor(position)
    share = position - below
    if mode == "nearest":
        weights, first = [xp.ones_like(share)], 0
    elif mode == "linear":
        weights, first = [1 - share, share], 0
    elif mode == "cubic":
        weights, first = cubic_weights(xp, share, _GRID_A), -1
    else:
        raise EngineError(f"mode {mode!r} is not one of nearest, linear and cubic")
    taps = []
    for step, weight in enumerate(weights, start=first):
        place = border.inward(xp, below + step)
        if border.padding == "zeros":
            inside = (place >= 0) & (place <= border.size - 1)
            weight = xp.where(inside, weight, xp.zeros_like(weight))
        taps.append((clipped(xp, place, border.size), weight))
    return taps


def _floats(values: Any) -> list[float]:
    return [] if values is None else [float(value) for value in np.asarray(values).reshape(-1)]
