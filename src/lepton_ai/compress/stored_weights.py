"""Weights stored in fewer bytes, and widened again in the graph.

The nodes that widen them depend on nothing else, so engines compute them once while they load: the
file is smaller, and a call takes what it took before.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lepton_ai.compress.graph_file import check_smaller, load_floats, publish
from lepton_ai.errors import ModelError

#: Smaller weights are left: their names and nodes take as many bytes as could be saved.
LEAST_ELEMENTS = 1024


@dataclass(frozen=True, kw_only=True)
class Widening:
    """An operator that a stored weight goes through, and what else it reads.

    What is in half precision ``beside`` is widened itself where the weight is in single.
    """

    operator: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    beside: np.ndarray[Any, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a weight is stored as, and the steps that make it of that, the first step first."""

    values: np.ndarray[Any, Any]
    steps: Sequence[Widening]


#: How a weight is stored; nothing where it does not bear it.
Store = Callable[[np.ndarray[Any, Any]], Stored | None]


def store_weights(name: str, source: Path, target: Path, store: Store) -> None:
    """Write the graph at ``source`` to ``target``, its weights in floating point as ``store`` says.

    Raises:
        ModelError: the graph cannot be read, is too large or quantised already, or has no weights
            that this makes smaller.
    """
    model = load_floats(source)
    taken = {value.name for value in model.graph.input}
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    for weight in model.graph.initializer:
        stored = None
        if weight.name not in taken and np.prod(weight.dims, dtype=np.int64) >= LEAST_ELEMENTS:
            values = numpy_helper.to_array(weight)
            stored = store(values) if values.dtype in (np.float32, np.float16) else None
        if stored is None:
            weights.append(weight)
        else:
            arrays, widening = spelled(weight.name, values.dtype, stored)
            weights += arrays
            nodes += widening
    if not nodes:
        raise ModelError(
            f"{name} found nothing to store in fewer bytes in {source.name}: it has no weights in "
            f"floating point of {LEAST_ELEMENTS} elements or more"
        )
    nodes += model.graph.node
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(weights)
    model.graph.node.extend(nodes)
    with tempfile.TemporaryDirectory(prefix="lepton-weights-") as folder:
        done = Path(folder) / "done.onnx"
        onnx.save(model, done)
        check_smaller(name, source, done)
        publish(done, target)


def spelled(
    name: str, kind: np.dtype[Any], stored: Stored
) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """The arrays as weights, and the nodes, the last of which gives the weight ``name``."""
    made = f"{name}/stored"
    arrays = [numpy_helper.from_array(stored.values, made)]
    nodes = []
    for place, step in enumerate(stored.steps, start=1):
        inputs = [made]
        if step.beside is not None:
            beside = f"{name}/beside{place}"
            arrays.append(numpy_helper.from_array(step.beside, beside))
            if step.beside.dtype == np.float16 != kind:
                wide, to = f"{beside}/wide", helper.np_dtype_to_tensor_dtype(kind)
                nodes.append(helper.make_node("Cast", [beside], [wide], name=wide, to=to))
                beside = wide
            inputs.append(beside)
        made = name if place == len(stored.steps) else f"{name}/widened{place}"
        label = f"{name}/{step.operator.lower()}{place}"
        nodes.append(helper.make_node(step.operator, inputs, [made], name=label, **step.attributes))
    return arrays, nodes
