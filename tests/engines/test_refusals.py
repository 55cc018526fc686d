"""What engines say of graphs that they cannot take."""

import pytest

from lepton_ai.engines.engine import Engine, EnginePlan, engines
from lepton_ai.errors import EngineError, EngineUnavailableError

GRAPH_ENGINES = [name for name, kind in engines.items() if kind.form == "graph"]
POOL = "[pool] y = AveragePool <kernel_shape = [64, 64], strides = [64, 64], ceil_mode = 1> (x)"


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_nothing_is_refused_of_a_graph_that_is_taken(write, name):
    path = write("(float[n] x) => (float[n] y)", "y = Exp (x)")
    assert engines.get(name)().refusals(path) == ()


def test_openvino_names_the_node_and_the_reason(write):
    path = write("(float[n, 64, 7, 7] x) => (float[n, 64, 1, 1] y)", POOL)
    (refusal,) = engines.get("openvino")().refusals(path)
    assert (refusal.operator, refusal.node) == ("AveragePool", "y")
    assert refusal.reason.startswith("Kernel after dilation has size")
    with pytest.raises(EngineError, match="AveragePool node 'y': Kernel after dilation"):
        engines.get("openvino")().load(path, EnginePlan())


def test_openvino_names_the_operators_that_it_has_not(write):
    path = write(
        "(float[n, 2, 2] x) => (float[n] y)",
        "a = org.x.Odd (x) y = Det (a)",
        domains=', "org.x" : 1',
    )
    refusals = engines.get("openvino")().refusals(path)
    assert {(one.node, one.operator) for one in refusals} == {("", "org.x.Odd"), ("", "Det")}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("[mixed] y = MatMul (x, w)", ("mixed", "MatMul")),
        (
            "[cast] b = Cast <to = 16> (x) [cos] c = Cos (b) [back] y = Cast <to = 1> (c)",
            ("cos", "Cos"),
        ),
        ("[odd] y = org.x.Odd (x)", ("", "org.x:Odd")),
    ],
)
def test_onnxruntime_names_the_node(write, body, wanted):
    path = write(
        "(float[4, 4] x, double[4, 4] w) => (float[4, 4] y)", body, domains=', "org.x" : 1'
    )
    (refusal,) = engines.get("onnxruntime")().refusals(path)
    assert (refusal.node, refusal.operator) == wanted
    assert "ONNXRuntimeError" not in refusal.reason
    assert str(path) not in refusal.reason


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "reference"])
def test_a_complaint_that_names_no_node_is_one_refusal_without_one(tmp_path, name):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph at all")
    (refusal,) = engines.get(name)().refusals(path)
    assert (refusal.node, refusal.operator) == ("", "")
    assert name in refusal.reason


def test_an_engine_that_is_not_installed_is_not_a_refusal(tmp_path):
    class Missing(engines.get("reference")):
        def load(self, path, plan):
            raise EngineUnavailableError("not here")

    with pytest.raises(EngineUnavailableError):
        Missing().refusals(tmp_path)


def test_an_engine_that_does_not_tell_says_so(write):
    path = write("(float[n] x) => (float[n] y)", "y = Exp (x)")
    assert engines.get("reference").profile is Engine.profile
    with pytest.raises(EngineError, match="reference does not tell how long its kernels take"):
        engines.get("reference")().profile(path, EnginePlan(), {}, 1)
