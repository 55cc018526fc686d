"""What a value holds of an input or a size: at most ``scale * source + offset``, by source."""

from collections.abc import Callable, Iterable

import onnx_ir as ir

from lepton_ai.graph.building import constant_of

#: Shapes, indices and offsets are short; what is longer is a table.
MOST_ELEMENTS = 4096

Share = tuple[float, float]
#: The sources that a value holds: ``"input x"`` or ``"size n"``.
Shares = dict[str, Share]
Held = Callable[[ir.Value | None], Shares]


def largest(many: Iterable[Shares]) -> Shares:
    """What is held at most where one of ``many`` is held."""
    merged: Shares = {}
    for shares in many:
        for source, (scale, offset) in shares.items():
            held = merged.get(source, (scale, offset))
            merged[source] = (max(held[0], scale), max(held[1], offset))
    return merged


def _add(node: ir.Node, held: Held) -> Shares:
    """A sum with a constant moves a source; one of two sources is at most twice the larger."""
    left, right = held(node.inputs[0]), held(node.inputs[1])
    if left and right:
        return {source: (2 * a, 2 * b) for source, (a, b) in largest([left, right]).items()}
    by = _extreme(node.inputs[1 if left else 0], max, 0.0)
    return {source: (a, b + by) for source, (a, b) in (left or right).items()}


def _subtract(node: ir.Node, held: Held) -> Shares:
    by = _extreme(node.inputs[1], min, 0.0)
    return {source: (a, b - by) for source, (a, b) in held(node.inputs[0]).items()}


def _multiply(node: ir.Node, held: Held) -> Shares:
    left, right = held(node.inputs[0]), held(node.inputs[1])
    by = _extreme(node.inputs[1 if left else 0], max, 1.0)
    return {source: (a * by, b * by) for source, (a, b) in largest([left, right]).items()}


def _divide(node: ir.Node, held: Held) -> Shares:
    by = max(1.0, _extreme(node.inputs[1], min, 1.0))
    return {source: (a / by, b / by) for source, (a, b) in held(node.inputs[0]).items()}


def _range(node: ir.Node, held: Held) -> Shares:
    last = {source: (a, b - 1) for source, (a, b) in held(node.inputs[1]).items()}
    return largest([held(node.inputs[0]), last])


def _clip(node: ir.Node, held: Held) -> Shares:
    """What is cut at a largest value is inside what its author meant it for."""
    cut = len(node.inputs) > 2 and node.inputs[2] is not None
    return {} if cut else held(node.inputs[0])


ARITHMETIC: dict[str, Callable[[ir.Node, Held], Shares]] = {
    "Add": _add,
    "Clip": _clip,
    "Div": _divide,
    "Mul": _multiply,
    "Range": _range,
    "Sub": _subtract,
}


def _extreme(value: ir.Value | None, which: Callable[..., float], otherwise: float) -> float:
    """The largest or smallest element of a constant; ``otherwise`` if ``value`` is none."""
    constant = constant_of(value, MOST_ELEMENTS)
    if constant is None or constant.size == 0 or constant.dtype.kind not in "iuf":
        return otherwise
    return float(which(constant.reshape(-1)))
