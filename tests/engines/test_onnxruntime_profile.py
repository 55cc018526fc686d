"""ONNX Runtime's profile, in the names of the original graph."""

import numpy as np
import onnx
import pytest

from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.engines.onnxruntime_profile import WARM_UP_CALLS, kernel_times
from lepton_ai.errors import EngineError

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def profiled(path, calls=5, **feed):
    return engines.get("onnxruntime")().profile(path, EnginePlan(), feed, calls)


def by_nodes(kernels):
    return {kernel.nodes: kernel for kernel in kernels}


def test_every_node_that_runs_is_there_in_order(write):
    path = write(
        "(float[n, 4] x) => (float[n, 4] y)",
        "[first] a = MatMul (x, w) [second] b = Softmax (a) [third] y = Exp (b)",
        w=floats(4, 4),
    )
    kernels = profiled(path, x=floats(64, 4))
    assert [kernel.nodes for kernel in kernels] == [("first",), ("second",), ("third",)]
    assert [kernel.operator for kernel in kernels] == ["MatMul", "Softmax", "Exp"]
    assert all(kernel.milliseconds >= 0 for kernel in kernels)


def test_a_fused_kernel_stands_for_all_that_it_replaced(write):
    path = write(
        "(float[n, 8] x) => (float[n, 8] y)",
        """
        [product] a = MatMul (x, w)
        [bias] b = Add (a, c)
        [scaled] d = Div (b, root)
        [erf] e = Erf (d)
        [plus] f = Add (e, one)
        [times] g = Mul (b, f)
        [half] y = Mul (g, h)
        """,
        w=floats(8, 8),
        c=floats(8),
        root=np.array(np.sqrt(2), np.float32),
        one=np.array(1, np.float32),
        h=np.array(0.5, np.float32),
    )
    kernels = profiled(path, x=floats(4, 8))
    fused = next(kernel for kernel in kernels if "Gelu" in kernel.operator)
    assert set(fused.nodes) >= {"scaled", "erf", "plus", "times", "half"}
    product = next(kernel for kernel in kernels if "product" in kernel.nodes)
    assert product is not fused
    assert sum(len(kernel.nodes) for kernel in kernels) == 7


def test_a_convolution_in_blocked_layout_stands_for_its_activation_and_sum(write):
    path = write(
        "(float[1, 16, 8, 8] x) => (float[1, 16, 6, 6] y)",
        """
        [first] a = Conv <kernel_shape = [3, 3]> (x, k)
        [relu] b = Relu (a)
        [second] c = Conv <kernel_shape = [1, 1]> (b, p)
        [sum] d = Add (b, c)
        [last] y = Relu (d)
        """,
        k=floats(16, 16, 3, 3),
        p=floats(16, 16, 1, 1),
    )
    kernels = by_nodes(profiled(path, x=floats(1, 16, 8, 8)))
    if not any("Reorder" in kernel.operator for kernel in kernels.values()):
        pytest.skip("the runtime keeps the plain layout on this processor")
    assert ("first", "relu") in kernels
    assert ("second", "sum", "last") in kernels
    assert all("Reorder" in kernel.operator for nodes, kernel in kernels.items() if not nodes)


def test_nodes_without_a_name_go_by_their_operator_and_output(write):
    path = write("(float[n] x) => (float[n] y)", "a = Exp (x) b = Sin (a) y = Exp (b)")
    nodes = [kernel.nodes for kernel in profiled(path, x=floats(9))]
    assert nodes == [("Exp of a",), ("Sin of b",), ("Exp of y",)]
    assert [node.name for node in onnx.load(path).graph.node] == ["", "", ""]


def test_weights_in_a_file_beside_the_graph_are_found(write, tmp_path):
    path = write(
        "(float[n, 64] x) => (float[n, 64] y)", "a = MatMul (x, w) y = Exp (a)", w=floats(64, 64)
    )
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="beside", size_threshold=0)
    nodes = [kernel.nodes for kernel in profiled(path, x=floats(2, 64))]
    assert nodes == [("MatMul of a",), ("Exp of y",)]


def test_bodies_are_counted_by_themselves(write):
    path = write(
        "(float[64, 64] x) => (float[64, 64] y)",
        """
        [loop] y = Loop (trips, , x) <
            body = step (int64 k, bool go, float[64, 64] s) => (bool on, float[64, 64] r) {
                [again] on = Identity (go)
                [product] r = MatMul (s, w)
            }
        >
        """,
        trips=np.array(20),
        w=floats(64, 64) / 100,
    )
    kernels = by_nodes(profiled(path, x=floats(64, 64)))
    assert set(kernels) == {("loop",), ("again",), ("product",)}
    assert kernels[("product",)].milliseconds > 20 * 0.001


def test_inputs_that_do_not_fit_are_an_engine_error(write):
    path = write("(float[n, 4] x) => (float[n, 4] y)", "y = Exp (x)")
    with pytest.raises(EngineError, match="onnxruntime failed"):
        profiled(path, x=floats(2, 3))


def event(name, ts, dur, op="Add"):
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "ts": ts,
        "dur": dur,
        "args": {"op_name": op},
    }


def run(ts, dur):
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "args": {}}


def test_times_are_medians_of_the_calls_after_the_warm_up():
    events = []
    for call, spent in enumerate([900] * WARM_UP_CALLS + [10, 30, 20]):
        events += [event("a", call * 1000, spent), run(call * 1000, 950)]
    assert kernel_times(events) == {("a", "Add"): 0.020}


def test_a_loop_counts_less_its_body_and_the_body_as_often_as_it_ran():
    events = []
    for call in range(WARM_UP_CALLS + 1):
        begin = call * 1000
        events += [
            run(begin, 500),
            event("step", begin + 10, 40),
            event("step", begin + 60, 30),
            event("loop", begin, 100, "Loop"),
            event("after", begin + 100, 5),
        ]
    times = kernel_times(events)
    assert times == {("loop", "Loop"): 0.030, ("step", "Add"): 0.070, ("after", "Add"): 0.005}
