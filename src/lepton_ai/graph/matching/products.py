"""Products written out node by node, read as one: a number times factors, in whatever order.

``0.5 * (x * t)``, ``(0.5 * x) * t`` and ``x * t / 2`` are one product. Rules that look for a
formula look for the product, and need not know each way in which an exporter may have written it.
"""

import math
from dataclasses import dataclass

import onnx_ir as ir

from lepton_ai.graph.building import constant_of

#: A formula has a handful of factors; longer chains are not followed further.
MOST_NODES = 8
#: How far a constant in a file may be from the number that is meant: float32 rounds at ``6e-8``,
#: and people write five digits.
TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Product:
    """``number`` times all of ``factors``; ``nodes`` compute it, the last one its result."""

    number: float
    factors: tuple[ir.Value, ...]
    nodes: tuple[ir.Node, ...]

    def is_of(self, number: float, *factors: ir.Value) -> bool:
        """Whether this is ``number`` times exactly ``factors``, in any order."""
        given, wanted = sorted(map(id, self.factors)), sorted(map(id, factors))
        return given == wanted and near(self.number, number)


def product_of(value: ir.Value) -> Product:
    """``value`` as a product, followed through multiplications that nothing else reads."""
    number = 1.0
    factors: list[ir.Value] = []
    nodes: list[ir.Node] = []
    waiting = [value]
    while waiting:
        factor = waiting.pop()
        node = factor.producer()
        parts = None
        if node is not None and len(nodes) < MOST_NODES:
            inner = factor is value or (node.graph is nodes[0].graph and only_reader(factor))
            parts = _parts(node) if inner else None
        if node is None or parts is None:
            factors.append(factor)
        else:
            number *= parts[0]
            nodes.append(node)
            waiting.extend(parts[1])
    return Product(number=number, factors=tuple(factors), nodes=tuple(reversed(nodes)))


def sum_of(node: ir.Node | None) -> tuple[float, ir.Value] | None:
    """The number and the other operand of ``node``, if that adds a number to something."""
    if node is None or node.op_type not in ("Add", "Sub") or node.domain != "":
        return None
    left, right = node.inputs
    number, other = scalar_of(right), left
    if number is not None and node.op_type == "Sub":
        number = -number
    if number is None and node.op_type == "Add":
        number, other = scalar_of(left), right
    return None if number is None or other is None else (number, other)


def scalar_of(value: ir.Value | None) -> float | None:
    """The one number that ``value`` holds in every call, of any rank; ``None`` if it varies."""
    array = constant_of(value, most_elements=1)
    if array is None or array.size != 1 or array.dtype.kind not in "fiu":
        return None
    return float(array.reshape(()))


def near(number: float | None, wanted: float) -> bool:
    """Whether ``number`` is ``wanted``, up to how constants are rounded in files."""
    return number is not None and math.isclose(number, wanted, rel_tol=TOLERANCE)


def only_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads ``value``, in its own graph; ``None`` if anything else needs it."""
    uses = value.uses()
    # Nodes read a value twice at most, or three times; counting stops there.
    if len(uses) > MOST_NODES or value.is_graph_output():
        return None
    readers = {reader for reader, _ in uses}
    if len(readers) != 1:
        return None
    (reader,) = readers
    made = value.producer()
    return reader if made is None or reader.graph is made.graph else None


def same_rank(one: ir.Value, other: ir.Value) -> bool:
    """Whether both have the same rank, and it is known: no constant's shape has added an axis."""
    known = one.shape is not None and other.shape is not None
    return known and len(one.shape or ()) == len(other.shape or ())


def _parts(node: ir.Node) -> tuple[float, list[ir.Value]] | None:
    """The number and the factors that ``node`` multiplies; ``None`` if it is no product."""
    if node.domain != "" or any(value is None for value in node.inputs):
        return None
    values = [value for value in node.inputs if value is not None]
    numbers = [scalar_of(value) for value in values]
    if node.op_type == "Mul":
        number = math.prod(one for one in numbers if one is not None)
        return number, [v for v, one in zip(values, numbers, strict=True) if one is None]
    if node.op_type == "Div" and numbers[1]:
        return 1.0 / numbers[1], values[:1]
    if node.op_type == "Pow" and numbers[1] in (2.0, 3.0):
        return 1.0, values[:1] * int(numbers[1])
    if node.op_type == "Neg":
        return -1.0, values
    return None


def factor_of(node: ir.Node | None) -> tuple[float, ir.Value] | None:
    """The number that ``node`` multiplies by (or divides by), and what it multiplies."""
    if node is None or node.domain != "" or node.op_type not in ("Mul", "Div"):
        return None
    left, right = node.inputs
    number, other = scalar_of(right), left
    if number is None and node.op_type == "Mul":
        number, other = scalar_of(left), right
    if number is None or other is None:
        return None
    if node.op_type == "Mul":
        return number, other
    return (1.0 / number, other) if number else None
