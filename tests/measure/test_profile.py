"""A profile from child processes."""

import numpy as np
import pytest

from lepton_ai.errors import EngineError, WorkerError
from lepton_ai.measure.profile import profile

X = np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_kernels_and_whole_calls(digits, tmp_path, engine):
    found = profile(engine, digits / "model.onnx", {"x": X}, tmp_path / "log", timeout=60)
    assert (found.engine, found.threads) == (engine, 1)
    assert 0 < found.milliseconds < 1000
    nodes = {node for kernel in found.kernels for node in kernel.nodes}
    assert nodes <= {"layer_0", "r0", "layer_1"}
    if engine == "onnxruntime":
        assert nodes == {"layer_0", "r0", "layer_1"}


def test_an_engine_that_does_not_tell_says_so(digits, tmp_path):
    with pytest.raises(EngineError, match="does not tell"):
        profile("reference", digits / "model.onnx", {"x": X}, tmp_path / "log", timeout=60)


def test_a_call_that_fails_is_an_engine_error(digits, tmp_path):
    with pytest.raises(EngineError, match="wants the shape"):
        profile("onnxruntime", digits / "model.onnx", {"x": X[:, 1:]}, tmp_path / "l", timeout=60)


def test_one_that_takes_too_long_is_stopped(digits, tmp_path):
    with pytest.raises(WorkerError, match="took longer than"):
        profile("onnxruntime", digits / "model.onnx", {"x": X}, tmp_path / "log", timeout=0.01)
