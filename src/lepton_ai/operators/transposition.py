"""Transposed convolutions as ordinary ones, which every array library has."""

from collections.abc import Sequence
from math import prod

from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.windows import Pads, Windows


def transposed(
    xp: Namespace,
    x: Tensor,
    weight: Tensor,
    shape: Windows,
    margins: Pads,
    extra: Sequence[int],
    groups: int,
) -> Tensor:
    """The convolution of ``x`` [N, C, *spatial] transposed, without its ``margins``.

    ``weight`` is [C, M / groups, *kernel]; ``extra`` elements are added after each axis.

    Output ``stride * q + r`` reads only every ``stride``-th element of the kernel, from ``r`` on:
    each such phase is a convolution with a kernel of its own, and all are computed as one, with
    ``prod(strides)`` times the channels, that are interleaved afterwards.
    """
    rank = len(shape.strides)
    steps = [-(-span // stride) for span, stride in zip(shape.spans, shape.strides, strict=True)]
    kernels = _phases(xp, weight, shape, steps, groups)
    y = xp.convolve(
        x,
        kernels,
        strides=(1,) * rank,
        pads=[(step - 1, step - 1) for step in steps],
        dilations=(1,) * rank,
        groups=groups,
    )
    outputs, counts = weight.shape[1] * groups, y.shape[2:]
    y = xp.reshape(y, (y.shape[0], outputs, *shape.strides, *counts))
    order = [axis for i in range(rank) for axis in (2 + rank + i, 2 + i)]
    y = xp.permute_dims(y, (0, 1, *order))
    interleaved = [n * stride for n, stride in zip(counts, shape.strides, strict=True)]
    y = xp.reshape(y, (y.shape[0], outputs, *interleaved))
    axes = zip(margins, steps, shape.strides, shape.spans, extra, strict=True)
    cuts = [
        (before, step * stride - span - more + after)
        for (before, after), step, stride, span, more in axes
    ]
    return cropped(xp, y, cuts)


def _phases(
    xp: Namespace, weight: Tensor, shape: Windows, steps: Sequence[int], groups: int
) -> Tensor:
    """The kernels [C, M / groups, *kernel] as [M * phases, C / groups, *steps], reversed."""
    rank = len(steps)
    inputs, outputs = weight.shape[:2]
    weight = spread_out(xp, weight, 2, shape.dilations)
    missing = [
        step * stride - span
        for step, stride, span in zip(steps, shape.strides, shape.spans, strict=True)
    ]
    weight = xp.pad(weight, [(0, 0), (0, 0), *[(0, more) for more in missing]], 0)
    split = [size for both in zip(steps, shape.strides, strict=True) for size in both]
    weight = xp.reshape(weight, (groups, inputs // groups, outputs, *split))
    order = (0, 2, *[4 + 2 * i for i in range(rank)], 1, *[3 + 2 * i for i in range(rank)])
    weight = xp.reshape(
        xp.permute_dims(weight, order),
        (groups * outputs * prod(shape.strides), inputs // groups, *steps),
    )
    return xp.flip(weight, axis=tuple(range(2, 2 + rank)))


def spread_out(xp: Namespace, x: Tensor, first: int, factors: Sequence[int]) -> Tensor:
    """Zeros between the elements along the axes from ``first`` on, ``factor - 1`` in each gap."""
    for axis, factor in enumerate(factors, start=first):
        if factor == 1:
            continue
        shape = x.shape
        gaps = [(0, 0)] * (axis + 1) + [(0, factor - 1)] + [(0, 0)] * (x.ndim - axis - 1)
        x = xp.pad(xp.expand_dims(x, axis=axis + 1), gaps, 0)
        x = xp.reshape(x, (*shape[:axis], shape[axis] * factor, *shape[axis + 1 :]))
        x = x[(*[slice(None)] * axis, slice(None, 1 - factor))]
    return x


def cropped(xp: Namespace, y: Tensor, cuts: Pads) -> Tensor:
    """``y`` [N, C, *spatial] without the margins; negative ones are filled up with zeros."""
    if any(cut < 0 for both in cuts for cut in both):
        y = xp.pad(y, [(0, 0), (0, 0), *[(max(-a, 0), max(-b, 0)) for a, b in cuts]], 0)
    kept = [slice(max(before, 0), -after if after > 0 else None) for before, after in cuts]
    return y[(slice(None), slice(None), *kept)]
