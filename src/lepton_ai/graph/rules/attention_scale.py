"""Scalar factors around a matrix product, as one."""

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.graph.matching.linear_layer import narrowed
from lepton_ai.graph.matching.products import factor_of, only_reader, same_rank
from lepton_ai.graph.matching.rewiring import remove_dead, stand_for
from lepton_ai.graph.rule import Ledger, Rule

FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE})
#: Between a projection and the product of its heads there are not more moving nodes than this.
MOST_MOVES = 4


class AttentionScale(Rule):
    """``(a q)(b k)^T c`` is ``(a b c q) k^T``: at ``q`` a scale can go into its projection."""

    name = "attention-scale"
    requires = (
        "a matrix product has scalar factors at two of its two operands and its result, or at its "
        "result alone where the first operand is a projection by constant weights"
    )
    ensures = "there is one factor, at the first operand"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Gather the factors around every matrix product."""
        for graph in model.graphs():
            for node in graph:
                if node.op_type == "MatMul" and node.domain == "":
                    _gather(graph, node, ledger)


def _gather(graph: ir.Graph, product: ir.Node, ledger: Ledger) -> None:
    left, right = product.inputs
    if left is None or right is None or left.dtype not in FLOATS:
        return
    sides = [_factor(side.producer(), product) for side in (left, right)]
    after = _factor(only_reader(product.outputs[0]), None, product.outputs[0])
    found = [one for one in (*sides, after) if one is not None]
    alone = after is not None and len(found) == 1 and _is_projection(left)
    if len(found) < 2 and not alone:
        return
    nodes = [*(node for node, _, _ in found), product]
    number = float(np.prod([factor for _, factor, _ in found]))
    if narrowed(np.array(number), left.dtype) is None:
        ledger.miss(nodes, f"their product does not fit {left.dtype}")
        return
    why = (
        f"{len(found)} scalar factors become one" if len(found) > 1 else "scales its query instead"
    )
    if not ledger.fire(str(product.outputs[0].name), nodes, why):
        return
    for index, side in enumerate(sides):
        if side is not None:
            product.replace_input_with(index, side[2])
    if after is not None:
        stand_for(product.outputs[0], after[0].outputs[0])
    first = product.inputs[0]
    if first is None or first.dtype is None:
        raise ValueError(f"{product.name!r} lost its operand")
    weight = add_weight(graph, f"{first.name}_scale", np.array(number, first.dtype.numpy()))
    scale = ir.node("Mul", [first, weight])
    scale.outputs[0].type, scale.outputs[0].shape = first.type, first.shape
    graph.insert_before(product, scale)
    product.replace_input_with(0, scale.outputs[0])
    remove_dead(*(node for node, _, _ in found))


def _factor(
    node: ir.Node | None, reader: ir.Node | None, of: ir.Value | None = None
) -> tuple[ir.Node, float, ir.Value] | None:
    """The factor by which ``node`` scales ``of`` (or anything), for ``reader`` alone."""
    found = factor_of(node)
    if node is None or found is None:
        return None
    number, other = found
    if constant_of(other, 1) is not None or (of is not None and other is not of):
        return None
    if reader is not None and only_reader(node.outputs[0]) is not reader:
        return None
    return (node, number, other) if same_rank(other, node.outputs[0]) else None


def _is_projection(value: ir.Value) -> bool:
    """Whether constant weights compute ``value``, but for moving it about."""
    for _ in range(MOST_MOVES):
        node = value.producer()
        if node is None or node.inputs[0] is None:
            return False
        if node.op_type in ("MatMul", "Gemm"):
            weight = node.inputs[1]
            return weight is not None and weight.is_initializer() and not weight.is_graph_input()
        if node.op_type == "Add":
            left, right = node.inputs
            biased = right is not None and right.is_initializer()
            value = node.inputs[0] if biased or left is None else right or node.inputs[0]
        elif node.op_type in ("Reshape", "Transpose"):
            value = node.inputs[0]
        else:
            return False
    return False
