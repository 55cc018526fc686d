"""Control flow: a network that loops over a series and chooses between two branches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18


def _weight(name: str, *shape: int) -> TensorProto:
    values = np.random.standard_normal(shape) / np.sqrt(shape[0])
    return numpy_helper.from_array(values.astype(np.float32), name)


def _step(width: int) -> onnx.GraphProto:
    """One step of the loop: the state and the series' next vector to the next state."""
    nodes = [
        helper.make_node("Gather", ["series", "step"], ["now"], axis=1),
        helper.make_node("MatMul", ["now", "taken"], ["from_now"]),
        helper.make_node("Identity", ["state"], ["state_again"]),
        helper.make_node("MatMul", ["state_again", "kept"], ["from_state"]),
        helper.make_node("Add", ["from_now", "from_state"], ["both"]),
        helper.make_node("Tanh", ["both"], ["state_next"]),
        helper.make_node("Identity", ["go"], ["go_on"]),
    ]
    return helper.make_graph(
        nodes,
        "step",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", width]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_next", TensorProto.FLOAT, ["batch", width]),
        ],
    )


def _branch(name: str, weight: str, width: int) -> onnx.GraphProto:
    nodes = [
        helper.make_node("MatMul", ["last", weight], [f"{name}_wide"]),
        helper.make_node("Cast", [f"{name}_wide"], [f"{name}_same"], to=TensorProto.FLOAT),
        helper.make_node("Relu", [f"{name}_same"], [f"{name}_kept"]),
        helper.make_node("MatMul", [f"{name}_kept", "classes_weight"], [f"{name}_out"]),
    ]
    out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["batch", 7])
    return helper.make_graph(nodes, name, [], [out])


def if_and_loop(small: bool) -> onnx.ModelProto:
    """A recurrence as a ``Loop``, then one of two heads as an ``If``."""
    width, length = (8, 5) if small else (128, 50)
    nodes = [
        helper.make_node("Shape", ["series"], ["series_shape"]),
        helper.make_node("Gather", ["series_shape", "one"], ["steps"], axis=0),
        helper.make_node("Gather", ["series_shape", "zero"], ["batch_size"], axis=0),
        helper.make_node("Unsqueeze", ["batch_size", "axes"], ["batch_1d"]),
        helper.make_node("Concat", ["batch_1d", "width"], ["state_shape"], axis=0),
        helper.make_node("ConstantOfShape", ["state_shape"], ["begin"]),
        helper.make_node("Loop", ["steps", "yes", "begin"], ["last"], body=_step(width)),
        helper.make_node("ReduceMean", ["last"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "nothing"], ["positive"]),
        helper.make_node(
            "If",
            ["positive"],
            ["classes"],
            then_branch=_branch("above", "above_weight", width),
            else_branch=_branch("below", "below_weight", width),
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "if_and_loop",
        [helper.make_tensor_value_info("series", TensorProto.FLOAT, ["batch", length, 6])],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["batch", 7])],
        [
            numpy_helper.from_array(np.array(1, np.int64), "one"),
            numpy_helper.from_array(np.array(0, np.int64), "zero"),
            numpy_helper.from_array(np.array([0], np.int64), "axes"),
            numpy_helper.from_array(np.array([width], np.int64), "width"),
            numpy_helper.from_array(np.array(True), "yes"),
            numpy_helper.from_array(np.array(0, np.float32), "nothing"),
            _weight("taken", 6, width),
            _weight("kept", width, width),
            _weight("above_weight", width, width),
            _weight("below_weight", width, width),
            _weight("classes_weight", width, 7),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    return model


ARCHITECTURES: dict[str, Callable[[bool], Any]] = {"if_and_loop": if_and_loop}
