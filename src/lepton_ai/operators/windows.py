"""Windows that slide over the spatial axes of an array, and what pads those axes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

Pads = list[tuple[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The geometry that a convolution and a pooling have in common, one number for each axis."""

    kernel: tuple[Any, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    @property
    def spans(self) -> tuple[Any, ...]:
        """How many elements lie from the first to the last one that a window covers."""
        both = zip(self.kernel, self.dilations, strict=True)
        return tuple((size - 1) * dilation + 1 for size, dilation in both)

    def pads(self, sizes: Sequence[Any], pads: Sequence[int] | None, auto_pad: str) -> Pads:
        """Before and after each axis, by the ``pads`` and ``auto_pad`` attributes."""
        axes = list(zip(sizes, self.spans, self.strides, strict=True))
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            totals = [_same(*axis) for axis in axes]
            halves = [(total // 2, total - total // 2) for total in totals]
            return halves if auto_pad == "SAME_UPPER" else [(b, a) for a, b in halves]
        if auto_pad == "VALID" or not pads:
            return [(0, 0)] * len(axes)
        return list(zip(pads[: len(axes)], pads[len(axes) :], strict=True))

    def trimmed(self, sizes: Sequence[Any], pads: Pads) -> "Windows":
        """Windows that are larger than a padded axis, cut down to it.

        With ``ceil_mode`` there is one such window; what it has beyond the axis is nothing.
        """
        axes = zip(sizes, self.kernel, self.spans, self.dilations, pads, strict=True)
        return replace(
            self,
            kernel=tuple(
                -(-(size + sum(pad)) // dilation) if span > size + sum(pad) else count
                for size, count, span, dilation, pad in axes
            ),
        )

    def stretched(self, sizes: Sequence[Any], pads: Pads) -> Pads:
        """The pads with which the last window of ``ceil_mode`` fits whole.

        A window that would start in the padding after the axis is left out.
        """
        axes = zip(sizes, self.spans, self.strides, pads, strict=True)
        return [(pad[0], _ceiled(size, span, stride, *pad)) for size, span, stride, pad in axes]


def windows(
    kernel: Sequence[Any], strides: Sequence[int] | None, dilations: Sequence[int] | None
) -> Windows:
    """The geometry of these attributes; strides and dilations left out are ones."""
    ones = (1,) * len(kernel)
    return Windows(
        kernel=tuple(kernel),
        strides=tuple(strides or ones),
        dilations=tuple(dilations or ones),
    )


def _same(size: Any, span: Any, stride: int) -> Any:
    """The padding with which there are as many windows as strides in the axis, rounded up."""
    if stride == 1:
        return span - 1
    total = (-(-size // stride) - 1) * stride + span - size
    # Only windows that leave gaps can do without; a symbolic size is not compared needlessly.
    return total if span >= stride else max(total, 0)


def _ceiled(size: Any, span: Any, stride: int, before: int, after: int) -> Any:
    count = -(-(size + before + after - span) // stride) + 1
    if (count - 1) * stride >= size + before:
        count -= 1
    return max((count - 1) * stride + span - size - before, 0)
