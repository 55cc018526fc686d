"""Layers that multiply by a constant weight, seen alike: convolutions and matrix products.

Every such weight is a stack of matrices, ``[groups, out / groups, in / groups, taps]``, in some
order of axes; scaling what goes in or comes out is scaling rows or columns of those.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.model.signature import Array

FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
)
#: A weight that others read as well is copied up to this size; a larger copy would cost more
#: memory traffic than the pass over activations that folding spares.
MOST_BYTES_COPIED = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class LinearLayer:
    """A Conv, ConvTranspose, Gemm or MatMul whose weight is constant.

    ``shape`` is the weight's; ``outputs`` and ``inputs`` count channels. ``out_first`` tells
    whether the weight's first axis is that of the outputs. A MatMul has no place for a bias.
    """

    node: ir.Node
    weight: ir.Value
    shape: tuple[int, ...]
    groups: int
    outputs: int
    inputs: int
    out_first: bool

    @property
    def bias(self) -> ir.Value | None:
        """What is added to the product; ``None`` where nothing is."""
        return self.node.inputs[2] if self.takes_bias and len(self.node.inputs) > 2 else None

    @property
    def takes_bias(self) -> bool:
        """Whether the operator has an input for a bias."""
        return self.node.op_type != "MatMul"

    def output_axis(self) -> int | None:
        """The axis of the output's channels, counted from the front; ``None`` if not known."""
        if self.node.op_type != "MatMul":
            return 1
        shape = self.node.outputs[0].shape
        return None if shape is None else len(shape) - 1

    def input_axis(self) -> int | None:
        """The axis of the input's channels, counted from the front; ``None`` if not known."""
        if self.node.op_type == "Gemm":
            return 0 if self.node.attributes.get_int("transA", 0) else 1
        if self.node.op_type != "MatMul":
            return 1
        value = self.node.inputs[0]
        return None if value is None or value.shape is None else len(value.shape) - 1

    def matrices(self) -> Array:
        """The weight as ``[groups, out / groups, in / groups, taps]``, in double precision."""
        values = constant_of(self.weight)
        if values is None:
            raise ValueError(f"weight {self.weight.name!r} is not constant")
        first, second = values.shape[:2]
        stacked = values.astype(np.float64).reshape(self.groups, first // self.groups, second, -1)
        return stacked if self.out_first else stacked.swapaxes(1, 2)

    def weight_of(self, matrices: Array) -> Array:
        """The inverse of :meth:`matrices`: the weight in the operator's own order of axes."""
        ordered = matrices if self.out_first else matrices.swapaxes(1, 2)
        return ordered.reshape(self.shape)

    def scaled_outputs(self, scale: Array) -> Array:
        """The weight that gives every output channel (or all of them) times ``scale``."""
        by_channel = np.broadcast_to(scale, (self.outputs,)).reshape(self.groups, -1, 1, 1)
        return self.weight_of(self.matrices() * by_channel)

    def scaled_inputs(self, scale: Array) -> Array:
        """The weight that takes every input channel (or all of them) times ``scale``."""
        by_channel = np.broadcast_to(scale, (self.inputs,)).reshape(self.groups, 1, -1, 1)
        return self.weight_of(self.matrices() * by_channel)

    def product_with(self, inputs: Array) -> Array:
        """What each output channel answers where every input channel is ``inputs`` throughout."""
        by_channel = np.broadcast_to(inputs, (self.inputs,)).reshape(self.groups, 1, -1, 1)
        total = (self.matrices() * by_channel).sum(axis=(2, 3)).reshape(-1)
        return np.asarray(total * self.node.attributes.get_float("alpha", 1.0))

    def bias_values(self) -> Array | None:
        """What is added to each output channel, in double precision; ``None`` if not constant."""
        if self.bias is None:
            return np.zeros(self.outputs)
        values = constant_of(self.bias)
        if values is None or values.size not in (1, self.outputs):
            return None
        if values.size > 1 and (values.ndim == 0 or values.shape[-1] != self.outputs):
            return None
        beta = self.node.attributes.get_float("beta", 1.0)
        return np.asarray(
            np.broadcast_to(values.astype(np.float64).reshape(-1), (self.outputs,)) * beta
        )

    def set_weight(self, values: Array) -> None:
        """Give this layer, and no other reader of its weight, a new one."""
        self.node.replace_input_with(1, new_weight(self.node, str(self.weight.name), values))

    def set_bias(self, values: Array) -> None:
        """Give this layer a new bias, one number per output channel."""
        named = self.bias.name if self.bias is not None else f"{self.weight.name}_bias"
        bias = new_weight(self.node, str(named), values)
        if len(self.node.inputs) < 3:
            self.node.resize_inputs(3)
        self.node.replace_input_with(2, bias)
        if "beta" in self.node.attributes:  # it is in the new bias
            self.node.attributes["beta"] = ir.AttrFloat32("beta", 1.0)

    def copy_fault(self) -> str:
        """Why the weight cannot be changed for this layer alone; empty where it can."""
        readers = len(self.weight.uses())
        tensor = ir.convenience.get_const_tensor(self.weight)
        if readers == 1 or tensor is None or tensor.nbytes <= MOST_BYTES_COPIED:
            return ""
        return f"the weight {self.weight.name!r} has {readers} readers and is too large to copy"


#: Which input axis order each operator's weight has.
LAYERS: Mapping[str, bool] = {"Conv": True, "ConvTranspose": False, "Gemm": False, "MatMul": False}


def layer_of(node: ir.Node) -> LinearLayer | None:
    """``node`` as a layer; ``None`` where it is none or its weight is not constant."""
    if node.op_type not in LAYERS or node.domain != "" or len(node.inputs) < 2:
        return None
    weight = node.inputs[1]
    shape = constant_shape(weight)
    if weight is None or shape is None or len(shape) < 2 or weight.dtype not in FLOATS:
        return None
    is_convolution = node.op_type.startswith("Conv")
    if not is_convolution and len(shape) != 2:
        return None
    out_first = LAYERS[node.op_type] or bool(node.attributes.get_int("transB", 0))
    groups = node.attributes.get_int("group", 1) if is_convolution else 1
    if 0 in shape or shape[0] % groups:
        return None
    across = shape[1] * groups
    outputs, inputs = (shape[0], across) if out_first else (across, shape[0])
    return LinearLayer(
        node=node,
        weight=weight,
        shape=shape,
        groups=groups,
        outputs=outputs,
        inputs=inputs,
        out_first=out_first,
    )


def constant_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a constant, whose elements are not read; ``None`` if it is not constant."""
    if value is None or (value.is_initializer() and value.is_graph_input()):
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tuple(tensor.shape.numpy())


def readers_of(value: ir.Value) -> list[ir.Node]:
    """The nodes that read the elements of ``value``: not those that only ask for its shape."""
    return [use.node for use in value.uses() if use.node.op_type not in ("Shape", "Size")]


def narrowed(values: Array, dtype: ir.DataType | None) -> Array | None:
    """``values`` in ``dtype``; ``None`` if that overflows or loses more than a rounding."""
    if dtype not in FLOATS or dtype is None:
        return None
    with np.errstate(over="ignore", under="ignore"):
        narrow = values.astype(dtype.numpy())
    wide = narrow.astype(np.float64)
    if not np.isfinite(wide).all():
        return None
    lost = np.max(np.abs(wide - values), initial=0.0)
    epsilon = {2: 2.0**-8, 4: 2.0**-23, 8: 2.0**-52}[int(dtype.itemsize)]
    return narrow if lost <= epsilon * np.max(np.abs(values), initial=0.0) else None


def new_weight(node: ir.Node, name: str, values: Array) -> ir.Value:
    """A new weight in ``node``'s graph, under ``name`` or one like it."""
    return add_weight(_graph_of(node), name, values)


def _graph_of(node: ir.Node) -> ir.Graph:
    if not isinstance(node.graph, ir.Graph):
        raise ValueError(f"node {node.name!r} is in no graph")
    return node.graph
