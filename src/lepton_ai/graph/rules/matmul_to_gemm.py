"""A product of matrices and the addition of its bias as one node.

The onnxscript rewriter's rule of this kind looks at the ranks of the factors alone; an addend with
more axes, or one that makes the product wider, is added by Add and refused by Gemm. So the addend
is looked at here too.
"""

import onnx_ir as ir

from lepton_ai.graph.building import replace
from lepton_ai.graph.matching.linear_layer import LinearLayer, constant_shape, layer_of
from lepton_ai.graph.rule import Ledger, Rule

#: From here on a Gemm's bias is broadcast.
LEAST_OPSET = 7


class MatmulToGemm(Rule):
    """Engines have one kernel for a product with its bias."""

    name = "matmul-to-gemm"
    requires = (
        "a constant vector is added to the product, read by nothing else, of a value with two axes"
        " and a constant weight"
    )
    ensures = "one Gemm computes both"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Make a Gemm of every product and its bias."""
        if model.opset_imports.get("", 1) < LEAST_OPSET:
            return
        for graph in model.graphs():
            for node in tuple(graph):
                if node.op_type == "Add" and node.domain == "" and len(node.inputs) == 2:
                    _merge(node, ledger)


def _merge(addition: ir.Node, ledger: Ledger) -> None:
    for index in (0, 1):
        value, bias = addition.inputs[index], addition.inputs[1 - index]
        made = None if value is None else value.producer()
        layer = layer_of(made) if made is not None and made.op_type == "MatMul" else None
        if layer is None or value is None or constant_shape(bias) is None:
            continue
        fault = _fault(layer, value, bias, addition)
        if fault:
            ledger.miss([layer.node, addition], fault)
        elif fault is not None and ledger.fire(
            str(addition.outputs[0].name), [layer.node, addition], "a Gemm adds the bias itself"
        ):
            gemm = ir.node("Gemm", [layer.node.inputs[0], layer.weight, bias])
            replace([layer.node, addition], [gemm], addition)
        return


def _fault(
    layer: LinearLayer, product: ir.Value, bias: ir.Value | None, addition: ir.Node
) -> str | None:
    """Why the two stay apart; empty where they need not, ``None`` where it is another pattern."""
    given = layer.node.inputs[0]
    if given is None or given.shape is None:
        return "how many axes the product has is not known"
    if len(given.shape) != 2:
        return None
    if (
        len(product.uses()) > 1
        or product.is_graph_output()
        or layer.node.graph is not addition.graph
    ):
        return "the product is read without its bias too"
    shape = constant_shape(bias) or ()
    if (
        len(shape) > 2
        or shape[:-1] not in ((), (1,))
        or (shape and shape[-1] not in (1, layer.outputs))
    ):
        return "what is added is not one number per column"
    return ""
