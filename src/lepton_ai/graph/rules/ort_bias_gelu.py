"""A bias and the GELU behind it, as ONNX Runtime's one operator for both."""

import onnx_ir as ir

from lepton_ai.graph.building import replace
from lepton_ai.graph.matching.products import only_reader
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.size_inference import KnownSizes

DOMAIN = "com.microsoft"


class OrtBiasGelu(Rule):
    """Two passes over the widest tensor of a transformer's layer become one."""

    name = "ort-bias-gelu"
    requires = "an exact Gelu in float32 of a sum with a weight of just the last axis's size"
    ensures = "one BiasGelu of ONNX Runtime adds and applies it"
    engines = ("onnxruntime",)

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Merge every Gelu with the bias before it."""
        known = None
        for graph in model.graphs():
            for node in graph:
                if node.op_type != "Gelu" or node.domain not in ("", DOMAIN):
                    continue
                read = node.inputs[0]
                add = None if read is None else read.producer()
                if read is None or add is None or add.op_type != "Add" or add.domain != "":
                    continue
                if only_reader(read) is node:
                    known = known or KnownSizes(model)
                    if _fuse(node, add, known, ledger):
                        model.opset_imports.setdefault(DOMAIN, 1)


def _fuse(node: ir.Node, add: ir.Node, known: KnownSizes, ledger: Ledger) -> bool:
    total = add.outputs[0]
    if node.attributes.get_string("approximate", "none") != "none":
        ledger.miss([add, node], "ONNX Runtime's kernel is of the exact Gelu, not of that by tanh")
        return False
    if total.dtype != ir.DataType.FLOAT:
        ledger.miss([add, node], f"ONNX Runtime has no kernel of it for {total.dtype}")
        return False
    for value, bias in (tuple(add.inputs), tuple(reversed(add.inputs))):
        shape, row = known.shape(value), known.shape(bias)
        if not shape or row is None or len(row) != 1 or not isinstance(row[0], int):
            continue
        if shape[-1] != row[0] or bias is None or not bias.is_initializer():
            continue
        if not ledger.fire(str(node.outputs[0].name), [add, node], "adds a bias, then is GELU"):
            return False
        replace([add, node], [ir.node("BiasGelu", [value, bias], domain=DOMAIN)], node)
        return True
    ledger.miss([add, node], "what is added is no weight of the last axis's size")
    return False
