"""Small graphs written in ONNX's own text form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A graph's text and its weights (by name) to an ONNX file."""

    def to_file(text: str, name: str = "net", **weights: np.ndarray) -> Path:
        model = parser.parse_model(text)
        for weight, values in weights.items():
            model.graph.initializer.append(numpy_helper.from_array(values, weight))
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        return path

    return to_file


@pytest.fixture
def run() -> Callable[..., dict[str, np.ndarray]]:
    def once(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    return once
