"""Whether engines take a graph, and every node that they refuse."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from lepton_ai.engines.engine import default_engines
from lepton_ai.errors import ModelError
from lepton_ai.measure import fit as fit_module
from lepton_ai.measure.fit import fit

POOL = "[pool] p = AveragePool <kernel_shape = [64, 64], strides = [64, 64], ceil_mode = 1> (x)"


@pytest.fixture
def write(tmp_path):
    def to_file(signature, body, name="net", domains=""):
        text = f'<ir_version: 8, opset_import: ["" : 17{domains}]> g {signature} {{ {body} }}'
        model = parser.parse_model(text)
        model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "w"))
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        return path

    return to_file


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_graph_that_is_taken(digits, engine):
    found = fit(engine, digits / "model.onnx")
    assert found.takes
    assert (found.engine, found.refusals, found.takes_rewritten) == (engine, (), None)
    assert found.why == f"{engine} takes the graph as it is"


def test_all_nodes_that_are_refused_are_found_not_just_the_first_of_each_operator(write):
    body = f"{POOL} [small] s = AveragePool <kernel_shape = [2, 2]> (x) [det] d = Det (q)"
    body += " [sin] e = Sin (q) [again] f = Det (e)"
    body += (
        " [large] l = AveragePool <kernel_shape = [50, 50], strides = [50, 50], ceil_mode = 1> (x)"
    )
    path = write(
        "(float[n, 64, 7, 7] x, float[n, 3, 3] q)"
        "=> (float[n, 64, 1, 1] p, float[n, 64, 6, 6] s, float[n] d, float[n] f,"
        " float[n, 64, 1, 1] l)",
        body,
    )
    found = fit("openvino", path)
    assert not found.takes
    assert {one.node for one in found.refusals} == {"pool", "large", "det", "again"}
    assert {one.operator for one in found.refusals} == {"AveragePool", "Det"}
    assert found.why.startswith("openvino refuses 4 nodes (AveragePool, Det): ")
    assert fit("onnxruntime", path).takes


def test_what_fails_only_because_another_did_is_not_blamed(write):
    """OpenVINO's own log also names the mean, whose dtype it no longer knows."""
    path = write(
        "(float[4, 4] x, double[4, 4] v) => (float y)",
        "[mixed] a = MatMul (x, v) [mean] y = ReduceMean <keepdims = 0> (a)",
    )
    assert {one.node for one in fit("openvino", path).refusals} == {"mixed"}


def test_a_node_inside_a_body_is_named_and_not_the_one_around_it(write):
    path = write(
        "(float[4, 3, 3] x, bool c) => (float[4] y)",
        """
        [choice] y = If (c) <
            then_branch = one () => (float[4] p) { [inner] p = Det (x) },
            else_branch = two () => (float[4] q) { q = ReduceMax <axes = [1, 2], keepdims = 0> (x) }
        >
        """,
    )
    assert [one.node for one in fit("openvino", path).refusals] == ["inner"]


def test_an_operator_that_cannot_be_offered_alone_is_refused_by_its_name(write):
    path = write(
        "(float[n] x) => (float[n] y)",
        "a = org.x.Odd (x) [second] b = org.x.Other (a) y = Exp (b)",
        domains=', "org.x" : 1',
    )
    found = fit("openvino", path)
    assert {one.operator for one in found.refusals} == {"org.x.Odd", "org.x.Other"}
    assert {one.node for one in found.refusals} == {"Odd of a", "second"}


def test_the_rule_that_unlocks_is_named_where_the_rewritten_graph_is_taken(write):
    path = write("(float[n, 64, 7, 7] x) => (float[n, 64, 1, 1] p)", POOL)
    right = write(
        "(float[n, 64, 7, 7] x) => (float[n, 64, 1, 1] p)", "p = GlobalAveragePool (x)", "r"
    )
    found = fit("openvino", path, right, unlocking={"pool": "global-pool", "other": "none"})
    assert (found.takes, found.takes_rewritten) == (False, True)
    assert [one.unlocked_by for one in found.refusals] == ["global-pool"]
    same = fit("openvino", path, path, unlocking={"pool": "global-pool"})
    assert (same.takes, same.takes_rewritten) == (False, False)
    assert [one.unlocked_by for one in same.refusals] == [""]


def test_a_file_that_is_no_graph_is_the_users_mistake(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph at all")
    with pytest.raises(ModelError, match="is not an ONNX graph"):
        fit("onnxruntime", path)


def test_a_crash_is_a_refusal_and_the_others_are_still_offered(write, monkeypatch):
    path = write("(float[n] x) => (float[n] y)", "[a] p = Exp (x) [b] q = Sin (p) [c] y = Cos (q)")
    offered = []
    real = fit_module.Child.call

    def call(self, target, engine, file, **settings):
        offered.append([node.op_type for node in onnx.load(file).graph.node])
        if "Sin" in offered[-1]:
            return real(self, "os:_exit", 3, **settings)
        return real(self, target, "onnxruntime", file, **settings)

    monkeypatch.setattr(fit_module.Child, "call", call)
    found = fit("onnxruntime", path)
    assert [one.node for one in found.refusals] == ["b"]
    assert "died: exit code 3" in found.refusals[0].reason
    assert offered[1:] == [["Exp"], ["Sin"], ["Cos"]]


def test_no_more_time_is_spent_than_given(write):
    path = write("(float[n, 64, 7, 7] x) => (float[n, 64, 1, 1] p)", POOL)
    found = fit("openvino", path, seconds=0)
    assert not found.takes
    assert [one.operator for one in found.refusals] == ["AveragePool"]


def test_every_engine_can_be_asked(digits):
    names = [engine.name for engine in default_engines()]
    assert {"onnxruntime", "openvino"} <= set(names)
    assert all(fit(name, Path(digits / "model.onnx")).takes for name in names)
