"""The taps of an ordinary convolution that computes all phases of a transposed one.

Where blocks begin is free, from 0 to ``s - 1`` pixels before the first that is kept. For a kernel
of 4, a stride of 2 and a padding of 1, blocks at the first pixel take 3 x 3 taps, a quarter or more
of them zero; blocks that begin one pixel earlier take 2 x 2 with none wasted, and a Slice drops the
outermost pixels. The beginning that needs least arithmetic is taken.
"""

from dataclasses import dataclass

import numpy as np

from lepton_ai.model.signature import Array


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """How blocks of ``stride`` output pixels along one axis come from input pixels.

    The convolution has ``taps`` taps and pads by ``begin`` and ``end``; ``crop_begin`` and
    ``crop_end`` of the pixels that it makes are dropped. ``sources[place, tap]`` is the index in
    the transposed kernel, ``-1`` for none. ``extra`` is the number of blocks less the input's size.
    """

    taps: int
    begin: int
    end: int
    crop_begin: int
    crop_end: int
    sources: Array
    extra: int


def blocks_at(
    kernel: int, stride: int, pad_begin: int, pad_end: int, output_padding: int, start: int
) -> Blocks | None:
    """Blocks that begin ``start`` pixels before the first output pixel; ``None`` if there are none.

    Output pixel ``j`` is the sum over taps ``k`` and inputs ``i`` with
    ``stride * i + k = j + pad_begin``. Pixel ``place`` of block ``b`` is
    ``j = stride * b + place - start``; with ``place - start + pad_begin = stride * ahead + phase``
    it takes tap ``phase + stride * t`` of input ``b + ahead - t``.
    """
    offsets: list[dict[int, int]] = []
    for place in range(stride):
        ahead, phase = divmod(place - start + pad_begin, stride)
        offsets.append({ahead - t: tap for t, tap in enumerate(range(phase, kernel, stride))})
    reached = [offset for by_offset in offsets for offset in by_offset]
    first, last = min(reached), max(reached)
    # The output has ``stride * (size - 1) + beyond`` pixels.
    beyond = output_padding + kernel - pad_begin - pad_end
    extra = -(-(start + beyond) // stride) - 1
    begin, end = -first, extra + last
    if begin < 0 or end < 0:
        return None
    sources = np.full((stride, last - first + 1), -1)
    for place, by_offset in enumerate(offsets):
        for offset, tap in by_offset.items():
            sources[place, offset - first] = tap
    return Blocks(
        taps=last - first + 1,
        begin=begin,
        end=end,
        crop_begin=start,
        crop_end=stride * (extra + 1) - start - beyond,
        sources=sources,
        extra=extra,
    )
