"""GELU written out, as the one operator that engines have a kernel for."""

import math
from collections.abc import Sequence

import onnx_ir as ir

from lepton_ai.graph.building import replace
from lepton_ai.graph.matching.products import near, only_reader, product_of, same_rank, sum_of
from lepton_ai.graph.matching.written_out import WrittenOut
from lepton_ai.graph.rule import Ledger

#: ``x``, the gate and one half are multiplied by at most this many nodes.
MOST_PRODUCTS = 3
#: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016: the approximation by tanh.
CUBIC = 0.044715
#: ``x``, if the formula is that of GELU, and the nodes that compute it.
Argument = tuple[ir.Value | None, tuple[ir.Node, ...]]
INNER = {"Erf": 1 / math.sqrt(2), "Tanh": math.sqrt(2 / math.pi)}


class Gelu(WrittenOut):
    """Five to eight passes over a tensor become one."""

    name = "gelu"
    requires = (
        "0.5 * x * (1 + erf(x / sqrt(2))), or its approximation by tanh, is written out in float32 "
        "in a graph of opset 20 or later, and nothing else reads the steps"
    )
    ensures = "one Gelu computes it"
    since = 20
    roots = frozenset(INNER)

    def fuse_at(self, graph: ir.Graph, root: ir.Node, ledger: Ledger) -> None:
        """Fuse the GELU whose inner function is ``root``."""
        _fuse(root, ledger)


def _fuse(inner: ir.Node, ledger: Ledger) -> None:
    x, before = _argument(inner)
    plus = only_reader(inner.outputs[0])
    total = sum_of(plus)
    if x is None or plus is None or total is None or not near(total[0], 1.0):
        return
    top: ir.Node | None = plus
    for _ in range(MOST_PRODUCTS):
        top = None if top is None else only_reader(top.outputs[0])
        if top is None or top.op_type not in ("Mul", "Div"):
            break
        product = product_of(top.outputs[0])
        if product.is_of(0.5, x, plus.outputs[0]):
            _replace(inner, x, [*before, inner, plus, *product.nodes], ledger)
            return
    ledger.miss([inner], "looks like GELU, but its steps multiply otherwise or are read elsewhere")


def _replace(inner: ir.Node, x: ir.Value, nodes: Sequence[ir.Node], ledger: Ledger) -> None:
    out = nodes[-1].outputs[0]
    if x.dtype != ir.DataType.FLOAT:
        ledger.miss(nodes, f"engines have no Gelu for {x.dtype}")
    elif not same_rank(x, out):
        ledger.miss(nodes, "the shape is not known, and a constant may add an axis")
    elif ledger.fire(str(out.name), nodes, "is GELU, which engines compute in one pass"):
        attributes = {"approximate": "tanh"} if inner.op_type == "Tanh" else {}
        replace(nodes, [ir.node("Gelu", [x], attributes)], nodes[-1])


def _argument(inner: ir.Node) -> Argument:
    """``x``, and the nodes between it and ``inner``; ``None`` where the formula is another."""
    read = inner.inputs[0]
    if read is None or only_reader(read) is not inner:
        return None, ()
    product = product_of(read)
    if not near(product.number, INNER[inner.op_type]):
        return None, ()
    if inner.op_type == "Erf":
        return (product.factors[0] if len(product.factors) == 1 else None), product.nodes
    for total in product.factors:
        rest = [factor for factor in product.factors if factor is not total]
        x, nodes = _cubic(total, rest)
        if x is not None and only_reader(total):
            return x, (*nodes, *product.nodes)
    return None, ()


def _cubic(total: ir.Value, rest: Sequence[ir.Value]) -> Argument:
    """``x`` if ``total`` is ``x + c x^3``, or ``1 + c x^2`` with ``rest`` being ``x``."""
    node = total.producer()
    if node is None or node.op_type != "Add" or None in node.inputs:
        return None, ()
    one = sum_of(node)
    if one is not None and len(rest) == 1 and near(one[0], 1.0):
        product = product_of(one[1])
        found = product.is_of(CUBIC, rest[0], rest[0]) and only_reader(one[1]) is node
        return (rest[0], (*product.nodes, node)) if found else (None, ())
    for x, cube in (node.inputs, reversed(node.inputs)):
        if x is not None and cube is not None and not rest and only_reader(cube) is node:
            product = product_of(cube)
            if product.is_of(CUBIC, x, x, x):
                return x, (*product.nodes, node)
    return None, ()
