"""Nodes that compute on sequences what they would compute on images one row high.

A sequence is ``[batch, channels, length]``, its image ``[batch, channels, 1, length]``.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import constant_of
from lepton_ai.graph.matching.linear_layer import constant_shape, layer_of, new_weight

#: Where the row is among an image's axes.
ROW: Final = 2
RANK: Final = 3
#: One value in, one value out, whatever the axes mean.
UNARY: Final = frozenset(
    {
        "Abs",
        "Celu",
        "Clip",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Relu",
        "Selu",
        "Sigmoid",
        "Sign",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Tanh",
        "ThresholdedRelu",
    }
)
#: They treat the batch's and the channels' axes alone.
PER_CHANNEL: Final = frozenset(
    {"BatchNormalization", "GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization"}
)
BROADCAST: Final = frozenset({"Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum"})
POOLS: Final = frozenset({"AveragePool", "MaxPool"})


def sequences_of(node: ir.Node) -> list[ir.Value] | None:
    """The values that ``node`` must get as images to give one; ``None`` if it cannot."""
    if node.domain != "" or len(node.outputs) != 1 or not node.inputs:
        return None
    if node.op_type == "Conv":
        layer = layer_of(node)
        able = layer is not None and len(layer.shape) == RANK
    elif node.op_type == "Pad":
        able = all(constant_shape(value) is not None for value in node.inputs[1:] if value)
        able = able and len(node.inputs) > 1
    elif node.op_type == "Concat" or node.op_type in BROADCAST:
        return _all_sequences(node)
    else:
        able = node.op_type in UNARY or node.op_type in PER_CHANNEL or node.op_type in POOLS
    value = node.inputs[0]
    return [value] if able and value is not None and _is_sequence(value) else None


def _all_sequences(node: ir.Node) -> list[ir.Value] | None:
    """Every input that varies, if each is a sequence and the rest are constants."""
    varying = []
    for value in node.inputs:
        shape = constant_shape(value)
        if shape is not None and len(shape) <= RANK:
            continue
        if value is None or not _is_sequence(value):
            return None
        varying.append(value)
    return varying or None


def _is_sequence(value: ir.Value) -> bool:
    """Whether ``value`` is one of the floats that the kernels for images take."""
    known = value.shape is not None and len(value.shape) == RANK
    return known and value.dtype == ir.DataType.FLOAT


def make_flat(node: ir.Node) -> None:
    """Let ``node`` compute on images, which its varying inputs are already or will be."""
    change = CHANGES.get(node.op_type)
    if change is not None:
        change(node)
    elif node.op_type in BROADCAST:
        _flatten_constants(node)


def image_shape(shape: ir.Shape | None) -> ir.Shape | None:
    """The shape of a sequence with the row put in."""
    return None if shape is None else ir.Shape([*shape[:ROW], 1, *shape[ROW:]])


def _flatten_constants(node: ir.Node) -> None:
    for index, value in enumerate(node.inputs):
        shape = constant_shape(value)
        if value is None or shape is None or len(shape) < 2:
            continue  # numbers, and vectors along the last axis, stay that
        values = constant_of(value)
        if values is not None:
            row = np.expand_dims(values, -2)
            node.replace_input_with(index, new_weight(node, str(value.name), row))


def _flatten_concat(node: ir.Node) -> None:
    axis = node.attributes.get_int("axis", 0) % RANK
    node.attributes.add(ir.AttrInt64("axis", axis + (axis >= ROW)))
    _flatten_constants(node)


def _flatten_window(node: ir.Node) -> None:
    """Kernels, strides and gaps are one high; nothing is put above or below."""
    for name in ("kernel_shape", "strides", "dilations"):
        if name in node.attributes:
            sizes = node.attributes.get_ints(name, ())
            node.attributes.add(ir.AttrInt64s(name, [1, *sizes]))
    if "pads" in node.attributes:
        begin, end = node.attributes.get_ints("pads", (0, 0))
        node.attributes.add(ir.AttrInt64s("pads", [0, begin, 0, end]))


def _flatten_conv(node: ir.Node) -> None:
    _flatten_window(node)
    weight = node.inputs[1]
    values = constant_of(weight)
    if weight is not None and values is not None:
        row = np.expand_dims(values, -2)
        node.replace_input_with(1, new_weight(node, str(weight.name), row))


def _flatten_pad(node: ir.Node) -> None:
    sizes = constant_of(node.inputs[1])
    axes = constant_of(node.inputs[3]) if len(node.inputs) > 3 else None
    if sizes is None:
        return
    if axes is not None:
        moved = np.array([axis + (axis >= ROW) for axis in axes % RANK], dtype=np.int64)
        node.replace_input_with(3, new_weight(node, f"{node.outputs[0].name}_axes", moved))
        return
    begin, end = sizes[:RANK].tolist(), sizes[RANK:].tolist()
    flat = [*begin[:ROW], 0, *begin[ROW:], *end[:ROW], 0, *end[ROW:]]
    pads = new_weight(node, f"{node.outputs[0].name}_pads", np.array(flat, dtype=np.int64))
    node.replace_input_with(1, pads)


CHANGES: Final[dict[str, Callable[[ir.Node], None]]] = {
    "AveragePool": _flatten_window,
    "Concat": _flatten_concat,
    "Conv": _flatten_conv,
    "MaxPool": _flatten_window,
    "Pad": _flatten_pad,
}
