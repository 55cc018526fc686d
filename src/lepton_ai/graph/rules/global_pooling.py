"""Means over all spatial axes as global poolings, where convolutions computed what is averaged.

ONNX Runtime keeps the answers of convolutions in blocks of channels and has a GlobalAveragePool
that reads such blocks. For a ReduceMean it first puts the elements back in order.
"""

from typing import Final

import onnx_ir as ir

from lepton_ai.graph.building import constant_of, replace
from lepton_ai.graph.matching.linear_layer import FLOATS, constant_shape
from lepton_ai.graph.rule import Ledger, Rule

#: What ONNX Runtime computes on blocks of channels, or fuses into a convolution.
ELEMENTWISE: Final = frozenset(
    {
        "Add",
        "BatchNormalization",
        "Clip",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Mul",
        "Relu",
        "Sigmoid",
        "Tanh",
    }
)
#: An activation and a residual sum lie between a convolution and the mean over its answer.
MOST_STEPS = 6
#: Tensors of rank 3 to 5: batch, channels, and one to three spatial axes.
RANKS = range(3, 6)


class GlobalPooling(Rule):
    """ONNX Runtime has a kernel for global pooling that reads what its convolutions write."""

    name = "global-pooling"
    requires = "a ReduceMean over all spatial axes, and those alone, of what a Conv computed"
    ensures = "a GlobalAveragePool averages, and a Flatten drops the spatial axes if they go"
    engines = ("onnxruntime",)

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Make a global pooling of every such mean."""
        for graph in model.graphs():
            for node in tuple(graph):
                if node.op_type == "ReduceMean" and node.domain == "":
                    _pool(node, ledger)


def _pool(mean: ir.Node, ledger: Ledger) -> None:
    source = mean.inputs[0]
    if source is None or source.shape is None or len(source.shape) not in RANKS:
        return
    if source.dtype not in FLOATS or not _convolved(source, MOST_STEPS):
        return
    axes = _axes(mean, len(source.shape))
    if axes is None:
        ledger.miss([mean], "the axes that it averages over are not constant")
        return
    if axes != set(range(2, len(source.shape))):
        ledger.miss([mean], "it averages over other axes than the spatial ones")
        return
    why = "it averages over all spatial axes of what a convolution computed"
    if not ledger.fire(str(mean.outputs[0].name), [mean], why):
        return
    pool = ir.node("GlobalAveragePool", [source])
    if mean.attributes.get_int("keepdims", 1):
        replace([mean], [pool], mean)
        return
    pool.outputs[0].dtype = source.dtype
    pool.outputs[0].shape = ir.Shape([*source.shape[:2], *[1] * (len(source.shape) - 2)])
    replace([mean], [pool, ir.node("Flatten", [pool.outputs[0]], {"axis": 1})], mean)


def _axes(mean: ir.Node, rank: int) -> set[int] | None:
    if len(mean.inputs) > 1 and mean.inputs[1] is not None:
        given = constant_of(mean.inputs[1])
        if given is None:
            return None
        axes = [int(axis) for axis in given.reshape(-1)]
    else:
        axes = list(mean.attributes.get_ints("axes", ()))
    if not axes:
        return set() if mean.attributes.get_int("noop_with_empty_axes", 0) else set(range(rank))
    return {axis % rank for axis in axes}


def _convolved(value: ir.Value, steps: int) -> bool:
    """Whether convolutions computed all of ``value``, up to activations and sums.

    So far as one looks back: beyond ``steps`` nothing has spoken against it.
    """
    made = value.producer()
    if made is None or made.domain != "":
        return False
    if made.op_type == "Conv" or not steps:
        return True
    if made.op_type not in ELEMENTWISE:
        return False
    varying = (given for given in made.inputs if given is not None)
    return all(_convolved(given, steps - 1) for given in varying if constant_shape(given) is None)
