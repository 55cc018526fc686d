"""Relu, Clip, Max and Min with numbers in a row: each keeps values between two bounds."""

import math
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import constant_of
from lepton_ai.graph.matching.chains.chain import Chain, become, sole_reader, weight
from lepton_ai.graph.values.operands import is_standard, operand

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16)
#: From here on, Clip takes more dtypes than half and single precision.
DOUBLES_CLIPPED = 12


@dataclass(frozen=True)
class Bounds:
    """``min(max(x, low), high)``."""

    low: float = -math.inf
    high: float = math.inf

    def of(self, number: float) -> float:
        """``number``, kept between the bounds."""
        return min(max(number, self.low), self.high)

    def after(self, first: "Bounds") -> "Bounds":
        """The bounds of both, ``first`` first: where the ends of the line come to lie."""
        return Bounds(self.of(first.of(-math.inf)), self.of(first.of(math.inf)))


def merge(chain: Chain) -> bool:
    """Keep between the bounds of both at once."""
    first, second = bounds_of(chain.before, chain), bounds_of(chain.node, chain)
    if first is None or second is None:
        return False
    both = second.after(first)
    if both == first:
        return chain.hand_on(chain.before.outputs[0], "what comes before keeps tighter bounds")
    if sole_reader(chain.before.outputs[0]) is not chain.node:
        return chain.miss("what lies between is read elsewhere")
    if chain.opset < DOUBLES_CLIPPED and chain.answer.dtype == ir.DataType.DOUBLE:
        return chain.miss(f"engines have no Clip for doubles before opset {DOUBLES_CLIPPED}")
    why = f"both keep values between bounds: together {both.low:g} and {both.high:g}"
    if chain.opset < 11 or not chain.fire(why):
        return False
    source = chain.source
    if both != second:
        _keep(chain.node, both)
    chain.read(source)
    return True


def bounds_of(node: ir.Node, chain: Chain) -> Bounds | None:
    """The bounds that ``node`` keeps its input between, if that is what it does."""
    value = operand(node, 0)
    if value is None or value.dtype not in FLOATS or len(node.outputs) != 1:
        return None
    if is_standard(node, "Relu"):
        return Bounds(low=0.0)
    if is_standard(node, "Clip"):
        return _clip_bounds(node, value.dtype) if chain.opset >= 11 else None
    if not is_standard(node, "Max", "Min") or len(node.inputs) != 2:
        return None
    bound = _number(node.inputs[1], chain.known.rank(value) or 0)
    if bound is None:
        return None
    return Bounds(low=bound) if node.op_type == "Max" else Bounds(high=bound)


def _clip_bounds(node: ir.Node, dtype: ir.DataType) -> Bounds | None:
    # Without a bound, Clip keeps to the largest finite number: infinity does not pass.
    largest = float(ml_dtypes.finfo(dtype.numpy()).max)  # type: ignore[no-untyped-call]
    ends = [-largest, largest]
    for index in (1, 2):
        given = operand(node, index)
        if given is not None:
            number = _number(given, 0)
            if number is None:
                return None
            ends[index - 1] = number
    # Of crossing bounds the upper one holds.
    return Bounds(min(ends), ends[1])


def _number(value: ir.Value | None, most_axes: int) -> float | None:
    held = constant_of(value, 1)
    if held is None or held.size != 1 or held.ndim > most_axes:
        return None
    number = float(held.reshape(-1)[0])
    return None if math.isnan(number) else number


def _keep(node: ir.Node, bounds: Bounds) -> None:
    source = node.inputs[0]
    dtype = node.outputs[0].dtype
    if dtype is None:
        raise ValueError(f"the answer of node {node.name!r} has no dtype")

    def number(kind: str, bound: float) -> ir.Value:
        return weight(node, kind, np.array(bound).astype(dtype.numpy()))

    if math.isinf(bounds.high) and bounds.low == 0:
        become(node, "Relu", [source])
    elif math.isinf(bounds.high):
        become(node, "Max", [source, number("low", bounds.low)])
    elif math.isinf(bounds.low):
        become(node, "Min", [source, number("high", bounds.high)])
    else:
        become(node, "Clip", [source, number("low", bounds.low), number("high", bounds.high)])
