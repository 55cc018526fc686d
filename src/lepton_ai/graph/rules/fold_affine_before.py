"""What is multiplied and added before a layer, put into the layer's weight and bias.

The onnxscript rewriter does so for one scalar Mul and Add before an unpadded Conv only; this takes
scales per channel, normalisations, products, and values that several layers read.
"""

from dataclasses import dataclass

import onnx_ir as ir

from lepton_ai.graph.matching.affine import Affine, read_affine, set_addend
from lepton_ai.graph.matching.linear_layer import LinearLayer, layer_of, narrowed, readers_of
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.model.signature import Array


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """What one layer holds afterwards; ``addition`` is where a product's bias is."""

    layer: LinearLayer
    weight: Array | None
    bias: Array | None
    addition: Affine | None


class FoldAffineBefore(Rule):
    """Scales of inputs, and normalisations that a layer follows, cost a pass over memory each."""

    name = "fold-affine-before"
    requires = (
        "a BatchNormalization, or a Mul, Div, Add or Sub by a constant per input channel, is read"
        " only by Conv, ConvTranspose, Gemm or MatMul with constant weights, whose padding sees"
        " nothing added"
    )
    ensures = "the layers' weights and biases hold what was multiplied and added before them"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Fold every affine step into the layers that follow it, the last step first."""
        for graph in model.graphs():
            for node in reversed(tuple(graph)):
                affine = read_affine(node)
                if affine is not None and not node.outputs[0].is_graph_output():
                    _fold_forward(affine, ledger)


def _fold_forward(affine: Affine, ledger: Ledger) -> None:
    out = affine.node.outputs[0]
    readers = readers_of(out)
    layers = [layer_of(reader) if _reads_once(reader, out) else None for reader in readers]
    if not any(layers):
        return
    nodes = [affine.node, *readers]
    folds: list[_Fold] = []
    for reader, layer in zip(readers, layers, strict=True):
        fold: _Fold | str = _fault(reader, layer, affine)
        if not fold and layer is not None:
            fold = _folded(layer, affine)
        if isinstance(fold, str):
            ledger.miss(nodes, fold)
            return
        folds.append(fold)
    names = " and ".join(sorted({reader.op_type for reader in readers}))
    why = (
        f"its constants fit into the {names} that alone {'reads' if len(folds) == 1 else 'read'} it"
    )
    if not ledger.fire(str(out.name), nodes, why):
        return
    for fold in folds:
        _write(fold)
    ir.convenience.replace_all_uses_with(out, affine.source)
    if affine.node.graph is not None:
        affine.node.graph.remove(affine.node, safe=True)


def _reads_once(reader: ir.Node, value: ir.Value) -> bool:
    """Whether ``value`` is what ``reader`` multiplies, and not its bias besides."""
    return [index for index, given in enumerate(reader.inputs) if given is value] == [0]


def _fault(reader: ir.Node, layer: LinearLayer | None, affine: Affine) -> str:
    """Why ``reader`` cannot take the step in; empty where it can."""
    if layer is None or reader.graph is not affine.node.graph:
        return f"{reader.op_type} reads it as well, and has no constant weight to fold it into"
    if affine.axis is not None and (
        affine.axis != layer.input_axis() or affine.scale.size != layer.inputs
    ):
        return f"it does not go along the input channels of {reader.op_type}"
    if _may_widen(affine):
        return "it may widen a single channel to many"
    if affine.shifts and reader.op_type == "ConvTranspose":
        return "a transposed convolution adds up fewer terms at the border"
    if affine.shifts and reader.op_type == "Conv" and _pads(reader):
        return "the padding's zeros come after what is added, and would change"
    return layer.copy_fault() if affine.scales else ""


def _may_widen(affine: Affine) -> bool:
    """Whether a constant with more channels than what it is applied to may stretch that."""
    if affine.axis is None or affine.node.op_type == "BatchNormalization":
        return False
    shape = affine.source.shape
    return shape is None or shape[affine.axis] != affine.scale.size


def _pads(convolution: ir.Node) -> bool:
    automatic = convolution.attributes.get_string("auto_pad", "NOTSET")
    return automatic not in ("NOTSET", "VALID") or any(convolution.attributes.get_ints("pads", ()))


def _folded(layer: LinearLayer, affine: Affine) -> _Fold | str:
    dtype = layer.weight.dtype
    weight = narrowed(layer.scaled_inputs(affine.scale), dtype) if affine.scales else None
    if affine.scales and weight is None:
        return f"the folded weights do not fit {dtype}"
    if not affine.shifts:
        return _Fold(layer=layer, weight=weight, bias=None, addition=None)
    addition = None if layer.takes_bias else _bias_after(layer)
    if not layer.takes_bias and addition is None:
        return "a product without a bias has no place for what is added before it"
    old = layer.bias_values() if addition is None else addition.shift
    if old is None:
        return f"the bias of {layer.node.op_type} is not one constant per output channel"
    bias = narrowed(old + layer.product_with(affine.shift), dtype)
    if bias is None:
        return f"the folded bias does not fit {dtype}"
    return _Fold(layer=layer, weight=weight, bias=bias, addition=addition)


def _bias_after(layer: LinearLayer) -> Affine | None:
    """The addition of a bias that alone reads a product."""
    out = layer.node.outputs[0]
    readers = readers_of(out)
    if len(readers) != 1 or out.is_graph_output() or readers[0].graph is not layer.node.graph:
        return None
    addition = read_affine(readers[0])
    if addition is None or readers[0].op_type != "Add":
        return None
    along = addition.axis == layer.output_axis() and addition.shift.size == layer.outputs
    return addition if along else None


def _write(fold: _Fold) -> None:
    if fold.weight is not None:
        fold.layer.set_weight(fold.weight)
    if fold.bias is None:
        return
    if fold.addition is not None:
        set_addend(fold.addition, fold.bias)
    else:
        fold.layer.set_bias(fold.bias)
