"""Poolings whose one window takes in all there is, as the global poolings that they are.

Exporters write a global pooling as a window of fixed size, at times one larger than what it reads,
which some engines refuse. ONNX counts in an average what lies inside the padded input and nothing
beyond it, so a window may be as large as it likes: what it averages is what is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import onnx_ir as ir

from lepton_ai.graph.building import replace
from lepton_ai.graph.matching.linear_layer import FLOATS
from lepton_ai.graph.rule import Ledger, Rule

GLOBAL: Final = {"AveragePool": "GlobalAveragePool", "MaxPool": "GlobalMaxPool"}
#: A window of this size on every axis is likely meant for the whole input; smaller ones are not
#: worth a word where the input's size is not known.
LIKELY_GLOBAL = 7


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """A pooling along one axis."""

    size: int
    kernel: int
    stride: int
    begin: int
    end: int

    def covers_all(self) -> bool:
        """Whether the first window holds the whole axis."""
        return self.begin >= 0 and self.kernel - self.begin >= self.size

    def windows(self, *, round_up: bool) -> int:
        """How many windows there are; one that would begin in the padding after is none."""
        room = self.size + self.begin + self.end - self.kernel
        if not round_up:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        return count - ((count - 1) * self.stride >= self.size + self.begin)


class Pooling(Rule):
    """A window that takes in the whole input is a global pooling, which every engine has."""

    name = "pooling"
    requires = (
        "an AveragePool or MaxPool has one window, which holds every element of an input of known"
        " size and no padding that counts"
    )
    ensures = "a GlobalAveragePool or GlobalMaxPool pools"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Make a global pooling of every such node."""
        for graph in model.graphs():
            for node in tuple(graph):
                if node.op_type in GLOBAL and node.domain == "":
                    _globalize(node, ledger)


def _globalize(node: ir.Node, ledger: Ledger) -> None:
    kernel = node.attributes.get_ints("kernel_shape", ())
    sizes = _spatial_sizes(node.inputs[0], len(kernel))
    if sizes is None:
        if min(kernel, default=0) >= LIKELY_GLOBAL:
            ledger.miss([node], "the size of what it pools is not known")
        return
    axes = _axes(node, sizes, kernel)
    round_up = bool(node.attributes.get_int("ceil_mode", 0))
    if axes is None or not all(axis.covers_all() for axis in axes):
        return
    if any(axis.windows(round_up=round_up) != 1 for axis in axes):
        return
    fault = _fault(node, axes)
    if fault:
        ledger.miss([node], fault)
        return
    why = f"its window of {_by(kernel)} holds all {_by(sizes)} elements"
    if ledger.fire(str(node.outputs[0].name), [node], why):
        replace([node], [ir.node(GLOBAL[node.op_type], [node.inputs[0]])], node)


def _spatial_sizes(value: ir.Value | None, spatial: int) -> tuple[int, ...] | None:
    """What the batch's and the channels' axes leave of a shape, if all of that is known."""
    if value is None or value.shape is None or len(value.shape) != spatial + 2:
        return None
    sizes = tuple(size for size in value.shape[2:] if isinstance(size, int))
    return sizes if len(sizes) == spatial else None


def _axes(node: ir.Node, sizes: Sequence[int], kernel: Sequence[int]) -> list[_Axis] | None:
    count = len(kernel)
    if len(sizes) != count or 0 in sizes:
        return None
    strides = node.attributes.get_ints("strides", [1] * count)
    automatic = node.attributes.get_string("auto_pad", "NOTSET")
    pads = list(node.attributes.get_ints("pads", [0] * (2 * count)))
    if automatic == "VALID":
        pads = [0] * (2 * count)
    elif automatic != "NOTSET":
        pads = _same_pads(sizes, kernel, strides, upper=automatic == "SAME_UPPER")
    return [
        _Axis(
            size=sizes[axis],
            kernel=kernel[axis],
            stride=strides[axis],
            begin=pads[axis],
            end=pads[axis + count],
        )
        for axis in range(count)
    ]


def _same_pads(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], *, upper: bool
) -> list[int]:
    """Padding that leaves one window per stride, the odd element after (or before)."""
    totals = [
        max(0, (-(-size // stride) - 1) * stride + window - size)
        for size, window, stride in zip(sizes, kernel, strides, strict=True)
    ]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return [*less, *more] if upper else [*more, *less]


def _fault(node: ir.Node, axes: list[_Axis]) -> str:
    """Why a window over everything is no global pooling; empty where it is one."""
    source = node.inputs[0]
    if len(node.outputs) > 1:
        return "the places of the maxima are read"
    if source is None or source.dtype not in FLOATS:
        return "global poolings take floating point only"
    if any(step != 1 for step in node.attributes.get_ints("dilations", ())):
        return "its window has gaps"
    counts = node.attributes.get_int("count_include_pad", 0)
    if counts and any(axis.begin or axis.end for axis in axes):
        return "it counts its padding in the average"
    return ""


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
