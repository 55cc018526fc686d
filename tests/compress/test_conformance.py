"""What every registered compressor must do, on three kinds of network."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from lepton_ai.compress.compressor import (
    Compressor,
    alternatives,
    compressors,
    named_compressor,
    storages,
)
from lepton_ai.errors import DataError, ModelError
from lepton_ai.pipeline.check_compressor import check_compressor

#: The least cosine of the answers, and the most that one changes, as a share of the largest.
CLOSE = {"int4-weights": (0.98, 0.25)}
DEFAULT_CLOSE = (0.99, 0.15)


@pytest.fixture(
    params=[*compressors.names(), *alternatives.names(), *storages.names()], scope="session"
)
def compressor(request) -> Compressor:
    return named_compressor(request.param)


@pytest.fixture(scope="session")
def compressed(compressor, net, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp(compressor.name) / "small.onnx"
    compressor.compress(net.path, target, net.samples)
    return target


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def answers(path: Path, samples) -> np.ndarray:
    running = session(path)
    return np.concatenate([running.run(None, feed)[0] for feed in samples])


def interface(path: Path) -> list:
    running = session(path)
    return [(v.name, v.type, v.shape) for v in (*running.get_inputs(), *running.get_outputs())]


def test_what_every_compressor_promises(compressor):
    report = check_compressor(compressor).check()
    assert not report.refused
    assert {"answers in onnxruntime", "bundle for openvino"} <= {
        each.name for each in report.checks
    }


def test_signature_stays(compressed, net):
    assert interface(compressed) == interface(net.path)


def test_file_is_smaller_and_its_weights_have_fewer_bits(compressed, net):
    weights = onnx.load(compressed).graph.initializer
    few = (TensorProto.INT8, TensorProto.UINT8, TensorProto.FLOAT16)
    stored = dict.fromkeys((TensorProto.FLOAT, *few), 0)
    for weight in weights:
        if weight.data_type in stored:
            stored[weight.data_type] += int(np.prod(weight.dims))
    assert sum(stored[kind] for kind in few) > 5 * stored[TensorProto.FLOAT]
    assert compressed.stat().st_size < 0.6 * net.path.stat().st_size


def test_answers_stay_close(compressor, compressed, net):
    before, after = answers(net.path, net.samples), answers(compressed, net.samples)
    cosine = (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after)
    least, most = CLOSE.get(compressor.name, DEFAULT_CLOSE)
    assert cosine > least
    assert np.abs(before - after).max() < most * np.abs(before).max()
    assert not np.array_equal(before, after)  # otherwise nothing was quantised


def test_source_is_untouched_and_nothing_else_is_left(compressor, build, tmp_path):
    net = build("mlp")
    before = hashlib.sha256(net.path.read_bytes()).hexdigest()
    compressor.compress(net.path, tmp_path / "small.onnx", net.samples)
    assert hashlib.sha256(net.path.read_bytes()).hexdigest() == before
    assert {path.name for path in tmp_path.iterdir()} == {"mlp.onnx", "small.onnx"}


def test_same_input_gives_the_same_graph(compressor, compressed, net, tmp_path):
    again = tmp_path / "again.onnx"
    compressor.compress(net.path, again, net.samples)
    assert np.array_equal(answers(again, net.samples), answers(compressed, net.samples))


def test_nothing_to_quantise_is_said(compressor, tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"], name="r")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in "xy")
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "relu.onnx")
    samples = [{"x": np.ones((1, 4), np.float32)}]
    with pytest.raises(ModelError, match="found nothing to"):
        compressor.compress(tmp_path / "relu.onnx", tmp_path / "small.onnx", samples)
    assert {path.name for path in tmp_path.iterdir()} == {"relu.onnx"}


def test_quantised_already_is_refused(compressor, compressed, net, tmp_path):
    again = "found nothing to" if compressor.name in storages.names() else "quantised already"
    with pytest.raises(ModelError, match=again):
        compressor.compress(compressed, tmp_path / "twice.onnx", net.samples)
    assert not list(tmp_path.iterdir())


def test_broken_file_is_refused(compressor, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x09 not a graph" * 9)
    with pytest.raises(ModelError, match="cannot be read"):
        compressor.compress(tmp_path / "broken.onnx", tmp_path / "small.onnx", [])
    assert {path.name for path in tmp_path.iterdir()} == {"broken.onnx"}


def test_no_calibration_samples(compressor, build, tmp_path):
    net = build("mlp")
    if compressor.needs_calibration:
        with pytest.raises(DataError, match="calibration"):
            compressor.compress(net.path, tmp_path / "small.onnx", [])
        assert not (tmp_path / "small.onnx").exists()
    else:
        compressor.compress(net.path, tmp_path / "small.onnx", [])
        assert (tmp_path / "small.onnx").exists()


def test_an_old_opset_is_converted(compressor, builder, tmp_path):
    x = builder.op("Relu", builder.linear("x", 64, 96))
    out = builder.linear(x, 96, 64)
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])]
    path = builder.save(tmp_path / "old.onnx", given, out, [1, 64], opset=11)
    samples = [{"x": builder.rng.normal(size=(1, 64)).astype(np.float32)} for _ in range(8)]
    compressor.compress(path, tmp_path / "small.onnx", samples)
    before, after = answers(path, samples), answers(tmp_path / "small.onnx", samples)
    _, most = CLOSE.get(compressor.name, (0.99, 0.1))
    assert np.abs(before - after).max() < most * np.abs(before).max()


def test_available(compressor):
    assert compressor.available().ok
