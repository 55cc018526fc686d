"""Which nodes suffer from int8, and a quantised graph with those in floating point again."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from lepton_ai.compress.compressor import compressors
from lepton_ai.compress.put_back import put_back
from lepton_ai.compress.sensitivity import sensitivity
from lepton_ai.errors import DataError, ModelError

STATIC = ("int8-static-ort", "int8-static-nncf")


def answers(path: Path, samples) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, feed)[0] for feed in samples])


def noise(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.square(after - before).sum() / np.square(before - before.mean()).sum())


@pytest.fixture(params=STATIC)
def compressor(request):
    return compressors.get(request.param)()


@pytest.fixture
def quantised(compressor, net, tmp_path) -> Path:
    target = tmp_path / "int8.onnx"
    compressor.compress(net.path, target, net.samples)
    return target


def spread(builder, folder: Path) -> tuple[Path, list]:
    """Three products; before the one called ``victim`` a few channels are 10,000 times the others.

    One range for all of them leaves no steps for the rest.
    """
    x = builder.op("Relu", builder.linear("x", 64, 96))
    scale = np.where(np.arange(96) % 32 == 0, 100.0, 0.01).astype(np.float32)
    x = builder.op("Mul", x, builder.constant(scale))
    weight = builder.rng.normal(size=(96, 96)).astype(np.float32) / 8 / scale[:, None]
    x = builder.op("MatMul", x, builder.constant(weight))
    builder.nodes[-1].name = "victim"
    out = builder.op("MatMul", builder.op("Relu", x), builder.weight(96, 10))
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])]
    path = builder.save(folder / "spread.onnx", given, out, ["n", 10])
    return path, [{"x": builder.rng.normal(size=(4, 64)).astype(np.float32)} for _ in range(24)]


def test_the_node_that_one_range_does_not_suit_comes_first_and_mends_it(
    compressor, builder, tmp_path
):
    path, samples = spread(builder, tmp_path)
    int8, mixed = tmp_path / "int8.onnx", tmp_path / "mixed.onnx"
    compressor.compress(path, int8, samples)
    found = sensitivity(path, int8, samples)
    assert found[0][0] == "victim"
    assert found[0][1] > 10 * found[1][1]
    put_back(path, int8, mixed, ["victim"])
    before = answers(path, samples)
    assert noise(before, answers(int8, samples)) > 0.1
    assert noise(before, answers(mixed, samples)) < 0.01
    kinds = {weight.name: weight.data_type for weight in onnx.load(mixed).graph.initializer}
    assert TensorProto.INT8 in kinds.values()
    assert mixed.stat().st_size < path.stat().st_size


def test_with_every_node_put_back_the_answers_are_the_original_ones(net, quantised, tmp_path):
    found = sensitivity(net.path, quantised, net.samples)
    assert found == sorted(found, key=lambda pair: -pair[1])
    assert all(0 < each < 0.5 for _, each in found)
    whole = tmp_path / "whole.onnx"
    put_back(net.path, quantised, whole, [name for name, _ in found])
    before = answers(net.path, net.samples)
    assert noise(before, answers(whole, net.samples)) < 0.02 * noise(
        before, answers(quantised, net.samples)
    )


def test_a_graph_with_a_node_back_loads_in_both_engines(net, quantised, tmp_path):
    from lepton_ai.engines.engine import EnginePlan, engines

    mixed = tmp_path / "mixed.onnx"
    worst = sensitivity(net.path, quantised, net.samples)[0][0]
    put_back(net.path, quantised, mixed, [worst])
    onnx.checker.check_model(mixed)
    for name in ("onnxruntime", "openvino"):
        executable = engines.get(name)().load(mixed, EnginePlan())
        got = np.concatenate([executable.run(feed)["y"] for feed in net.samples])
        assert noise(answers(net.path, net.samples), got) < 0.05


def test_factors_of_a_gemm_are_kept_whether_it_is_put_back_or_not(compressor, builder, tmp_path):
    x = builder.op("Gemm", "x", builder.weight(64, 96), builder.weight(96, scale=2.0), beta=0.5)
    x = builder.op("Relu", x)
    out = builder.op("Gemm", x, builder.weight(96, 10), builder.weight(10), alpha=1.5, beta=0.25)
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])]
    path = builder.save(tmp_path / "factors.onnx", given, out, ["n", 10])
    samples = [{"x": builder.rng.normal(size=(4, 64)).astype(np.float32)} for _ in range(16)]
    compressor.compress(path, tmp_path / "int8.onnx", samples)
    before = answers(path, samples)
    assert noise(before, answers(tmp_path / "int8.onnx", samples)) < 0.01
    names = [name for name, _ in sensitivity(path, tmp_path / "int8.onnx", samples)]
    for kept in (names[:1], names[1:2], names):
        put_back(path, tmp_path / "int8.onnx", tmp_path / "mixed.onnx", kept)
        assert noise(before, answers(tmp_path / "mixed.onnx", samples)) < 0.01


def test_what_cannot_be_put_back_is_said(build, tmp_path):
    net = build("mlp")
    int8 = tmp_path / "int8.onnx"
    compressors.get("int8-static-ort")().compress(net.path, int8, net.samples)
    with pytest.raises(ModelError, match="no node 'nobody'"):
        put_back(net.path, int8, tmp_path / "mixed.onnx", ["nobody"])
    assert not (tmp_path / "mixed.onnx").exists()
    with pytest.raises(DataError, match="none came"):
        sensitivity(net.path, int8, [])


def test_dynamic_ranges_have_nothing_to_put_back(build, tmp_path):
    net = build("mlp")
    compressors.get("int8-dynamic")().compress(net.path, tmp_path / "int8.onnx", [])
    assert sensitivity(net.path, tmp_path / "int8.onnx", net.samples) == []
