"""Facts of a small real network, measured once."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import lepton_ai
from lepton_ai import Budget
from lepton_ai.plan.advising.advice import Advice

#: Wide enough that its convolutions take longer than a call costs.
WIDTH, SIZE, SAMPLES = 64, 24, 400
NETWORK = f"""
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, {SIZE}, {SIZE}] x) => (float[n, 5] y)
{{
    a = Conv <pads = [1, 1, 1, 1]> (x, v)
    b = Relu (a)
    c = Conv <pads = [1, 1, 1, 1]> (b, w)
    d = Relu (c)
    e = Conv <pads = [1, 1, 1, 1]> (d, u)
    f = Add (e, b)
    p = GlobalAveragePool (f)
    q = Flatten (p)
    y = Gemm <transB = 1> (q, h)
}}
"""
SHAPES = {
    "v": (WIDTH, 3, 3, 3),
    "w": (WIDTH, WIDTH, 3, 3),
    "u": (WIDTH, WIDTH, 3, 3),
    "h": (5, WIDTH),
}


def network(path: Path) -> Path:
    """A classifier with a residual block and random weights, its nodes named ``n0``, ``n1``, …"""
    rng = np.random.default_rng(1)
    model = parser.parse_model(NETWORK)
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    for name, shape in SHAPES.items():
        values = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def convolutional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("advised") / "net.onnx")


@pytest.fixture(scope="session")
def advice(convolutional: Path) -> Advice:
    """What is advised for it, in one engine."""
    x = np.random.default_rng(2).normal(size=(SAMPLES, 3, SIZE, SIZE)).astype(np.float32)
    budget = Budget(max_drop=0.05, minutes=5)
    return lepton_ai.advise(convolutional, {"x": x}, budget=budget, engines=["onnxruntime"])
