"""What an engine gets of a quantised graph: nothing that it would widen anew in each call."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from lepton_ai.compress.compressor import compressors
from lepton_ai.compress.finish import finish, finished
from lepton_ai.compress.put_back import put_back
from lepton_ai.engines.engine import EnginePlan, engines

STATIC = ("int8-static-ort", "int8-static-nncf")


def answers(path: Path, samples, engine="onnxruntime") -> np.ndarray:
    executable = engines.get(engine)().load(path, EnginePlan())
    return np.concatenate([executable.run(feed)["y"] for feed in samples])


def noise(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.square(after - before).sum() / np.square(before - before.mean()).sum())


def inside(path: Path, folder: Path) -> onnx.ModelProto:
    """What ONNX Runtime makes of a graph before it runs it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "inside.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "inside.onnx")


def operators(model: onnx.ModelProto) -> Counter:
    return Counter(node.op_type for node in model.graph.node)


def widened_in_each_call(model: onnx.ModelProto) -> set[str]:
    weights = {weight.name: np.prod(weight.dims) for weight in model.graph.initializer}
    return {
        node.input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and weights.get(node.input[0], 0) > 1000
    }


@pytest.fixture(params=STATIC)
def compressor(request):
    return compressors.get(request.param)()


@pytest.fixture
def quantised(compressor, net, tmp_path) -> Path:
    target = tmp_path / "int8.onnx"
    compressor.compress(net.path, target, net.samples)
    finish(target)
    return target


def test_no_weights_are_widened_in_each_call(net, quantised, tmp_path):
    own = finished(quantised, "onnxruntime")
    assert not widened_in_each_call(inside(own, tmp_path))
    assert own.stat().st_size < 0.6 * net.path.stat().st_size


def test_the_answers_are_no_worse_than_before(net, quantised):
    before = answers(net.path, net.samples)
    own = finished(quantised, "onnxruntime")
    assert noise(before, answers(own, net.samples)) < 0.01 + 1.1 * noise(
        before, answers(quantised, net.samples)
    )


def test_other_engines_get_the_graph_as_it_is(quantised):
    assert finished(quantised, "openvino") == quantised


def test_a_form_is_finished(net, quantised):
    own = finished(quantised, "onnxruntime")
    finish(own)
    assert finished(own, "onnxruntime") == own


def test_signed_activations_that_several_layers_read_reach_integer_kernels(build, tmp_path):
    net, target = build("transformer"), tmp_path / "int8.onnx"
    compressors.get("int8-static-nncf")().compress(net.path, target, net.samples)
    finish(target)
    own = finished(target, "onnxruntime")
    assert own != target
    kernels = [operators(inside(path, tmp_path))["MatMulIntegerToFloat"] for path in (target, own)]
    assert kernels[1] >= kernels[0] + 6  # queries, keys and values of two layers


def test_rows_are_looked_up_before_they_are_widened(build, tmp_path):
    net, target = build("transformer"), tmp_path / "int8.onnx"
    compressors.get("int8-static-nncf")().compress(net.path, target, net.samples)
    finish(target)
    model = inside(finished(target, "onnxruntime"), tmp_path)
    kinds = {weight.name: weight.data_type for weight in model.graph.initializer}
    table = next(node for node in model.graph.node if "input_ids" in node.input)
    assert kinds[table.input[0]] == TensorProto.INT8


def test_a_relu_that_rounding_stood_for_is_not_lost(compressor, builder, tmp_path):
    """ONNX Runtime has no integer kernel for transposed convolutions."""
    x = builder.op("ConvTranspose", "x", builder.weight(16, 16, 4, 4), strides=[2, 2])
    x = builder.op("ConvTranspose", builder.op("Relu", x), builder.weight(16, 8, 4, 4))
    out = builder.op("Relu", x)
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16, 6, 6])]
    path = builder.save(tmp_path / "up.onnx", given, out, ["n", 8, 17, 17])
    samples = [{"x": builder.rng.normal(size=(1, 16, 6, 6)).astype(np.float32)} for _ in range(16)]
    compressor.compress(path, tmp_path / "int8.onnx", samples)
    finish(tmp_path / "int8.onnx")
    own = finished(tmp_path / "int8.onnx", "onnxruntime")
    model = inside(own, tmp_path)
    assert not widened_in_each_call(model)
    assert not operators(model)["QuantizeLinear"]
    assert noise(answers(path, samples), answers(own, samples)) < 0.01


def test_a_layer_whose_answer_is_rounded_no_more_widens_no_weights(compressor, builder, tmp_path):
    """It is computed in floating point too, and would widen its weights in each call."""
    x = "x"
    for width_in, width_out in ((64, 96), (96, 96), (96, 96)):
        bias = builder.weight(width_out, scale=0.1)
        x = builder.op("Relu", builder.op("Gemm", x, builder.weight(width_in, width_out), bias))
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])]
    path = builder.save(tmp_path / "gemms.onnx", given, x, ["n", 96])
    samples = [{"x": builder.rng.normal(size=(4, 64)).astype(np.float32)} for _ in range(16)]
    compressor.compress(path, tmp_path / "int8.onnx", samples)
    middle = [node.name for node in onnx.load(path).graph.node if node.op_type == "Gemm"][1]
    mixed = tmp_path / "mixed.onnx"
    put_back(path, tmp_path / "int8.onnx", mixed, [middle])
    assert widened_in_each_call(inside(mixed, tmp_path))
    finish(mixed)
    own = finished(mixed, "onnxruntime")
    assert not widened_in_each_call(inside(own, tmp_path))
    assert noise(answers(path, samples), answers(own, samples)) < 0.01


def test_what_has_no_static_ranges_has_no_other_form(build, tmp_path):
    net, target = build("mlp"), tmp_path / "int8.onnx"
    compressors.get("int8-dynamic")().compress(net.path, target, [])
    finish(target)
    assert finished(target, "onnxruntime") == target


def test_a_graph_that_the_engine_refuses_has_no_other_form(tmp_path):
    """It is for the engine to say so, when it loads the graph."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["r"]),
        helper.make_node("Frobnicate", ["r"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in "xy")
    scale = onnx.numpy_helper.from_array(np.float32(1), "s")
    graph = helper.make_graph(nodes, "g", [x], [y], [scale])
    onnx.save(helper.make_model(graph), tmp_path / "odd.onnx")
    finish(tmp_path / "odd.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"odd.onnx"}
