"""Channels, heads and units taken out of a graph: weights cut, and what says sizes corrected."""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from lepton_ai.compress.slimming.components import components_of
from lepton_ai.compress.slimming.couplers import GATES
from lepton_ai.compress.slimming.coupling import Components, Site, written_sizes
from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.model.signature import Array

#: From this opset on Split takes its sizes as an input.
_SIZES_ARE_INPUT = 13


def without_components(model: ir.Model, gone: Collection[int]) -> ir.Model:
    """A copy of ``model`` without the components numbered ``gone``, its shapes inferred anew.

    ``gone`` are labels of :func:`~lepton_ai.compress.slimming.components.components_of` this graph.
    """
    slim = model.clone()
    infer_shapes(slim)
    if gone:
        _Removal(components_of(slim), np.array(sorted(gone))).apply(slim)
        infer_shapes(slim)
    return slim


class _Removal:
    """What is kept of each axis of a graph."""

    def __init__(self, components: Components, gone: Array) -> None:
        self._kept: dict[Site, Array] = {}
        for site in components.sites:
            kept = ~np.isin(components.of(site), gone)
            if not kept.all():
                self._kept[site] = kept

    def apply(self, model: ir.Model) -> None:
        values = dict.fromkeys(value for value, _ in self._kept)
        for node in model.graph:
            self._correct(node, model.graph, model.opset_imports.get("", 1) >= _SIZES_ARE_INPUT)
        for value in values:
            if value.is_initializer():
                self._cut(value)
        for node in model.graph:
            for value in node.outputs:
                if value in values:
                    value.shape = self._smaller(value)

    def _smaller(self, value: ir.Value) -> ir.Shape:
        """The shape that is left: what is computed from computed sizes is not inferred again."""
        assert value.shape is not None, "an axis of a known size is kept in part"
        sizes = list(value.shape)
        for axis in range(len(sizes)):
            kept = self._kept.get((value, axis))
            sizes[axis] = sizes[axis] if kept is None else int(kept.sum())
        return ir.Shape(sizes)

    def _cut(self, value: ir.Value) -> None:
        array = constant_of(value)
        assert array is not None, "what a caller may give is locked"
        for axis in range(array.ndim):
            kept = self._kept.get((value, axis))
            if kept is not None:
                array = np.compress(kept, array, axis=axis)
        value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)
        value.shape = ir.Shape(array.shape)

    def _correct(self, node: ir.Node, graph: ir.Graph, parts_are_input: bool) -> None:
        """The attributes and constants of ``node`` that say how many channels there are."""
        if node.op_type == "Conv" and node.attributes.get_int("group", 1) > 1:
            kept = self._kept.get((node.outputs[0], 1))
            if kept is not None:
                groups = node.attributes.get_int("group", 1)
                each = len(kept) // groups
                node.attributes["group"] = ir.AttrInt64("group", int(kept.sum()) // each)
        elif node.op_type in GATES:
            kept = self._kept.get((node.inputs[2], 2)) if node.inputs[2] is not None else None
            if kept is not None:
                node.attributes["hidden_size"] = ir.AttrInt64("hidden_size", int(kept.sum()))
        elif node.op_type == "Reshape":
            self._write_sizes(node, graph)
        elif node.op_type == "Split":
            self._write_parts(node, graph, parts_are_input)

    def _write_sizes(self, node: ir.Node, graph: ir.Graph) -> None:
        y = node.outputs[0]
        kept = {axis: mask for (value, axis), mask in self._kept.items() if value is y}
        written = written_sizes(node.inputs[1])
        if not kept or written is None:
            return
        sizes = list(written)
        for axis, mask in kept.items():
            if (sizes[axis] or 0) > 0:
                sizes[axis] = int(mask.sum())
        if sizes != written:
            node.replace_input_with(1, _rewritten(node, sizes, graph))

    def _write_parts(self, node: ir.Node, graph: ir.Graph, as_input: bool) -> None:
        x = node.inputs[0]
        rank = len(x.shape or ()) if x is not None else 0
        axis = node.attributes.get_int("axis", 0) % max(rank, 1)
        if not any((part, axis) in self._kept for part in node.outputs):
            return
        sizes = []
        for part in node.outputs:
            kept = self._kept.get((part, axis))
            sizes.append(int(part.shape[axis] if kept is None else kept.sum()))  # type: ignore[index, arg-type]
        node.attributes.pop("num_outputs", None)
        if not as_input:
            node.attributes["split"] = ir.AttrInt64s("split", sizes)
            return
        named = add_weight(graph, f"{node.outputs[0].name}/parts", np.array(sizes, dtype=np.int64))
        node.resize_inputs(2)
        node.replace_input_with(1, named)


def _rewritten(node: ir.Node, sizes: list[int | None], graph: ir.Graph) -> ir.Value:
    """The vector that ``node`` reads its sizes from, with others where they are written in it."""
    name, before = f"{node.outputs[0].name}/sizes", node.inputs[1]
    maker = None if before is None else before.producer()
    if None not in sizes or maker is None:
        return add_weight(graph, name, np.array(sizes, dtype=np.int64))
    parts, begin = [], 0
    for part in maker.inputs:
        end = begin + int(part.shape[0])  # type: ignore[union-attr, index, arg-type]
        computed = constant_of(part) is None
        known = np.array([0 if computed else size for size in sizes[begin:end]], dtype=np.int64)
        parts.append(part if computed else add_weight(graph, f"{name}/part", known))
        begin = end
    joined = ir.node("Concat", parts, attributes={"axis": 0}, name=name)
    joined.outputs[0].name = name
    joined.outputs[0].dtype = ir.DataType.INT64
    joined.outputs[0].shape = ir.Shape([len(sizes)])
    graph.insert_before(node, joined)
    return joined.outputs[0]
