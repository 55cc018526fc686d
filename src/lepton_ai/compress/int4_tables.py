"""Tables that rows are looked up in, such as the embeddings of words, stored in 4 bits.

For bytes alone, beside any other compression: half of a sentence encoder is such a table. The rest
of the graph stays as it is, in floating point or in int8.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from lepton_ai.compress.graph_file import check_smaller, publish
from lepton_ai.compress.int4_weights import packed
from lepton_ai.compress.stored_weights import LEAST_ELEMENTS, spelled
from lepton_ai.errors import ModelError


def store_tables(name: str, source: Path, target: Path) -> None:
    """Write the graph at ``source``, quantised or not, to ``target`` with its tables in 4 bits.

    Raises:
        ModelError: it has no table, or they would take no fewer bytes.
    """
    model = onnx.load(source)
    nodes: list[onnx.NodeProto] = []
    made: set[str] = set()
    for table_name, table in _tables(model):
        stored = packed(table)
        if stored is not None:
            arrays, widening = spelled(table_name, table.dtype, stored)
            model.graph.initializer.extend(arrays)
            nodes += widening
            made.add(table_name)
    if not made:
        raise ModelError(
            f"{name} found nothing to store in fewer bytes in {source.name}: it has no table of "
            f"{LEAST_ELEMENTS} elements or more whose rows are looked up in floating point"
        )
    nodes += [node for node in model.graph.node if not made.intersection(node.output)]
    read = {name for node in nodes for name in node.input}
    weights = [w for w in model.graph.initializer if w.name in read and w.name not in made]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(weights)
    done = target.with_name(f"{target.stem}-unchecked.onnx")
    try:
        onnx.save(model, done)
        check_smaller(name, source, done)
        publish(done, target)
    finally:
        done.unlink(missing_ok=True)


def _tables(model: onnx.ModelProto) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The names of values that rows are looked up in and nothing else is done with; the values."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    fixed = {value.name for value in (*model.graph.input, *model.graph.output)}
    looked_up: set[str] = set()
    otherwise: set[str] = set(fixed)
    for node in model.graph.node:
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        rows = node.op_type == "Gather" and node.domain in ("", "ai.onnx") and axis == 0
        looked_up.update(node.input[:1] if rows else [])
        otherwise.update(node.input[1:] if rows else node.input)
        otherwise.update(_read_within(node))
    for name in sorted(looked_up - otherwise):
        values = _known(name, weights, makers)
        kinds = (np.float32, np.float16)
        if values is not None and values.dtype in kinds and values.size >= LEAST_ELEMENTS:
            yield name, values


def _known(
    name: str, weights: dict[str, onnx.TensorProto], makers: dict[str, onnx.NodeProto]
) -> np.ndarray[Any, Any] | None:
    """A weight, or what a ``DequantizeLinear`` with one scale, or one per row, makes of one."""
    if name in weights:
        return numpy_helper.to_array(weights[name])
    maker = makers.get(name)
    if maker is None or maker.op_type != "DequantizeLinear":
        return None
    if any(each not in weights for each in maker.input):
        return None
    stored, scale, *zero = (numpy_helper.to_array(weights[each]) for each in maker.input)
    axis = next((each.i for each in maker.attribute if each.name == "axis"), 1)
    blocks = any(each.name == "block_size" and each.i for each in maker.attribute)
    if scale.ndim > 1 or stored.ndim < 2 or blocks:
        return None
    spread = [-1 if place == axis % stored.ndim else 1 for place in range(stored.ndim)]
    steps = stored.astype(np.float32)
    if zero:
        steps -= zero[0].astype(np.float32).reshape(spread if zero[0].size > 1 else ())
    wide = scale.reshape(spread if scale.size > 1 else ())
    return np.asarray(steps * wide, dtype=scale.dtype)


def _read_within(node: onnx.NodeProto) -> Iterator[str]:
    """What the bodies of ``node`` read, their own values included."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from inner.input
                yield from _read_within(inner)
