"""How wide ranges are, and how many bits weights have where sums of int8 overflow."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_ai.compress.compressor import named_compressor
from lepton_ai.engines.processor import Processor


def quantised(name, path, target, samples) -> onnx.ModelProto:
    named_compressor(name).compress(path, target, samples)
    return onnx.load(target)


def spiky(builder, folder):
    """A network that a few of its inputs, far out, matter to; and samples of them."""
    x = builder.op("Relu", builder.linear("x", 64, 96))
    out = builder.linear(builder.op("Relu", builder.linear(x, 96, 96)), 96, 10)
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])]
    path = builder.save(folder / "spiky.onnx", given, out, ["n", 10])
    values = builder.rng.normal(size=(40, 8, 64))
    values[builder.rng.random(values.shape) < 0.001] *= 60
    return path, [{"x": value} for value in values.astype(np.float32)]


def answers(path, samples) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    return np.concatenate([session.run(None, feed)[0] for feed in samples])


def test_with_nothing_cut_off_values_that_are_far_out_keep_their_weight(builder, tmp_path):
    path, samples = spiky(builder, tmp_path)
    before, noise = answers(path, samples[32:]), []
    for name in ("int8-static-nncf", "int8-static-nncf-minmax"):
        quantised(name, path, tmp_path / f"{name}.onnx", samples[:32])
        after = answers(tmp_path / f"{name}.onnx", samples[32:])
        noise.append(np.square(after - before).sum())
    assert noise[1] < noise[0] / 4


@pytest.mark.parametrize("name", ["int8-dynamic", "int8-static-ort", "int8-static-nncf"])
def test_weights_have_seven_bits_where_sums_overflow(name, build, tmp_path, monkeypatch):
    net = build("mlp")
    most = []
    for isa in (("avx2",), ("avx2", "avx_vnni")):
        machine = Processor(name="any", isa=isa)
        monkeypatch.setattr(
            "lepton_ai.engines.processor.processor", lambda machine=machine: machine
        )
        model = quantised(name, net.path, tmp_path / f"{len(most)}.onnx", net.samples)
        weights = [numpy_helper.to_array(w) for w in model.graph.initializer]
        large = [
            np.abs(w.astype(int)).max() for w in weights if w.dtype == np.int8 and w.size > 999
        ]
        most.append(max(large))
    assert most[0] <= 64 < 120 < most[1]
