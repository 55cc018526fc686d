"""OpenVINO's profile, in the names of the original graph."""

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.engines.openvino_profile import WARM_UP_CALLS, profile_request
from lepton_ai.errors import EngineError

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def profiled(path, calls=10, **feed):
    return engines.get("openvino")().profile(path, EnginePlan(), feed, calls)


def test_a_kernel_stands_for_the_layers_that_were_fused_into_it(write):
    path = write(
        "(float[1, 16, 64, 64] x) => (float[1, 16, 62, 62] y)",
        "[first] a = Conv <kernel_shape = [3, 3]> (x, k) [relu] b = Relu (a) [last] y = Sin (b)",
        k=floats(16, 16, 3, 3),
    )
    kernels = profiled(path, x=floats(1, 16, 64, 64))
    nodes = {kernel.operator: kernel.nodes for kernel in kernels}
    assert nodes["Convolution"] == ("first", "relu")
    assert ("last",) in nodes.values()
    assert all(kernel.milliseconds >= 0 for kernel in kernels)
    assert sum(kernel.milliseconds for kernel in kernels) > 0


def test_what_the_converter_takes_apart_goes_to_the_node_that_it_came_from(write):
    path = write(
        "(float[20, 2, 64] x) => (float[20, 2, 64] y)",
        "[layer] h, , = LSTM <hidden_size = 64> (x, w, r) [squeeze] y = Squeeze (h, one)",
        w=floats(1, 256, 64),
        r=floats(1, 256, 64),
        one=np.array([1]),
    )
    kernels = profiled(path, x=floats(20, 2, 64))
    recurrent = [kernel for kernel in kernels if "LSTM" in kernel.operator]
    assert recurrent
    assert all(kernel.nodes == ("layer",) for kernel in recurrent)


def test_nodes_without_a_name_go_by_their_operator_and_output(write):
    path = write(
        "(float[n, 256] x) => (float[n, 256] y)",
        "a = MatMul (x, w) b = Sin (a) y = MatMul (b, w)",
        w=floats(256, 256),
    )
    nodes = {kernel.nodes for kernel in profiled(path, x=floats(64, 256))}
    assert nodes >= {("MatMul of a",), ("Sin of b",), ("MatMul of y",)}


class Averaging:
    """A request whose one kernel took ``times``, in microseconds, as the plug-in tells it."""

    def __init__(self, times):
        self.times = times
        self.calls = 0

    def create_infer_request(self):
        return self

    def get_runtime_model(self):
        return SimpleNamespace(get_ordered_ops=list)

    def infer(self, feed, share_inputs):
        self.calls += 1

    def get_profiling_info(self):
        spent = self.times[: self.calls]
        info = SimpleNamespace(
            Status=SimpleNamespace(EXECUTED="executed"),
            status="executed",
            node_name="k",
            node_type="MatMul",
            real_time=timedelta(microseconds=sum(spent) / len(spent)),
        )
        return [info]


def test_what_the_warm_up_took_is_taken_out_of_the_average_again(write):
    """The counters average over all calls, and the first one compiles kernels."""
    path = write("(float[n] x) => (float[n] y)", "y = Exp (x)")
    request = Averaging([5000] * WARM_UP_CALLS + [10, 20, 30, 40])
    (kernel,) = profile_request(path, request, {}, 4)
    assert request.calls == WARM_UP_CALLS + 4
    assert kernel.milliseconds == pytest.approx(0.025, abs=0.001)


def test_inputs_that_do_not_fit_are_an_engine_error(write):
    path = write("(float[n, 4] x) => (float[n, 4] y)", "y = Exp (x)")
    with pytest.raises(EngineError, match="openvino failed"):
        profiled(path, x=floats(2, 3))
