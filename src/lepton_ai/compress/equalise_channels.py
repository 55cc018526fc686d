"""Channels of one tensor brought to like ranges, by moving factors from layer to layer.

In int8 all channels of an activation share one range, and where some are a hundred times the others
nothing is left for these. Between two layers with constant weights, through what is homogeneous of
degree one (ReLU, pooling), a factor per channel can be taken from the second layer and given to the
first: cross-layer equalisation (Nagel et al. 2019, arXiv:1906.04721). The factor is that of
SmoothQuant (Xiao et al. 2022, arXiv:2211.10438) with alpha = 1/2: as much of a channel's spread is
left to the activation, measured on calibration calls, as goes into the weights that read it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from lepton_ai.compress.running import answers
from lepton_ai.graph.matching.affine import Affine, read_affine, set_addend
from lepton_ai.graph.matching.linear_layer import LinearLayer, layer_of, narrowed, readers_of
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.model.signature import Array, Arrays

#: For f in these, f(c x) = c f(x) where c > 0, element by element or over a channel's elements.
ELEMENTWISE = frozenset({"Identity", "LeakyRelu", "Relu"})
POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
#: Factors closer together than this are not worth another graph.
LEAST_SPREAD = 4.0
#: From this opset on ReduceMax takes its axes as an input.
AXES_ARE_INPUT = 18
#: Factors further apart than this would move weights to where floats are coarse: left alone.
MOST_SPREAD = 1e8


@dataclass(frozen=True, kw_only=True)
class _Span:
    """A layer, the additions after it, and the layers that alone read what comes of it.

    ``values`` are what the readers multiply: the same channels as the layer's outputs.
    """

    layer: LinearLayer
    additions: tuple[Affine, ...]
    readers: tuple[LinearLayer, ...]
    values: tuple[ir.Value, ...]


class EqualiseChannels(Rule):
    """Let no channel lose its steps to another's range."""

    name = "equalise-channels"
    requires = (
        "only Conv, Gemm and MatMul with constant weights read what a layer computes, through ReLUs"
        " and pooling, and its channels' ranges on calibration calls are far apart"
    )
    ensures = "each channel's range is divided between the activation and the weights that read it"

    def __init__(self, calls: Sequence[Arrays]) -> None:
        self._calls = calls

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Equalise after every layer of the main graph, from the first to the last."""
        spans = [span for node in model.graph if (span := _span_after(node)) is not None]
        ranges = _ranges(model, spans, self._calls)
        for place in spans:
            span = _span_after(place.layer.node)  # what was equalised before changed its weights
            if span is not None:
                _equalise(span, ranges, ledger)


def _equalise(span: _Span, ranges: dict[str, Array], ledger: Ledger) -> None:
    largest = np.max([ranges[str(value.name)] for value in span.values], axis=0)
    factor = _factors(largest, span.readers)
    node = span.layer.node
    if factor is None:
        return
    changed = _changed(span, factor)
    nodes = [node, *(reader.node for reader in span.readers)]
    if changed is None:
        ledger.miss(nodes, "a weight or bias cannot be scaled")
        return
    why = "the ranges of its channels are far apart"
    if not ledger.fire(str(node.outputs[0].name), nodes, why):
        return
    weight, bias, shifts, readers = changed
    span.layer.set_weight(weight)
    if bias is not None:
        span.layer.set_bias(bias)
    for addition, shift in zip(span.additions, shifts, strict=True):
        set_addend(addition, shift)
    for reader, values in zip(span.readers, readers, strict=True):
        reader.set_weight(values)


def _factors(largest: Array, readers: Sequence[LinearLayer]) -> Array | None:
    """What to divide each channel by; nothing where that would change little."""
    weights = np.max([np.abs(reader.matrices()).max(axis=(1, 3)) for reader in readers], axis=0)
    lives = (largest > 0) & (weights.reshape(-1) > 0) & np.isfinite(largest)
    if lives.sum() < 2:
        return None
    wanted = np.sqrt(largest[lives] / weights.reshape(-1)[lives])
    wanted = wanted / np.exp(np.log(wanted).mean())
    if not LEAST_SPREAD <= wanted.max() / wanted.min() <= MOST_SPREAD:
        return None
    factor = np.ones(len(largest))
    factor[lives] = wanted
    return factor


def _changed(
    span: _Span, factor: Array
) -> tuple[Array, Array | None, list[Array], list[Array]] | None:
    """The layer's weight and bias, what is added after it, and its readers' weights."""
    layer, dtype = span.layer, span.layer.weight.dtype
    weight = narrowed(layer.scaled_outputs(1 / factor), dtype)
    old = layer.bias_values() if layer.bias is not None else None
    bias = None if old is None else narrowed(old / factor, dtype)
    shifts = [narrowed(addition.shift / factor, dtype) for addition in span.additions]
    readers = [narrowed(reader.scaled_inputs(factor), dtype) for reader in span.readers]
    if weight is None or (layer.bias is not None and bias is None):
        return None
    whole = [each for each in (*shifts, *readers) if each is not None]
    if len(whole) < len(shifts) + len(readers):
        return None
    return weight, bias, whole[: len(shifts)], whole[len(shifts) :]


def _span_after(node: ir.Node) -> _Span | None:
    layer = layer_of(node)
    axis = None if layer is None else layer.output_axis()
    if layer is None or axis is None or layer.copy_fault() or layer.node.op_type == "ConvTranspose":
        return None
    additions: list[Affine] = []
    readers: list[LinearLayer] = []
    values: list[ir.Value] = []
    for found in _through(node.outputs[0], axis, layer):
        if found is None:
            return None
        if isinstance(found, Affine):
            additions.append(found)
        else:
            readers.append(found)
            values.append(found.node.inputs[0] or node.outputs[0])
    if not readers:
        return None
    return _Span(
        layer=layer,
        additions=tuple(additions),
        readers=tuple(readers),
        values=tuple(dict.fromkeys(values)),
    )


def _through(
    value: ir.Value, axis: int, layer: LinearLayer
) -> Iterator[LinearLayer | Affine | None]:
    """The layers that read ``value`` and what is added on the way; ``None`` for any other end."""
    if value.is_graph_output() or value.shape is None:
        yield None
        return
    for reader in readers_of(value):
        if reader.graph is not layer.node.graph:
            yield None
        elif after := _layer_reading(reader, value, axis, layer):
            yield after
        elif _keeps_factors(reader, axis):
            yield from _through(reader.outputs[0], axis, layer)
        elif _flattens(reader, value, axis):
            yield from _through(reader.outputs[0], 1, layer)
        elif addition := _bias_along(reader, value, axis, layer):
            yield addition
            yield from _through(reader.outputs[0], axis, layer)
        else:
            yield None


def _layer_reading(
    reader: ir.Node, value: ir.Value, axis: int, layer: LinearLayer
) -> LinearLayer | None:
    found = layer_of(reader)
    if found is None or [i for i, given in enumerate(reader.inputs) if given is value] != [0]:
        return None
    fits = found.input_axis() == axis and found.inputs == layer.outputs and not found.copy_fault()
    return found if fits and reader.op_type != "ConvTranspose" else None


def _keeps_factors(reader: ir.Node, axis: int) -> bool:
    if reader.domain != "" or len(reader.outputs) != 1:
        return False
    # Pools go over all axes from the third on: the channels must not be among them.
    return reader.op_type in ELEMENTWISE or (reader.op_type in POOLS and axis == 1)


def _flattens(reader: ir.Node, value: ir.Value, axis: int) -> bool:
    """Whether ``reader`` only drops spatial axes of size one behind the channels."""
    if reader.op_type != "Flatten" or reader.domain != "" or axis != 1 or value.shape is None:
        return False
    return reader.attributes.get_int("axis", 1) == 1 and all(size == 1 for size in value.shape[2:])


def _bias_along(reader: ir.Node, value: ir.Value, axis: int, layer: LinearLayer) -> Affine | None:
    if reader.op_type != "Add":
        return None
    found = read_affine(reader)
    if found is None or found.source is not value or found.axis != axis:
        return None
    return found if found.shift.size == layer.outputs else None


def _ranges(model: ir.Model, spans: Sequence[_Span], calls: Sequence[Arrays]) -> dict[str, Array]:
    """The largest magnitude of each channel of the spans' values, on ``calls``."""
    axes = {
        str(value.name): reader.input_axis() or 0
        for span in spans
        for reader in span.readers
        for value in span.values
        if reader.node.inputs[0] is value
    }
    if not axes:
        return {}
    largest: dict[str, Array] = {}
    for outputs in answers(_watched(model, axes), calls):
        for name, output in zip(axes, outputs, strict=True):
            seen = output.astype(np.float64).reshape(-1)
            largest[name] = np.maximum(largest.get(name, 0.0), seen)
    return largest


def _watched(model: ir.Model, axes: dict[str, int]) -> onnx.ModelProto:
    """``model`` answering the largest magnitude of each channel of the values named in ``axes``."""
    watched = ir.to_proto(model)
    graph = watched.graph
    ranks = {
        value.name: len(value.shape)
        for node in model.graph
        for value in node.outputs
        if value.shape is not None
    }
    as_input = (model.opset_imports.get("") or 0) >= AXES_ARE_INPUT
    del graph.output[:]
    for name, axis in axes.items():
        others = [each for each in range(ranks[name]) if each != axis]
        size, most = f"{name}/size", f"{name}/most"
        graph.node.append(helper.make_node("Abs", [name], [size]))
        if as_input:
            axes_of = f"{name}/axes"
            graph.initializer.append(numpy_helper.from_array(np.array(others), axes_of))
            reduce = helper.make_node("ReduceMax", [size, axes_of], [most], keepdims=0)
        else:
            reduce = helper.make_node("ReduceMax", [size], [most], keepdims=0, axes=others)
        graph.node.append(reduce)
        graph.output.append(onnx.ValueInfoProto(name=most))
    return watched
