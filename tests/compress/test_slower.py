"""Which nodes an engine computes more slowly in int8, by its own profile."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from lepton_ai.compress.compressor import named_compressor
from lepton_ai.compress.finish import finish, finished
from lepton_ai.compress.graph_file import prepare
from lepton_ai.compress.int8_costs import reasons
from lepton_ai.compress.put_back import put_back
from lepton_ai.compress.rounded import Rounded
from lepton_ai.compress.slower import slower_nodes, times_of
from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.graph.graph_report import NodeTime


@pytest.fixture
def graphs(build, tmp_path: Path):
    """A network, how quantisers see it, and what one made of it."""
    net = build("conv")
    target = tmp_path / "int8" / "model.onnx"
    target.parent.mkdir()
    named_compressor("int8-static-nncf").compress(net.path, target, net.samples)
    finish(target)
    (tmp_path / "ready").mkdir()
    return net, prepare(net.path, tmp_path / "ready"), target


def kernel(milliseconds: float, *nodes: str) -> NodeTime:
    return NodeTime(kernel="k", operator="o", milliseconds=milliseconds, nodes=nodes)


def test_what_rounds_is_counted_to_what_reads_it(graphs):
    import onnx

    _, plain, quantised = graphs
    exact, rounded = onnx.load(plain), onnx.load(quantised)
    products = [
        node.name for node in exact.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")
    ]
    inputs = {node.name: node.input for node in rounded.graph.node}
    makers = {name: node for node in rounded.graph.node for name in node.output}
    widens = makers[inputs[products[1]][0]]
    assert widens.op_type == "DequantizeLinear"
    rounds = makers[widens.input[0]]
    times = times_of(
        exact,
        rounded,
        [kernel(1.0, products[1]), kernel(0.5, rounds.name), kernel(0.25, widens.name)],
    )
    assert times == {products[1]: 1.75}


def test_nodes_are_slower_if_their_kernels_and_what_rounds_for_them_are(graphs):
    import onnx

    _, plain, quantised = graphs
    names = Rounded(onnx.load(plain), onnx.load(quantised)).names
    slow, fast = names[0], names[1]

    def profiled(path: Path) -> list[NodeTime]:
        in_int8 = path == quantised
        return [kernel(3.0 if in_int8 else 1.0, slow), kernel(1.0 if in_int8 else 3.0, fast)]

    assert slower_nodes(plain, quantised, quantised, profiled).nodes == [(slow, 2.0)]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_what_engines_tell_can_be_put_back(graphs, engine, tmp_path):
    net, plain, quantised = graphs

    def profiled(path: Path):
        return engines.get(engine)().profile(path, EnginePlan(threads=1), net.samples[0], 5)

    found = slower_nodes(plain, quantised, finished(quantised, engine), profiled).nodes
    assert all(lost > 0 for _, lost in found)
    if found:
        put_back(net.path, quantised, tmp_path / "mixed.onnx", [name for name, _ in found])
        executable = engines.get(engine)().load(tmp_path / "mixed.onnx", EnginePlan(threads=1))
        answers = executable.run(net.samples[0])
        assert all(np.isfinite(each).all() for each in answers.values())


def convolution(name: str, *, channels: int, groups: int = 1):
    weight = np.zeros((channels, channels // groups, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", f"{name}.w"], [name], name=name, group=groups)
    return node, numpy_helper.from_array(weight, f"{name}.w")


def test_why_int8_is_slow_is_told_with_what_it_costs_the_dearest_first():
    wide, deep, few = (
        convolution("wide", channels=64),
        convolution("deep", channels=64, groups=64),
        convolution("few", channels=8),
    )
    nodes, weights = zip(wide, deep, few, strict=True)
    exact = helper.make_model(helper.make_graph(nodes, "g", [], [], weights))
    kernels = [
        NodeTime(kernel="a", operator="QLinearConv", milliseconds=1.0, nodes=("wide",)),
        NodeTime(kernel="b", operator="QLinearConv", milliseconds=4.0, nodes=("deep",)),
        NodeTime(kernel="c", operator="Conv", milliseconds=2.0, nodes=("few",)),
        NodeTime(kernel="d", operator="QuantizeLinear", milliseconds=2.5, nodes=("rounds",)),
        NodeTime(kernel="e", operator="ReorderInput", milliseconds=0.1, nodes=()),
    ]
    before = {"wide": 2.0, "deep": 1.0, "few": 1.9}
    after = {"wide": 3.5, "deep": 4.0, "few": 2.0}
    found = reasons(exact, before, after, kernels, {"rounds": "wide"})
    assert found == [
        "31% lost on depth-wise convolutions, 4.0× as long as in floating point ('deep')",
        "26% to rounding and widening that nothing fuses ('wide')",
        "21% to products that it computes in floating point all the same ('few')",
    ]
