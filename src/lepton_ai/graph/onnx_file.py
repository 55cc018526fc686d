"""Graphs from and to ONNX files, read lazily and written whole or not at all."""

import os
from collections import Counter
from pathlib import Path

import onnx_ir as ir

from lepton_ai.errors import ModelError

#: A protobuf message ends at 2 GiB; weights beyond this go to a file beside the graph, which leaves
#: the rest of the message room to spare.
MOST_BYTES_IN_ONE_FILE = 1_900_000_000


def load_graph(source: Path) -> ir.Model:
    """The graph in ``source``, weights mapped rather than read.

    Raises:
        ModelError: the file is not an ONNX graph; :mod:`lepton_ai.formats` says more about why.
    """
    try:
        model = ir.load(source)
    except OSError as failure:
        raise ModelError(f"{source} cannot be read: {failure}") from failure
    except Exception as failure:  # the parsers under this raise whatever they happen to
        raise ModelError(f"{source} is not an ONNX graph: {failure}") from failure
    for graph in model.graphs():
        for value in (*graph.inputs, *(out for node in graph for out in node.outputs)):
            _forget_negative_sizes(value)
    return model


def _forget_negative_sizes(value: ir.Value) -> None:
    """Some exporters write -1 for a size that is free; it is a number to whoever reads it."""
    shape = value.shape
    if shape is not None and any(isinstance(size, int) and size < 0 for size in shape):
        free = [None if isinstance(size, int) and size < 0 else size for size in shape]
        value.shape = ir.Shape(free)


def save_graph(model: ir.Model, target: Path) -> None:
    """Write ``model`` to ``target``; ``target`` appears complete or does not appear."""
    weights = sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )
    beside = weights_beside(target).name if weights > MOST_BYTES_IN_ONE_FILE else None
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    try:
        # A graph names its weights' file in itself, so that file gets its last name at once.
        ir.save(model, unfinished, format="protobuf", external_data=beside)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def weights_beside(target: Path) -> Path:
    """Where the weights of the graph at ``target`` go when they are too many for its own file."""
    return target.with_name(f"{target.name}.data")


def bytes_with_weights(model: ir.Model, path: Path) -> int:
    """The size of the file at ``path``, which ``model`` was read from, with its weights' files."""
    beside = {
        path.parent / value.const_value.location
        for graph in model.graphs()
        for value in graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    return sum(file.stat().st_size for file in (path, *beside) if file.is_file())


def operator_counts(model: ir.Model) -> Counter[str]:
    """How many nodes of each operator there are, subgraphs included, functions not."""
    return Counter(operator_name(node) for node in model.graph.all_nodes())


def operator_name(node: ir.Node) -> str:
    """The operator of ``node``, with its domain where that is not ONNX's own."""
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
