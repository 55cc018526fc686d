"""HardSwish written out, as the one operator of the standard."""

from collections.abc import Sequence

import onnx_ir as ir

from lepton_ai.graph.building import replace
from lepton_ai.graph.matching.products import (
    Product,
    near,
    only_reader,
    product_of,
    same_rank,
    scalar_of,
    sum_of,
)
from lepton_ai.graph.matching.written_out import WrittenOut
from lepton_ai.graph.rule import Ledger

#: HardSigmoid's own defaults.
ALPHA, BETA = 0.2, 0.5
#: ``x``, the clipped sum and one sixth are multiplied by at most this many nodes.
MOST_PRODUCTS = 3


class HardSwish(WrittenOut):
    """Howard et al., "Searching for MobileNetV3", 2019: ``x * min(max(x + 3, 0), 6) / 6``."""

    name = "hard-swish"
    requires = (
        "x * hard_sigmoid(x), or x * clip(x + 3, 0, 6) / 6, is written out in float32 in a graph "
        "of opset 14 or later, and nothing else reads the steps"
    )
    ensures = "one HardSwish computes it"
    since = 14
    roots = frozenset({"Clip", "HardSigmoid"})

    def fuse_at(self, graph: ir.Graph, root: ir.Node, ledger: Ledger) -> None:
        """Fuse the HardSwish whose gate is ``root``."""
        _fuse(root, ledger)


def _fuse(gate: ir.Node, ledger: Ledger) -> None:
    x, number, before = _gate(gate)
    top: ir.Node | None = gate
    for _ in range(MOST_PRODUCTS if x is not None else 0):
        top = None if top is None else only_reader(top.outputs[0])
        if top is None or top.op_type not in ("Mul", "Div"):
            return
        product = product_of(top.outputs[0])
        if x is not None and product.is_of(number, x, gate.outputs[0]):
            _replace(x, [*before, gate], product, ledger)
            return


def _replace(x: ir.Value, gate: Sequence[ir.Node], product: Product, ledger: Ledger) -> None:
    nodes = [*gate, *product.nodes]
    out = nodes[-1].outputs[0]
    if x.dtype != ir.DataType.FLOAT:
        ledger.miss(nodes, f"engines have no HardSwish for {x.dtype}")
    elif not same_rank(x, out):
        ledger.miss(nodes, "the shape is not known, and a constant may add an axis")
    elif ledger.fire(str(out.name), nodes, "is HardSwish, which is one operator"):
        replace(nodes, [ir.node("HardSwish", [x])], nodes[-1])


def _gate(node: ir.Node) -> tuple[ir.Value | None, float, tuple[ir.Node, ...]]:
    """``x``, what its product with the gate must still be multiplied by, and nodes between."""
    if node.op_type == "HardSigmoid":
        alpha = node.attributes.get_float("alpha", ALPHA)
        beta = node.attributes.get_float("beta", BETA)
        fits = near(alpha, 1 / 6) and near(beta, 0.5)
        return (node.inputs[0] if fits else None), 1.0, ()
    low, high = (_bound(node, index, name) for index, name in ((1, "min"), (2, "max")))
    read = node.inputs[0]
    if low != 0.0 or not near(high, 6.0) or read is None or only_reader(read) is not node:
        return None, 0.0, ()
    plus = read.producer()
    total = sum_of(plus)
    if plus is None or total is None or not near(total[0], 3.0):
        return None, 0.0, ()
    return total[1], 1 / 6, (plus,)


def _bound(clip: ir.Node, index: int, name: str) -> float | None:
    """A bound of a Clip: an input, or before opset 11 an attribute."""
    if name in clip.attributes:
        return clip.attributes[name].as_float()
    return scalar_of(clip.inputs[index]) if index < len(clip.inputs) else None
