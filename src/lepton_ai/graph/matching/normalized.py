"""Normalisation written out: a value divided by the root of a mean square."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.graph.matching.products import (
    near,
    only_reader,
    product_of,
    same_rank,
    scalar_of,
    sum_of,
)
from lepton_ai.model.signature import Array

#: What takes the root of the variance, or of the mean square.
ROOTS = frozenset({"Sqrt", "Pow"})


@dataclass(frozen=True, kw_only=True)
class Normalized:
    """``value / sqrt(mean(value ** 2) + epsilon)``, the mean over the axes from ``axis`` on.

    ``axis`` counts from the last (-1); ``nodes`` compute it, the last one its result.
    """

    value: ir.Value
    axis: int
    epsilon: float
    nodes: tuple[ir.Node, ...]


def normalized_by(root: ir.Node) -> Normalized | str | None:
    """What ``root``, a square root or its inverse, is part of the normalisation of.

    A string where it is one that no operator computes: why. ``None`` where it is none.
    """
    inverse, steps, plus = _root(root)
    total = sum_of(plus)
    if plus is None or total is None or plus.op_type != "Add":
        return None
    mean, epsilon = total[1].producer(), total[0]
    if mean is None or mean.op_type != "ReduceMean" or only_reader(total[1]) is not plus:
        return None
    last = steps[-1]
    final = only_reader(last.outputs[0])
    value = _divided(final, last.outputs[0], inverse=inverse)
    square = mean.inputs[0]
    if final is None or value is None or square is None or only_reader(square) is not mean:
        return None
    product = product_of(square)
    if not product.is_of(1.0, value, value):
        return None
    axis = trailing_axis(mean)
    if axis is None:
        return "its mean is not over the last axes alone, or drops them"
    if not same_rank(value, final.outputs[0]):
        return "its rank is not known, or a constant adds an axis"
    nodes = (*product.nodes, mean, plus, *steps, final)
    return Normalized(value=value, axis=axis, epsilon=epsilon, nodes=nodes)


def trailing_axis(mean: ir.Node) -> int | None:
    """The axis, from the last, from which on ``mean`` reduces; ``None`` if it skips some."""
    read = mean.inputs[0]
    if read is None or not mean.attributes.get_int("keepdims", 1):
        return None
    axes = mean.attributes.get_ints("axes")
    if axes is None and len(mean.inputs) > 1:
        given = constant_of(mean.inputs[1], most_elements=16)
        axes = None if given is None else [int(axis) for axis in given.reshape(-1)]
    if not axes:
        return None
    if read.shape is not None:
        axes = [axis - len(read.shape) if axis >= 0 else axis for axis in axes]
    return -len(axes) if sorted(axes) == list(range(-len(axes), 0)) else None


def scaled(final: ir.Node, axis: int, operator: str) -> tuple[ir.Node, ir.Value] | None:
    """The ``operator`` (Mul or Add) that alone reads ``final``, and its per-element other operand.

    Its other operand must be a weight of just the normalised sizes, up to leading ones.
    """
    out = final.outputs[0]
    reader = only_reader(out)
    if reader is None or reader.op_type != operator or reader.domain != "":
        return None
    other = next((value for value in reader.inputs if value is not out), None)
    sizes = normalized_sizes(out, axis)
    array = constant_of(other)
    if other is None or array is None or sizes is None or other.dtype != out.dtype:
        return None
    rank = len(out.shape or ())
    fits = array.ndim <= rank and (1,) * (array.ndim + axis) + sizes == array.shape
    return (reader, other) if fits else None


def normalized_sizes(value: ir.Value, axis: int) -> tuple[int, ...] | None:
    """The sizes of ``value`` from ``axis`` on, if they are known."""
    sizes = () if value.shape is None else tuple(value.shape)[axis:]
    known = tuple(size for size in sizes if isinstance(size, int))
    return known if len(known) == -axis else None


def weight_for(graph: ir.Graph, given: ir.Value | None, like: ir.Value, axis: int) -> ir.Value:
    """``given`` with its leading ones gone; ones where there is none."""
    sizes = normalized_sizes(like, axis)
    if given is None:
        if sizes is None or like.dtype is None:
            raise ValueError(f"the sizes of {like.name!r} are not known")
        return add_weight(graph, f"{like.name}_ones", np.ones(sizes, like.dtype.numpy()))
    array = constant_of(given)
    if array is None or array.ndim == -axis:
        return given
    flat: Array = array.reshape(array.shape[axis:])
    return add_weight(graph, f"{given.name}_flat", flat)


def _root(node: ir.Node) -> tuple[bool, list[ir.Node], ir.Node | None]:
    """Whether ``node`` leads to the inverse of the root, the nodes of it, and the sum it is of."""
    read = node.inputs[0]
    plus = None if read is None else read.producer()
    if read is None or plus is None or plus.op_type != "Add" or only_reader(read) is not node:
        return False, [node], None
    if node.op_type == "Pow":
        power = scalar_of(node.inputs[1])
        return near(power, -0.5), [node], plus if near(abs(power or 0.0), 0.5) else None
    over = only_reader(node.outputs[0])
    if over is not None and _is_reciprocal(over, node.outputs[0]):
        return True, [node, over], plus
    return False, [node], plus


def _is_reciprocal(node: ir.Node, of: ir.Value) -> bool:
    if node.op_type == "Div":
        return node.inputs[1] is of and scalar_of(node.inputs[0]) == 1.0
    return node.op_type == "Reciprocal"


def _divided(node: ir.Node | None, root: ir.Value, *, inverse: bool) -> ir.Value | None:
    """What ``node`` divides by ``root``, or multiplies by it if that is the ``inverse``."""
    if node is None or node.domain != "" or node.op_type != ("Mul" if inverse else "Div"):
        return None
    if not inverse:
        return node.inputs[0] if node.inputs[1] is root else None
    return next((value for value in node.inputs if value is not root), None)
