"""Providers are asked, and not believed."""

import numpy as np
import onnx
import onnxruntime
import pytest

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.onnxruntime import OnnxRuntime
from lepton_ai.engines.onnxruntime_providers import CPU, ONE_NODE, PROVIDERS, devices, trial
from lepton_ai.engines.onnxruntime_session import run_bound
from lepton_ai.errors import EngineError, EngineUnavailableError


def test_the_graph_of_one_node_is_one():
    model = onnx.load_from_string(ONE_NODE)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Add"]


def test_the_processor_always_computes_and_comes_first():
    assert devices()[0] == "cpu"


def test_a_device_that_is_listed_is_in_the_build():
    built_in = onnxruntime.get_available_providers()
    assert all(PROVIDERS[name][0] in built_in for name in devices())


def open_on_processor(graph, providers, entries):
    """As the runtime does where a provider lacks its driver: on the processor, without a word."""
    return onnxruntime.InferenceSession(graph, providers=[CPU])


def test_a_provider_that_gives_way_does_not_compute():
    assert trial(CPU, open_on_processor) == ""
    assert "gave way to CPUExecutionProvider" in trial("CUDAExecutionProvider", open_on_processor)


def test_a_provider_that_fails_says_why():
    def fail(graph, providers, entries):
        assert entries["session.disable_cpu_ep_fallback"] == "1"
        raise RuntimeError("libcudnn.so.9: cannot open shared object file\nat line 7")

    assert trial("CUDAExecutionProvider", fail) == ("libcudnn.so.9: cannot open shared object file")


def test_a_device_that_is_not_here_is_refused_with_what_brings_it(write):
    path = write("(float[n] x) => (float[n] y)", "y = Exp (x)")
    if "cuda" in devices():
        pytest.skip("CUDA is here")
    with pytest.raises(EngineUnavailableError, match=r"on cuda here.*pip install onnxruntime-gpu"):
        OnnxRuntime().load(path, EnginePlan(device="cuda"))
    with pytest.raises(EngineError, match=r"knows the devices cpu, cuda.*not 'abacus'"):
        OnnxRuntime().load(path, EnginePlan(device="abacus"))


def test_a_call_with_its_arrays_bound_to_a_device(write):
    """The processor stands for one: its memory is bound in the same way."""
    body = "y = Exp (x) z = Neg (s)"
    path = write("(float[n, 3] x, float s) => (float[n, 3] y, float z)", body)
    session = onnxruntime.InferenceSession(str(path), providers=[CPU])
    x = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2]
    y, z = run_bound(session, ["y", "z"], {"x": x, "s": np.array(2, np.float32)}, "cpu")
    np.testing.assert_allclose(y, np.exp(x), rtol=1e-6)
    assert z.shape == ()
    assert z == -2


def test_every_device_answers_as_the_processor_does(write):
    if devices() == ("cpu",):
        pytest.skip("this machine has no device that ONNX Runtime computes on but its processor")
    path = write("(float[n, 3] x) => (float[n, 3] y)", "y = Exp (x)")
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    for device in devices():
        answer = OnnxRuntime().load(path, EnginePlan(device=device)).run({"x": x})
        np.testing.assert_allclose(answer["y"], np.exp(x), rtol=1e-4)
