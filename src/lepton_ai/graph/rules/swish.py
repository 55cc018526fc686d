"""Swish (SiLU) as ONNX Runtime's one-pass operator.

The standard ``Swish`` of opset 24 is no help: neither ONNX Runtime 1.32 nor OpenVINO 2026.4 has a
kernel for it, both expand it. OpenVINO merges the plain form by itself.
"""

import onnx_ir as ir

from lepton_ai.graph.building import replace
from lepton_ai.graph.matching.products import only_reader, product_of, same_rank
from lepton_ai.graph.rule import Ledger, Rule


class Swish(Rule):
    """Two passes over a tensor become one."""

    name = "swish"
    requires = "x * sigmoid(alpha * x) in float32 is written out, and nothing else reads the steps"
    ensures = "one QuickGelu of ONNX Runtime, which has alpha as an attribute, computes it"
    engines = ("onnxruntime",)

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Fuse every Swish."""
        for graph in model.graphs():
            for node in graph:
                if node.op_type == "Sigmoid" and node.domain == "":
                    _fuse(model, node, ledger)


def _fuse(model: ir.Model, gate: ir.Node, ledger: Ledger) -> None:
    top, read = only_reader(gate.outputs[0]), gate.inputs[0]
    if top is None or read is None or top.op_type != "Mul" or None in top.inputs:
        return
    x = next((value for value in top.inputs if value is not gate.outputs[0]), None)
    if x is None:
        return
    alpha, nodes = 1.0, [gate, top]
    if x is not read:
        argument = product_of(read)
        if not argument.is_of(argument.number, x) or only_reader(read) is not gate:
            return
        alpha, nodes = argument.number, [*argument.nodes, gate, top]
    if x.dtype != ir.DataType.FLOAT:
        ledger.miss(nodes, f"ONNX Runtime has no QuickGelu for {x.dtype}")
    elif not same_rank(x, top.outputs[0]):
        ledger.miss(nodes, "the shape is not known, and a constant may add an axis")
    elif ledger.fire(str(top.outputs[0].name), nodes, "is Swish, which is computed in one pass"):
        model.opset_imports.setdefault("com.microsoft", 1)
        new = ir.node("QuickGelu", [x], {"alpha": alpha}, domain="com.microsoft")
        replace(nodes, [new], top)
