"""The plans that engines propose for a graph, and what they do with them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.onnxruntime import EVERYTHING, OnnxRuntime
from lepton_ai.engines.openvino import OpenVino
from lepton_ai.errors import EngineError

TOWERS = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 32] x) => (float[n, 32] y)
{
    a = MatMul (x, v)  b = Relu (a)  c = MatMul (b, v)
    d = MatMul (x, w)  e = Tanh (d)  f = MatMul (e, w)
    y = Add (c, f)
}
"""
CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 32] x) => (float[n, 32] y)
{ a = MatMul (x, v)  b = Relu (a)  y = MatMul (b, w) }
"""


def graph(folder: Path, text: str) -> Path:
    rng = np.random.default_rng(0)
    model = parser.parse_model(text)
    for name in "vw":
        values = rng.normal(size=(32, 32)).astype("f")
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


def test_branches_are_proposed_where_there_are_some(tmp_path):
    proposed = OnnxRuntime().plans(graph(tmp_path, TOWERS), EnginePlan(threads=2))
    assert EnginePlan(threads=1, branches=2) in proposed
    proposed = OnnxRuntime().plans(graph(tmp_path, CHAIN), EnginePlan(threads=2))
    assert all(plan.branches == 1 for plan in proposed)


@pytest.mark.parametrize("plan", [EnginePlan(branches=2), EnginePlan(without=(EVERYTHING,))])
def test_the_answers_are_those_of_any_other_plan(tmp_path, plan):
    path = graph(tmp_path, TOWERS)
    call = {"x": np.ones((3, 32), np.float32)}
    plain = OnnxRuntime().load(path, EnginePlan()).run(call)
    np.testing.assert_allclose(
        OnnxRuntime().load(path, plan).run(call)["y"], plain["y"], rtol=1e-5, atol=1e-5
    )


def test_an_engine_that_schedules_by_itself_says_so(tmp_path):
    with pytest.raises(EngineError, match="decides by itself"):
        OpenVino().load(graph(tmp_path, CHAIN), EnginePlan(branches=2))


def test_a_plan_survives_being_written_down():
    plan = EnginePlan(threads=1, branches=2, without=("a",))
    assert EnginePlan.from_json(plan.to_json()) == plan
    assert EnginePlan.from_json({"threads": 1, "precision": "fp32"}) == EnginePlan()
