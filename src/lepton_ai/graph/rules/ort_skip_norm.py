"""A residual sum and the normalisation behind it, as ONNX Runtime's one operator for both.

ONNX Runtime merges the two by itself where nothing else reads the sum; in networks that normalise
before a layer, the next residual reads it, and only a graph that says so gets the kernel.
"""

import onnx_ir as ir

from lepton_ai.graph.matching.products import only_reader
from lepton_ai.graph.matching.rewiring import stand_for
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.values.size_inference import KnownSizes
from lepton_ai.graph.values.sizes import all_known

DOMAIN = "com.microsoft"
#: The operator with the sum in it, by the normalisation.
WITH_SUM = {
    "LayerNormalization": "SkipLayerNormalization",
    "RMSNormalization": "SkipSimplifiedLayerNormalization",
    "SimplifiedLayerNormalization": "SkipSimplifiedLayerNormalization",
}
#: Which of its outputs the sum is, and how many there are.
SUM, OUTPUTS = 3, 4


class OrtSkipNorm(Rule):
    """Two passes over the residual stream become one."""

    name = "ort-skip-norm"
    requires = (
        "a layer or RMS normalisation in float32, over the last axis, of the sum of two tensors of "
        "the same three sizes"
    )
    ensures = "one operator of ONNX Runtime adds and normalises, with a constant bias before it"
    engines = ("onnxruntime",)

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Merge every normalisation with the sum before it."""
        known = None
        for graph in model.graphs():
            for node in graph:
                if node.op_type not in WITH_SUM or node.domain != "" or not _is_plain(node):
                    continue
                add = _sum(node.inputs[0], node)
                if add is None:
                    continue
                known = known or KnownSizes(model)
                if _fuse(node, add, known, ledger):
                    model.opset_imports.setdefault(DOMAIN, 1)


def _fuse(node: ir.Node, add: ir.Node, known: KnownSizes, ledger: Ledger) -> bool:
    out, (left, right) = node.outputs[0], add.inputs
    shape = all_known(known.shape(left))
    width = (shape or (None,))[-1]
    if left is None or right is None or shape is None or known.shape(right) != shape:
        ledger.miss([add, node], "the two that are added are not known to be of the same sizes")
        return False
    if left is right:
        ledger.miss([add, node], "it adds a value to itself")
        return False
    if any(weight is not None and not _is_there(weight, add) for weight in node.inputs[1:]):
        ledger.miss([add, node], "its weights may be computed from the sum")
        return False
    if len(shape) != 3 or any(known.shape(w) != (width,) for w in node.inputs[1:] if w):
        ledger.miss([add, node], "it is not over the last of three axes, with a weight for each")
        return False
    bias = _bias(left, add, known, width) or _bias(right, add, known, width)
    nodes = [*([bias[0]] if bias else []), add, node]
    if not ledger.fire(str(out.name), nodes, "is a sum and its normalisation"):
        return False
    weights = list(node.inputs[1:])
    inputs = [left, right, *weights]
    if bias is not None:
        inputs = [bias[1], right if bias[0].outputs[0] is left else left, *weights]
        if node.op_type == "LayerNormalization" and len(weights) == 1:
            inputs.append(None)
        inputs.append(bias[2])
    _replace(node, add, inputs, bias[0] if bias else None)
    return True


def _replace(
    node: ir.Node, add: ir.Node, inputs: list[ir.Value | None], bias: ir.Node | None
) -> None:
    total = add.outputs[0]
    shared = only_reader(total) is not node
    fused = ir.node(
        WITH_SUM[node.op_type],
        inputs,
        {"epsilon": node.attributes.get_float("epsilon", 1e-5)},
        domain=DOMAIN,
        num_outputs=OUTPUTS if shared else 1,
    )
    if shared:
        fused.outputs[SUM].name, fused.outputs[SUM].type = f"{total.name}_", total.type
        fused.outputs[SUM].shape = total.shape
    fused.outputs[0].type, fused.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
    graph = node.graph
    if graph is None:
        raise ValueError(f"node {node.name!r} is in no graph")
    graph.insert_after(add, [fused])
    stand_for(fused.outputs[0], node.outputs[0])
    graph.remove(node, safe=True)
    if shared:
        stand_for(fused.outputs[SUM], total)
    graph.remove([add] if bias is None else [add, bias], safe=True)


def _is_plain(node: ir.Node) -> bool:
    """Whether ``node`` is over the last axis, in float32, and gives nothing but its result."""
    read = node.inputs[0]
    plain = node.attributes.get_int("axis", -1) == -1
    float32 = read is not None and read.dtype == ir.DataType.FLOAT
    alone = not any(v.uses() or v.is_graph_output() for v in node.outputs[1:])
    return plain and float32 and alone and node.attributes.get_int("stash_type", 1) == 1


def _is_there(value: ir.Value, at: ir.Node) -> bool:
    """Whether ``value`` does not hang on what ``at`` and the nodes after it compute."""
    made = value.producer()
    return made is None or made.graph is not at.graph or made.op_type == "Constant"


def _sum(value: ir.Value | None, reader: ir.Node) -> ir.Node | None:
    add = None if value is None else value.producer()
    if add is None or add.op_type != "Add" or add.domain != "" or add.graph is not reader.graph:
        return None
    return add


def _bias(
    value: ir.Value, add: ir.Node, known: KnownSizes, width: object
) -> tuple[ir.Node, ir.Value, ir.Value] | None:
    """The sum behind ``value`` with a weight of that width: its node, the rest, the weight."""
    made = _sum(value, add)
    if made is None or only_reader(value) is not add:
        return None
    for rest, weight in (tuple(made.inputs), tuple(reversed(made.inputs))):
        if rest is None or weight is None or not weight.is_initializer():
            continue
        if known.shape(weight) == (width,) and known.shape(rest) == known.shape(value):
            return (made, rest, weight)
    return None
