"""Boxes chosen among boxes, and what lies within a box pooled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.accumulation import accumulated
from lepton_ai.operators.dtypes import INT64
from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.operator import Call, operator
from lepton_ai.operators.sampling import Taps, clipped, picked

Host = np.ndarray[Any, Any]


@operator(
    "NonMaxSuppression",
    host=(
        "boxes",
        "scores",
        "max_output_boxes_per_class",
        "iou_threshold",
        "score_threshold",
    ),
)
def non_max_suppression(
    call: Call,
    boxes: Host,
    scores: Host,
    max_output_boxes_per_class: Host | None = None,
    iou_threshold: Host | None = None,
    score_threshold: Host | None = None,
    *,
    center_point_box: int = 0,
) -> Host:
    """Batch, class and index of the boxes that no better box of their class overlaps too much."""
    most = max(_scalar(max_output_boxes_per_class, 0), 0)
    allowed = _scalar(iou_threshold, 0.0)
    floor = _scalar(score_threshold, -np.inf)
    chosen = []
    for batch, corners in enumerate(_corners(boxes, center_point_box)):
        for kind, score in enumerate(scores[batch]):
            for box in _chosen(corners, score, int(most), allowed, floor):
                chosen.append((batch, kind, box))
    return np.array(chosen, dtype=np.int64).reshape(-1, 3)


def _scalar(value: Host | None, default: float) -> Any:
    return default if value is None or value.size == 0 else value.reshape(-1)[0]


def _corners(boxes: Host, center_point_box: int) -> Host:
    """The boxes as two corners, the lower one first."""
    first, second = boxes[..., :2], boxes[..., 2:]
    if center_point_box:
        first, second = first - second / 2, first + second / 2
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=-1)


def _chosen(corners: Host, score: Host, most: int, allowed: float, floor: float) -> list[int]:
    """The best box, the best of those that it leaves, and so on; of equals the first."""
    order = np.argsort(-score, kind="stable")
    order = order[score[order] > floor]
    found: list[int] = []
    while order.size and len(found) < most:
        best, order = int(order[0]), order[1:]
        found.append(best)
        order = order[_overlap(corners[best], corners[order]) <= allowed]
    return found


def _overlap(box: Host, others: Host) -> Host:
    """Intersection over union; zero where either box is empty."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    union = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=-1) - common
    nothing = np.zeros_like(common)
    return np.asarray(np.divide(common, union, out=nothing, where=common > 0))


@operator("RoiAlign")
@accumulated
def roi_align(
    call: Call,
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    coordinate_transformation_mode: str | None = None,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """Each box [x1, y1, x2, y2] as a grid of bins, each the mean or the maximum of its samples.

    Samples lie between elements; a maximum is that of the weighted neighbours of them all. Without
    a ``sampling_ratio`` there are as many samples as elements in a bin, so that the boxes have to
    be known beforehand.
    """
    xp = call.xp
    default = "half_pixel" if call.opset >= 16 else "output_half_pixel"
    half = (coordinate_transformation_mode or default) == "half_pixel"
    box = rois * spatial_scale - (0.5 if half else 0.0)
    batch, channels, *sizes = x.shape
    columns = xp.reshape(xp.permute_dims(x, (1, 0, 2, 3)), (channels, batch * prod(sizes)))
    first = xp.reshape(xp.cast(batch_indices, INT64), (-1, 1, 1)) * prod(sizes)
    tall = _side(xp, box[:, 1], box[:, 3], output_height, sampling_ratio, malformed=not half)
    wide = _side(xp, box[:, 0], box[:, 2], output_width, sampling_ratio, malformed=not half)
    result = None
    for rows in tall.samples(xp, sizes[0]):
        for these in wide.samples(xp, sizes[1]):
            value = _sample(xp, columns, first, sizes[1], (rows, these), mode)
            result = value if result is None else _met(xp, result, value, mode)
    if mode == "avg":
        result = result / xp.reshape(tall.count * wide.count, (1, -1, 1, 1))
    else:
        result = xp.where(result == -np.inf, xp.zeros_like(result), result)
    return xp.permute_dims(result, (1, 0, 2, 3))


@operator("MaxRoiPool")
@accumulated
def max_roi_pool(
    call: Call,
    x: Tensor,
    rois: Tensor,
    *,
    pooled_shape: Sequence[int],
    spatial_scale: float = 1.0,
) -> Tensor:
    """The greatest element in each bin of boxes [batch, x1, y1, x2, y2], whole elements only."""
    xp = call.xp
    box = _rounded(xp, rois[:, 1:] * spatial_scale)
    x = xp.take(x, xp.cast(rois[:, 0], INT64), axis=0)
    # First the columns of a bin, then its rows: [R, C, H, bins], then [R, C, bins, bins].
    columns = _greatest(xp, x, box[:, 0], box[:, 2], pooled_shape[1])
    swapped = xp.permute_dims(columns, (0, 1, 3, 2))
    result = xp.permute_dims(
        _greatest(xp, swapped, box[:, 1], box[:, 3], pooled_shape[0]), (0, 1, 3, 2)
    )
    return xp.where(result == -np.inf, xp.zeros_like(result), result)


@dataclass(frozen=True, kw_only=True)
class _Side:
    """The bins along one side of every box; each has ``used`` samples, at most ``most``."""

    start: Tensor
    bin: Tensor
    bins: int
    used: Tensor
    count: Tensor
    most: int

    def samples(self, xp: Namespace, size: Any) -> Iterator[tuple[Taps, Tensor]]:
        """The taps [R, bins] of one sample of each bin, and whether the box has that sample."""
        steps = xp.reshape(xp.cast(xp.positions(self.bins), xp.dtype_of(self.start)), (1, -1))
        start, width, count = (xp.reshape(v, (-1, 1)) for v in (self.start, self.bin, self.count))
        for sample in range(self.most):
            position = start + steps * width + (sample + 0.5) * width / count
            yield _border_taps(xp, position, size), sample < self.used


def _side(
    xp: Namespace, start: Tensor, end: Tensor, bins: int, ratio: int, *, malformed: bool
) -> _Side:
    size = end - start
    if malformed:  # boxes with nothing in them are taken for boxes of one element
        size = xp.where(size < 1, xp.ones_like(size), size)
    width = size / bins
    if ratio > 0:
        used, most = xp.zeros_like(width) + ratio, ratio
    else:
        used = xp.ceil(width)
        used = xp.where(used < 0, xp.zeros_like(used), used)
        try:
            most = int(max(xp.to_host(used).max(initial=1), 1))
        except ValueError as failure:
            raise EngineError(
                "without a sampling_ratio the boxes have to be known beforehand"
            ) from failure
    count = xp.where(used < 1, xp.ones_like(used), used)
    return _Side(start=start, bin=width, bins=bins, used=used, count=count, most=most)


def _border_taps(xp: Namespace, position: Tensor, size: Any) -> Taps:
    """Both neighbours; up to one beyond the border the element there, nothing further out."""
    inside = (position >= -1) & (position <= size)
    position = xp.where(position < 0, xp.zeros_like(position), position)
    below = xp.floor(position)
    share = xp.where(below >= size - 1, xp.zeros_like(position), position - below)
    nothing = xp.zeros_like(share)
    return [
        (clipped(xp, below, size), xp.where(inside, 1 - share, nothing)),
        (clipped(xp, below + 1, size), xp.where(inside, share, nothing)),
    ]


def _sample(
    xp: Namespace,
    columns: Tensor,
    first: Tensor,
    width: Any,
    sides: tuple[tuple[Taps, Tensor], tuple[Taps, Tensor]],
    mode: str,
) -> Tensor:
    """One sample of every bin of every box: [C, R, bins, bins]."""
    (rows, has_row), (columns_, has_column) = sides
    result = None
    for row, by_row in rows:
        for column, by_column in columns_:
            index = first + xp.expand_dims(row, axis=2) * width + xp.expand_dims(column, axis=1)
            weight = xp.expand_dims(by_row, axis=2) * xp.expand_dims(by_column, axis=1)
            value = picked(xp, columns, index) * weight
            result = value if result is None else _met(xp, result, value, mode)
    has = xp.reshape(has_row & has_column, (1, -1, 1, 1))
    return xp.where(has, result, xp.zeros_like(result) + (0.0 if mode == "avg" else -np.inf))


def _met(xp: Namespace, one: Tensor, other: Tensor, mode: str) -> Tensor:
    return one + other if mode == "avg" else xp.where(other > one, other, one)


def _rounded(xp: Namespace, x: Tensor) -> Tensor:
    """The nearest whole number; halves away from zero, as C rounds."""
    return xp.where(x < 0, xp.ceil(x - 0.5), xp.floor(x + 0.5))


def _greatest(xp: Namespace, x: Tensor, start: Tensor, end: Tensor, bins: int) -> Tensor:
    """The greatest element of each bin between ``start`` and ``end`` on the last axis of ``x``.

    Bins overlap where they end between elements; one outside of the axis holds minus infinity.
    """
    size = end - start + 1
    width = xp.where(size < 1, xp.ones_like(size), size) / bins
    places = xp.cast(xp.positions(x.shape[-1]), xp.dtype_of(x))
    found = []
    for step in range(bins):
        low = xp.reshape(xp.floor(step * width) + start, (-1, 1))
        high = xp.reshape(xp.ceil((step + 1) * width) + start, (-1, 1))
        inside = ((places >= low) & (places < high))[:, None, None, :]
        held = xp.where(inside, x, xp.zeros_like(x) - np.inf)
        found.append(xp.max(held, axis=-1))
    return xp.stack(found, axis=-1)
