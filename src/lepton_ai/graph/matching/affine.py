"""Nodes that multiply by a constant and add one, per channel or all over."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import constant_of
from lepton_ai.graph.matching.linear_layer import FLOATS, constant_shape, new_weight
from lepton_ai.model.signature import Array

ARITHMETIC = frozenset({"Add", "Div", "Mul", "Sub"})


@dataclass(frozen=True, kw_only=True)
class Affine:
    """``node`` computes ``source * scale + shift``.

    Both are in double precision: numbers where ``axis`` is ``None``, and vectors along that axis
    (counted from the front) otherwise.
    """

    node: ir.Node
    source: ir.Value
    scale: Array
    shift: Array
    axis: int | None

    @property
    def scales(self) -> bool:
        """Whether anything is multiplied."""
        return bool(np.any(self.scale != 1.0))

    @property
    def shifts(self) -> bool:
        """Whether anything is added."""
        return bool(np.any(self.shift != 0.0))


def read_affine(node: ir.Node) -> Affine | None:
    """``node`` as an affine step; ``None`` where it is none, or not one per channel."""
    if node.domain != "":
        return None
    if node.op_type == "BatchNormalization":
        return None if batch_norm_fault(node) else _read_batch_norm(node)
    if node.op_type not in ARITHMETIC or "broadcast" in node.attributes or len(node.inputs) != 2:
        return None
    for index in (1, 0):
        found = _along_one_axis(node.inputs[index], node.inputs[1 - index])
        source = node.inputs[1 - index]
        if found is None or source is None or source.dtype not in FLOATS:
            continue
        values, axis = found
        step = _step(node.op_type, values, constant_first=index == 0)
        if step is None or not all(np.isfinite(part).all() for part in step):
            return None
        return Affine(node=node, source=source, scale=step[0], shift=step[1], axis=axis)
    return None


def batch_norm_fault(node: ir.Node) -> str:
    """Why a BatchNormalization is not a fixed affine step; empty where it is one."""
    if node.attributes.get_int("training_mode", 0) or len(node.outputs) > 1:
        return "it normalises by the statistics of the batch (training mode)"
    if len(node.inputs) != 5 or not node.attributes.get_int("spatial", 1):
        return "it does not normalise per channel"
    if any(constant_shape(value) is None for value in node.inputs[1:]):
        return "its statistics are not constant"
    return ""


def set_addend(addition: Affine, values: Array) -> None:
    """Let an addition of a constant add ``values``: a number, or a vector along its axis."""
    old = next(
        index
        for index, value in enumerate(addition.node.inputs)
        if value is not addition.source or constant_shape(value) is not None
    )
    addition.node.replace_input_with(old, addend(addition, addition.node.inputs[old], values))


def addend(place: Affine, old: ir.Value | None, values: Array) -> ir.Value:
    """A weight that adds ``values`` (a number, or a vector along the axis) where ``place`` is."""
    rank = len(place.node.outputs[0].shape or ())
    if values.ndim and place.axis is not None:
        values = values.reshape([-1] + [1] * (rank - 1 - place.axis))
    name = None if old is None else old.name
    return new_weight(place.node, name or f"{place.node.outputs[0].name}_bias", values)


def _read_batch_norm(node: ir.Node) -> Affine | None:
    source = node.inputs[0]
    parts = [constant_of(value) for value in node.inputs[1:]]
    if source is None or source.dtype not in FLOATS:
        return None
    gamma, beta, mean, variance = (np.asarray(p, dtype=np.float64) for p in parts)
    deviation = np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    with np.errstate(all="ignore"):
        scale = gamma / deviation
        shift = beta - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return None
    return Affine(node=node, source=source, scale=scale, shift=shift, axis=1)


def _along_one_axis(
    value: ir.Value | None, beside: ir.Value | None
) -> tuple[Array, int | None] | None:
    """A constant that varies along one axis of ``beside`` at most, and along which."""
    shape = constant_shape(value)
    if shape is None or beside is None or constant_shape(beside) is not None or 0 in shape:
        return None
    rank = None if beside.shape is None else len(beside.shape)
    if len(shape) > (1 if rank is None else rank):
        return None  # the answer would have more axes than what goes in
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    if len(wide) > 1 or (wide and rank is None):
        return None
    values = constant_of(value)
    if values is None:
        return None
    flat = values.astype(np.float64).reshape(-1)
    if not wide or rank is None:
        return flat[0], None
    return flat, rank - len(shape) + wide[0]


def _step(operator: str, values: Array, *, constant_first: bool) -> tuple[Array, Array] | None:
    """Scale and shift of an operator with a constant on one side."""
    one, zero = np.ones_like(values), np.zeros_like(values)
    if operator == "Mul":
        return values, zero
    if operator == "Add":
        return one, values
    if operator == "Sub":
        return (-one, values) if constant_first else (one, -values)
    if constant_first or not np.all(values):
        return None
    return 1.0 / values, zero
