"""Between which numbers a value lies in every call, as far as the graph tells.

Interval arithmetic (Moore, 1966), for masks: how they are built is written in the graph, and from
it follows whether they can be minus infinity, or can be anything but zero.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import constant_of

#: Lowest and highest; either may be infinite only where a number may be so large.
Interval = tuple[float, float]
#: Masks are not built from more than this many nodes one behind the other.
DEEPEST = 64
#: Operators whose output holds elements of their first input and nothing else.
MOVING = frozenset(
    {
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Reshape",
        "Slice",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
#: What layers compute. From finite inputs it is finite; how large is assumed, see ``ACTIVATION``.
LAYERS = frozenset(
    {
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "Einsum",
        "Erf",
        "Gelu",
        "Gemm",
        "GlobalAveragePool",
        "HardSigmoid",
        "HardSwish",
        "InstanceNormalization",
        "LayerNormalization",
        "MatMul",
        "MaxPool",
        "RMSNormalization",
        "Relu",
        "Sigmoid",
        "Softmax",
        "Tanh",
    }
)
#: The largest activation that is reckoned with, of each dtype: far more than networks compute, and
#: little enough to be lost in rounding beside the lowest number of the dtype.
ACTIVATION = {ir.DataType.FLOAT: 1e30, ir.DataType.DOUBLE: 1e30, ir.DataType.FLOAT16: 3e4}
#: Beyond this a number of the dtype is rounded to infinity.
LARGEST = {
    ir.DataType.FLOAT: 3.4028235e38 * (1 + 2**-25),
    ir.DataType.DOUBLE: float(np.finfo(np.float64).max),
    ir.DataType.FLOAT16: 65519.0,
}
WHOLE = frozenset({ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64})
NATURAL = frozenset({ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64})
TRUE, FALSE, EITHER = (1.0, 1.0), (0.0, 0.0), (0.0, 1.0)


class Bounds:
    """The intervals of a model's values, each worked out once; ``None`` where nothing is known."""

    def __init__(self) -> None:
        self._held: dict[ir.Value, Interval | None] = {}

    def of(self, value: ir.Value | None, depth: int = 0) -> Interval | None:
        """Between which numbers all elements of ``value`` lie; never NaN nor infinite.

        ``None`` where they may be, or where nothing is known.
        """
        if value is None or depth > DEEPEST:
            return None
        if value not in self._held:
            self._held[value] = self._finite(value, self._work_out(value, depth + 1))
        return self._held[value]

    def _work_out(self, value: ir.Value, depth: int) -> Interval | None:
        held = _constant(value)
        node = value.producer()
        if held is not None or node is None or node.domain != "" or value.is_graph_input():
            return held
        if node.op_type in MOVING:
            return self.of(node.inputs[0], depth)
        if node.op_type in LAYERS:
            most = ACTIVATION.get(value.dtype or ir.DataType.UNDEFINED)
            return None if most is None else (-most, most)
        if node.op_type in SPECIAL:
            return SPECIAL[node.op_type](self, node, depth)
        combine = ARITHMETIC.get(node.op_type)
        if combine is None:
            return None
        read = [self.of(one, depth) for one in node.inputs]
        known = [one for one in read if one is not None]
        return combine(*known) if len(known) == len(read) else None

    def _finite(self, value: ir.Value, found: Interval | None) -> Interval | None:
        if found is None or any(math.isnan(bound) for bound in found):
            return None
        if value.dtype in WHOLE or value.dtype in NATURAL:
            # What is divided or cast is cut off towards zero.
            found = (_cut_off(found[0]), _cut_off(found[1]))
        if value.dtype in NATURAL and found[0] < 0:
            return None  # it wraps around
        most = LARGEST.get(value.dtype or ir.DataType.UNDEFINED, math.inf)
        return found if -most <= found[0] and found[1] <= most else None

    def _where(self, node: ir.Node, depth: int) -> Interval | None:
        condition, yes, no = (self.of(value, depth) for value in node.inputs)
        if condition in (TRUE, FALSE):
            return yes if condition == TRUE else no
        return None if yes is None or no is None else _either(yes, no)

    def _cast(self, node: ir.Node, depth: int) -> Interval | None:
        read = node.inputs[0]
        held = self.of(read, depth)
        if read is not None and read.dtype == ir.DataType.BOOL:
            return held or EITHER
        if node.outputs[0].dtype == ir.DataType.BOOL and held != FALSE:
            return TRUE if held is not None and (held[0] > 0 or held[1] < 0) else EITHER
        return held

    def _range(self, node: ir.Node, depth: int) -> Interval | None:
        start, step = self.of(node.inputs[0], depth), self.of(node.inputs[2], depth)
        if start is None or step is None or step[0] <= 0:
            return None
        return (start[0], math.inf)

    def _filled(self, node: ir.Node, _: int) -> Interval | None:
        value = node.attributes.get("value")
        return FALSE if value is None else _interval(value.as_tensor().numpy())

    def _concat(self, node: ir.Node, depth: int) -> Interval | None:
        read = [self.of(value, depth) for value in node.inputs]
        known = [one for one in read if one is not None]
        return _either(*known) if known and len(known) == len(read) else None

    def _and(self, node: ir.Node, depth: int) -> Interval | None:
        left, right = (self.of(value, depth) or EITHER for value in node.inputs)
        return (min(left[0], right[0]), min(left[1], right[1]))

    def _at_least(self, node: ir.Node, depth: int) -> Interval | None:
        left, right = (self.of(value, depth) for value in node.inputs)
        return TRUE if left is not None and right is not None and left[0] >= right[1] else EITHER


Special = Callable[[Bounds, ir.Node, int], Interval | None]
SPECIAL: Mapping[str, Special] = {
    "And": Bounds._and,
    "Cast": Bounds._cast,
    "Concat": Bounds._concat,
    "ConstantOfShape": Bounds._filled,
    "GreaterOrEqual": Bounds._at_least,
    "Range": Bounds._range,
    "Where": Bounds._where,
}


def _cut_off(bound: float) -> float:
    return float(math.trunc(bound)) if math.isfinite(bound) else bound


def _either(*many: Interval) -> Interval:
    return (min(low for low, _ in many), max(high for _, high in many))


def _times(a: Interval, b: Interval) -> Interval:
    every = [x * y for x in a for y in b]
    return (math.nan, math.nan) if any(map(math.isnan, every)) else (min(every), max(every))


def _over(a: Interval, b: Interval) -> Interval:
    return (math.nan, math.nan) if b[0] <= 0 <= b[1] else _times(a, (1 / b[1], 1 / b[0]))


ARITHMETIC: Mapping[str, Callable[..., Interval]] = {
    "Add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "Div": _over,
    "Mul": _times,
    "Neg": lambda a: (-a[1], -a[0]),
    "Sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
}


def _constant(value: ir.Value) -> Interval | None:
    held = constant_of(value)
    return None if held is None else _interval(held)


def _interval(held: np.ndarray) -> Interval | None:
    if held.size == 0 or held.dtype.kind not in "biuf":
        return None
    low, high = float(held.min()), float(held.max())
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
