"""What rules need to read constants and to put nodes and weights into a graph."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lepton_ai.model.signature import Array


def constant_of(value: ir.Value | None, most_elements: int | None = None) -> Array | None:
    """What ``value`` holds in every call; ``None`` if that is not known or is larger than asked.

    An initializer that is an input as well is none: a caller may give another.
    """
    if value is None or (value.is_initializer() and value.is_graph_input()):
        return None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or (most_elements is not None and tensor.size > most_elements):
        return None
    return np.asarray(tensor.numpy())


def add_weight(graph: ir.Graph, name: str, values: Array) -> ir.Value:
    """A new initializer of ``graph``, under ``name`` or one like it that is free."""
    free, number = name, 0
    while free in graph.initializers:
        number += 1
        free = f"{name}_{number}"
    weight = ir.Value(
        name=free,
        shape=ir.Shape(values.shape),
        type=ir.TensorType(ir.DataType.from_numpy(values.dtype)),
        const_value=ir.tensor(values, name=free),
    )
    graph.register_initializer(weight)
    return weight


def replace(old: Sequence[ir.Node], new: Sequence[ir.Node], at: ir.Node) -> None:
    """Put ``new`` in the place of ``old``, before ``at``'s successor.

    The outputs of the last of ``new`` take the names, types and shapes of those of the last of
    ``old``, and their place among the graph's outputs. No other output of ``old`` may have a reader
    left outside ``old``.
    """
    graph = at.graph
    if graph is None:
        raise ValueError(f"node {at.name!r} is in no graph")
    taken, given = old[-1].outputs, new[-1].outputs
    for before, after in zip(taken, given, strict=True):
        after.name, after.type, after.shape = before.name, before.type, before.shape
    ir.convenience.replace_nodes_and_values(graph, at, old, new, taken, given)
