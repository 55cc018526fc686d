"""Arrays read between their elements: weighted means of the neighbours of a point."""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from lepton_ai.operators.namespace import Namespace, Tensor

#: For one axis: the indices of the neighbours of each point, and the weights that they have.
Taps = Sequence[tuple[Tensor, Tensor]]

INT64 = np.dtype(np.int64)


def sampled(xp: Namespace, x: Tensor, points: Sequence[Taps]) -> Tensor:
    """``x`` [N, C, *spatial] at points [N, L], given by their taps on each axis: [N, C, L]."""
    batch, channels, *sizes = x.shape
    columns = xp.reshape(
        xp.permute_dims(x, (1, 0, *range(2, x.ndim))), (channels, batch * prod(sizes))
    )
    first = xp.expand_dims(xp.positions(batch), axis=1) * prod(sizes)
    total = None
    for corner in product(*points):
        index, weight = first, None
        for axis, (place, share) in enumerate(corner):
            index = index + place * prod(sizes[axis + 1 :])
            weight = share if weight is None else weight * share
        values = picked(xp, columns, index) * weight
        total = values if total is None else total + values
    return xp.permute_dims(total, (1, 0, 2))


def picked(xp: Namespace, columns: Tensor, index: Tensor) -> Tensor:
    """The columns of [C, P] that ``index``, of any shape, names: [C, *index.shape]."""
    flat = xp.take(columns, xp.reshape(index, (prod(index.shape),)), axis=1)
    return xp.reshape(flat, (columns.shape[0], *index.shape))


def linear_taps(xp: Namespace, position: Tensor, size: Any) -> Taps:
    """Both neighbours by their nearness; those outside of the axis count for nothing."""
    below = xp.floor(position)
    share = position - below
    return [_within(xp, below, 1 - share, size), _within(xp, below + 1, share, size)]


def clipped(xp: Namespace, index: Tensor, size: Any) -> Tensor:
    """Whole numbers, possibly as floats, as indices into an axis of ``size`` elements."""
    index = xp.where(index < 0, xp.zeros_like(index), index)
    return xp.cast(xp.where(index > size - 1, xp.zeros_like(index) + (size - 1), index), INT64)


def _within(xp: Namespace, index: Tensor, weight: Tensor, size: Any) -> tuple[Tensor, Tensor]:
    inside = (index >= 0) & (index <= size - 1)
    return clipped(xp, index, size), xp.where(inside, weight, xp.zeros_like(weight))


def cubic_weights(xp: Namespace, share: Tensor, a: float) -> list[Tensor]:
    """The weights of the four neighbours of a point that lies ``share`` beyond the second.

    Keys, "Cubic convolution interpolation for digital image processing", 1981, equation 4.
    """
    return [cubic(xp, abs(share - place), a) for place in (-1, 0, 1, 2)]


def cubic(xp: Namespace, distance: Tensor, a: float) -> Tensor:
    """Keys' kernel at ``distance``, which is never negative."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * a * distance - 4 * a
    zero = xp.zeros_like(distance)
    return xp.where(distance <= 1, near, xp.where(distance < 2, far, zero))
