"""What is multiplied and added after a layer, put into the layer's weight and bias.

The onnxscript rewriter folds a BatchNormalization that follows a layer directly, and a scalar
Mul and Add around a Conv. Neither sees a shared weight, a scale per channel, or what stands between
a projection and its scale, so this goes its own way for all of them: back from the affine step,
through nodes that only move elements and through added biases, to the layer.
"""

import dataclasses
from dataclasses import dataclass

import onnx_ir as ir

from lepton_ai.graph.building import replace
from lepton_ai.graph.matching.affine import (
    Affine,
    addend,
    batch_norm_fault,
    read_affine,
    set_addend,
)
from lepton_ai.graph.matching.linear_layer import LinearLayer, layer_of, narrowed, readers_of
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.model.signature import Array

#: They move elements and compute nothing: multiplying before or after is the same.
MOVES = frozenset({"Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
#: All that may stand between.
PASSED = MOVES | {"Add", "MatMul"}
#: Between a projection and its scale stand a handful of nodes; a longer way is another pattern.
MOST_STEPS = 12


@dataclass(frozen=True, kw_only=True)
class _Way:
    """From an affine step back to a layer; ``biases`` are the additions passed, nearest first."""

    layer: LinearLayer
    biases: tuple[Affine, ...]


@dataclass(frozen=True, kw_only=True)
class _Folded:
    """What the layer and the additions on the way to it hold afterwards.

    ``left_over`` is what a product, which has no bias, leaves to an addition after it.
    """

    weight: Array | None
    bias: Array | None
    biases: tuple[Array, ...]
    left_over: Array | None


class FoldAffine(Rule):
    """BatchNormalization, layer scale and the scale of attention cost a pass over memory each."""

    name = "fold-affine"
    requires = (
        "a BatchNormalization, or a Mul, Div, Add or Sub by a constant per output channel, is the"
        " only reader of a Conv, ConvTranspose, Gemm or MatMul with a constant weight"
    )
    ensures = "the layer's weight and bias hold what was multiplied and added after it"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Fold every affine step into the layer that it follows."""
        for graph in model.graphs():
            for node in tuple(graph):
                affine = read_affine(node)
                if affine is not None:
                    _fold_back(affine, ledger)
                elif node.op_type == "BatchNormalization" and node.domain == "":
                    _note_batch_norm(node, ledger)


def _fold_back(affine: Affine, ledger: Ledger) -> None:
    way = _way_back(affine.source, affine.axis, affine, MOST_STEPS)
    if way is None:
        return
    nodes = [affine.node]
    if isinstance(way, str):
        ledger.miss(nodes, way)
        return
    nodes = [way.layer.node, *(bias.node for bias in way.biases), affine.node]
    becomes_bias = affine.shifts and not way.biases and not way.layer.takes_bias
    if becomes_bias and not affine.scales:
        return  # this addition is the product's bias already
    folded = _folded(affine, way, becomes_bias=becomes_bias)
    if isinstance(folded, str):
        ledger.miss(nodes, folded)
        return
    holds = [name for name, held in (("weight", affine.scales), ("bias", affine.shifts)) if held]
    why = f"its constants fit into the {way.layer.node.op_type}'s {' and '.join(holds)}"
    if not ledger.fire(str(affine.node.outputs[0].name), nodes, why):
        return
    _write(affine, way, folded)


def _way_back(value: ir.Value, axis: int | None, affine: Affine, steps: int) -> _Way | str | None:
    """The way from ``value``, whose channels are on ``axis``; a reason if there is no passing."""
    node = value.producer()
    if node is None or node.graph is not affine.node.graph or not steps:
        return None
    layer = layer_of(node)
    if layer is None and (node.domain != "" or node.op_type not in PASSED):
        return None
    shared = value.is_graph_output() or len(readers_of(value)) > 1
    if layer is not None:
        return (
            f"the answer of {node.op_type} is read elsewhere too"
            if shared
            else _at(layer, axis, affine)
        )
    if shared:
        return None
    if node.op_type == "MatMul" and axis is None and not affine.shifts:
        return _through_product(node, affine, steps)
    source = node.inputs[0] if node.inputs else None
    if node.op_type in MOVES and source is not None:
        known, before = _axis_before(node, axis)
        return _way_back(source, before, affine, steps - 1) if known else None
    bias = read_affine(node) if node.op_type == "Add" else None
    if bias is None or (axis is not None and bias.axis not in (None, axis)):
        return None
    if axis is not None and node.outputs[0].shape is None:
        return None
    way = _way_back(bias.source, axis, affine, steps - 1)
    if not isinstance(way, _Way):
        return way
    placed = dataclasses.replace(bias, axis=axis if bias.axis is None else bias.axis)
    return _Way(layer=way.layer, biases=(placed, *way.biases))


def _through_product(node: ir.Node, affine: Affine, steps: int) -> _Way | str | None:
    """A number times a product is the product of one side times that number."""
    reasons = None
    for side in node.inputs:
        way = None if side is None else _way_back(side, None, affine, steps - 1)
        if isinstance(way, _Way):
            return way
        reasons = reasons or way
    return reasons


def _at(layer: LinearLayer, axis: int | None, affine: Affine) -> _Way | str | None:
    if axis is not None and (axis != layer.output_axis() or affine.scale.size != layer.outputs):
        return None
    fault = layer.copy_fault() if affine.scales else ""
    return fault or _Way(layer=layer, biases=())


def _axis_before(node: ir.Node, axis: int | None) -> tuple[bool, int | None]:
    """Where the channels are before ``node`` moves them, and whether that is known."""
    if axis is None or node.op_type == "Identity":
        return True, axis
    order = node.attributes.get_ints("perm", ()) if node.op_type == "Transpose" else ()
    return (True, order[axis]) if axis < len(order) else (False, None)


def _folded(affine: Affine, way: _Way, *, becomes_bias: bool) -> _Folded | str:
    """The new constants, or why there are none."""
    layer, scale, shift = way.layer, affine.scale, affine.shift
    dtype = layer.weight.dtype
    weight = narrowed(layer.scaled_outputs(scale), dtype) if affine.scales else None
    fits = weight is not None or not affine.scales
    bias = None
    added = affine.shifts and not way.biases and not becomes_bias
    if layer.takes_bias and (added or (layer.bias is not None and affine.scales)):
        old = layer.bias_values()
        if old is None:
            return f"the bias of {layer.node.op_type} is not one constant per output channel"
        bias = narrowed(old * scale + (shift if added else 0.0), dtype)
        fits = fits and bias is not None
    biases = []
    for place, passed in enumerate(way.biases):
        values = narrowed(passed.shift * scale + (shift if place == 0 else 0.0), dtype)
        fits = fits and values is not None
        if values is not None:
            biases.append(values)
    left_over = narrowed(shift, dtype) if becomes_bias else None
    if not fits or (becomes_bias and left_over is None):
        return f"the folded weights do not fit {dtype}"
    return _Folded(weight=weight, bias=bias, biases=tuple(biases), left_over=left_over)


def _write(affine: Affine, way: _Way, folded: _Folded) -> None:
    if folded.weight is not None:
        way.layer.set_weight(folded.weight)
    if folded.bias is not None:
        way.layer.set_bias(folded.bias)
    for passed, values in zip(way.biases, folded.biases, strict=True):
        set_addend(passed, values)
    if folded.left_over is not None:
        bias = addend(affine, None, folded.left_over)
        replace([affine.node], [ir.node("Add", [affine.source, bias])], affine.node)
    else:
        _dissolve(affine)


def _dissolve(affine: Affine) -> None:
    """Take the step out; what it read takes its output's name and place."""
    node, source = affine.node, affine.source
    out, name = node.outputs[0], node.outputs[0].name
    if source.shape is None:
        source.shape = out.shape
    ir.convenience.replace_all_uses_with(out, source, replace_graph_outputs=True)
    if node.graph is not None:
        node.graph.remove(node, safe=True)
    source.name = name


def _note_batch_norm(node: ir.Node, ledger: Ledger) -> None:
    made = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    if made is not None and layer_of(made) is not None:
        ledger.miss([made, node], batch_norm_fault(node) or "its scale is not finite")
