"""Small graphs for what engines tell about them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A graph's signature, body and weights (by name) to an ONNX file."""

    def to_file(
        signature: str,
        body: str,
        *,
        name: str = "net",
        domains: str = "",
        **weights: np.ndarray,
    ) -> Path:
        head = f'<ir_version: 8, opset_import: ["" : 17{domains}]>'
        model = parser.parse_model(f"{head} g {signature} {{ {body} }}")
        for weight, values in weights.items():
            model.graph.initializer.append(numpy_helper.from_array(values, weight))
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        return path

    return to_file


@pytest.fixture
def large_graph(write: Write) -> Path:
    """A product with a weight of 16 MiB."""
    weights = np.random.default_rng(0).normal(size=(2048, 2048)).astype("f")
    return write("(float[n, 2048] x) => (float[n, 2048] y)", "y = MatMul (x, w)", w=weights)
