"""Networks that int8 breaks as it comes: a few channels are far wider than the rest."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

import lepton_ai
from lepton_ai import Budget

CLASSES, SAMPLES, SIZE = 6, 900, 24
MAX_DROP = 0.03
#: Four channels of the second layer are 3,000 times the others; the third layer makes up for it.
SPREAD = np.where(np.arange(64) % 16 == 0, 100.0, 1 / 30).astype(np.float32)
ACTIVATIONS = {
    "relu": "b = Relu (a)",
    "swish": "s = Sigmoid (a) b = Mul (a, s)",
}
NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, SIZE, SIZE] x) => (float[n, CLASSES] y)
{
    c = Conv <pads = [1, 1, 1, 1]> (x, v)
    d = Relu (c)
    a = Conv <pads = [1, 1, 1, 1]> (d, w)
    ACTIVATION
    e = Conv <pads = [1, 1, 1, 1]> (b, u)
    f = Relu (e)
    i = Conv <pads = [1, 1, 1, 1]> (f, t)
    j = Relu (i)
    k = Conv <pads = [1, 1, 1, 1]> (j, t)
    l = Relu (k)
    m = Conv <pads = [1, 1, 1, 1]> (l, t)
    o = Relu (m)
    p = GlobalAveragePool (o)
    q = Flatten (p)
    y = Gemm <transB = 1> (q, h, hb)
}
"""


def network(folder: Path, activation: str) -> tuple[Path, Path]:
    """A classifier of noisy templates by the means of their features, and its data."""
    rng = np.random.default_rng(11)
    templates = rng.normal(size=(CLASSES, 3, SIZE, SIZE))
    labels = rng.integers(0, CLASSES, SAMPLES)
    x = (templates[labels] + 0.7 * rng.normal(size=(SAMPLES, 3, SIZE, SIZE))).astype(np.float32)
    text = NETWORK.replace("SIZE", str(SIZE)).replace("CLASSES", str(CLASSES))
    model = parser.parse_model(text.replace("ACTIVATION", ACTIVATIONS[activation]))
    weights = {
        "v": rng.normal(size=(32, 3, 3, 3)) / 5,
        "w": rng.normal(size=(64, 32, 3, 3)) / 17 * SPREAD.reshape(-1, 1, 1, 1),
        "u": rng.normal(size=(64, 64, 3, 3)) / 24 / SPREAD.reshape(1, -1, 1, 1),
        "t": rng.normal(size=(64, 64, 3, 3)) / 17,
        "h": np.zeros((CLASSES, 64)),
        "hb": np.zeros(CLASSES),
    }
    for name, values in weights.items():
        tensor = numpy_helper.from_array(values.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    path = folder / "net.onnx"
    _teach(model, x, labels)
    onnx.save(model, path)
    np.savez(folder / "val.npz", x=x, labels=labels)
    return path, folder / "val.npz"


def _teach(model: onnx.ModelProto, x: np.ndarray, labels: np.ndarray) -> None:
    """Let the last layer tell the classes by least squares on half of the features."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(onnx.ValueInfoProto(name="q"))
    session = onnxruntime.InferenceSession(probe.SerializeToString())
    features = session.run(["q"], {"x": x})[0]
    middle = features.mean(axis=0)
    wanted = np.eye(CLASSES)[labels] - 1 / CLASSES
    half = slice(0, SAMPLES // 2)
    solved = np.linalg.lstsq(features[half] - middle, wanted[half], rcond=1e-6)[0].T
    for weight in model.graph.initializer:
        if weight.name == "h":
            weight.CopyFrom(numpy_helper.from_array(solved.astype(np.float32), "h"))
        if weight.name == "hb":
            bias = (-solved @ middle).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(bias, "hb"))


def search(folder: Path, activation: str, engines: list[str]) -> list[dict]:
    """The static int8 graphs that were tried for a network."""
    path, data = network(folder, activation)
    budget = Budget(max_drop=MAX_DROP, minutes=2)
    result = lepton_ai.optimize(path, data, budget=budget, engines=engines)
    assert result.status == "MET"
    tried = [trial for trial in result.tried if "int8-static" in trial["name"]]
    as_they_come = [trial for trial in tried if trial["recipe"]["rewrites"] in ([], ["standard"])]
    assert any("loses" in t["why"] for t in as_they_come if not t["recipe"]["kept"])
    return tried


def keeps(trial: dict) -> bool:
    return trial["likely_bound"] is not None and trial["likely_bound"] <= MAX_DROP


def test_a_network_that_int8_breaks_is_prepared_for_it(tmp_path):
    tried = search(tmp_path, "relu", ["onnxruntime"])
    assert any(keeps(t) and "equalise-channels" in t["recipe"]["rewrites"] for t in tried)


@pytest.mark.slow
def test_where_that_does_not_help_the_nodes_that_suffer_are_put_back(tmp_path):
    tried = search(tmp_path, "swish", ["onnxruntime"])
    mixed = [t for t in tried if t["recipe"]["kept"]]
    assert any(map(keeps, mixed))
    assert any("int8 disturbs" in t["why"] and "dB" in t["why"] for t in tried)
