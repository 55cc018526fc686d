"""Factors moved from layer to layer, so that int8 leaves steps to every channel."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from lepton_ai.compress.compressor import compressors
from lepton_ai.compress.equalise_channels import EqualiseChannels
from lepton_ai.graph.applying import apply_rule
from lepton_ai.graph.gate import check_equal
from lepton_ai.graph.inspection.cost import infer_shapes

#: Eight channels of which one is 1000 times the others.
SPREAD = np.array([1000, 1, 1, 1, 1, 1, 1, 1], np.float32)
BODIES = {
    "relu": "m = Conv <pads = [1, 1, 1, 1]> (x, v, b)  r = Relu (m)  y = Conv (r, w)",
    "pooled": (
        "m = Conv (x, v, b)  r = MaxPool <kernel_shape = [2, 2]> (m)  l = LeakyRelu (r) "
        "y = Conv (l, w)"
    ),
    "two readers": (
        "m = Conv (x, v, b)  r = Relu (m)  p = Conv (r, w)  s = Conv (r, w)  y = Add (p, s)"
    ),
    "depth-wise": (
        "m = Conv (x, v, b)  r = Relu (m)  d = Conv <group = 8> (r, dw)  y = Conv (d, w)"
    ),
    "head": (
        "m = Conv (x, v, b)  r = Relu (m)  g = GlobalAveragePool (r)  f = Flatten (g) "
        "y = Gemm <transB = 1> (f, h, hb)"
    ),
}
LEFT = {
    "not homogeneous": "m = Conv (x, v, b)  r = Sigmoid (m)  y = Conv (r, w)",
    "read elsewhere": "m = Conv (x, v, b)  r = Relu (m)  z = Conv (r, w)  y = Add (z, r)",
    "answered": "y = Conv (x, v, b)  r = Relu (y)  z = Conv (r, w)",
}


def weights(spread: np.ndarray) -> dict[str, np.ndarray]:
    rng, width = np.random.default_rng(3), len(spread)
    made = {
        "v": rng.normal(size=(width, 3, 1, 1)) * spread.reshape(-1, 1, 1, 1),
        "b": rng.normal(size=width) * spread * 0.1,
        "w": rng.normal(size=(width, width, 1, 1)) / spread.reshape(1, -1, 1, 1),
        "dw": rng.normal(size=(width, 1, 1, 1)) / spread.reshape(-1, 1, 1, 1),
        "h": rng.normal(size=(5, width)) / spread,
        "hb": rng.normal(size=5),
    }
    return {name: values.astype(np.float32) for name, values in made.items()}


def write(path: Path, body: str, spread: np.ndarray = SPREAD) -> Path:
    rank = "n, k" if "Gemm" in body else "n, k, h, w"
    head = '<ir_version: 8, opset_import: ["" : 17]> g'
    model = parser.parse_model(f"{head} (float[n, 3, 6, 6] x) => (float[{rank}] y) {{ {body} }}")
    for name, values in weights(spread).items():
        if any(name in node.input for node in model.graph.node):
            model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.save(model, path)
    return path


def equalised(path: Path) -> tuple[ir.Model, list[str]]:
    model = ir.load(path)
    infer_shapes(model)
    ledger = apply_rule(model, EqualiseChannels(calls()), frozenset())
    return model, [firing.site for firing in ledger.firings]


def calls(count: int = 8) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    return [{"x": rng.normal(size=(2, 3, 6, 6)).astype(np.float32)} for _ in range(count)]


def answers(path: Path) -> list[dict[str, np.ndarray]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [{"y": session.run(["y"], feed)[0]} for feed in calls()]


@pytest.mark.parametrize("body", BODIES)
def test_the_answers_stay_and_a_second_time_finds_nothing(body, tmp_path):
    path = write(tmp_path / "net.onnx", BODIES[body])
    model, fired = equalised(path)
    assert "m" in fired
    ir.save(model, tmp_path / "equal.onnx")
    equality = check_equal(answers(path), answers(tmp_path / "equal.onnx"))
    assert equality.equal, equality.why
    assert equalised(tmp_path / "equal.onnx")[1] == []


@pytest.mark.parametrize("body", LEFT)
def test_what_others_would_see_is_left(body, tmp_path):
    assert equalised(write(tmp_path / "net.onnx", LEFT[body]))[1] == []


def test_channels_that_are_alike_are_left(tmp_path):
    path = write(tmp_path / "net.onnx", BODIES["relu"], np.ones(8, np.float32))
    assert equalised(path)[1] == []


def test_a_channel_that_is_never_alive_keeps_its_weights(tmp_path):
    path = write(tmp_path / "net.onnx", BODIES["relu"])
    model = onnx.load(path)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight).copy()
        if weight.name in "vb":
            values[3] = 0
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)
    equal, fired = equalised(path)
    assert fired == ["m"]
    last = next(node for node in equal.graph if node.outputs[0].name == "y")
    before = weights(SPREAD)["w"]
    after = last.inputs[1].const_value.numpy()
    np.testing.assert_array_equal(after[:, 3], before[:, 3])
    assert not np.allclose(after[:, 0], before[:, 0])
    ir.save(equal, tmp_path / "equal.onnx")
    equality = check_equal(answers(path), answers(tmp_path / "equal.onnx"))
    assert equality.equal, equality.why


def test_a_pool_over_the_channels_is_not_passed(tmp_path):
    body = "m = MatMul (x, t)  r = AveragePool <kernel_shape = [1, 3], pads = [0, 1, 0, 1]> (m)"
    path = write(tmp_path / "net.onnx", f"{body}  y = MatMul (r, s)")
    model = onnx.load(path)
    rng = np.random.default_rng(0)
    for name, values in (("t", rng.normal(size=(6, 8)) * SPREAD), ("s", rng.normal(size=(8, 8)))):
        model.graph.initializer.append(numpy_helper.from_array(values.astype("f"), name))
    onnx.save(model, path)
    assert equalised(path)[1] == []


@pytest.mark.parametrize("name", ["int8-static-ort", "int8-static-nncf"])
def test_int8_loses_far_less(name, tmp_path):
    path = write(tmp_path / "net.onnx", BODIES["relu"], np.tile(SPREAD, 8))
    ir.save(equalised(path)[0], tmp_path / "equal.onnx")
    before = np.concatenate([each["y"] for each in answers(path)])
    lost = []
    for source in (path, tmp_path / "equal.onnx"):
        target = tmp_path / f"{source.stem}-int8.onnx"
        compressors.get(name)().compress(source, target, calls())
        after = np.concatenate([each["y"] for each in answers(target)])
        lost.append(np.square(after - before).mean() / before.var())
    assert lost[1] < lost[0] / 10
