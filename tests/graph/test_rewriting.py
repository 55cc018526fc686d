"""All rules together: what they may rely on, and what must stay as it was."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from lepton_ai.errors import ModelError
from lepton_ai.graph.gate import check_equal
from lepton_ai.graph.onnx_file import load_graph, save_graph
from lepton_ai.graph.rewrite import rules_of
from lepton_ai.graph.rewriting import rewrite_graph
from lepton_ai.graph.rule import Ledger, Rule

CLUTTERED = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 4] x, float[batch, 4] z) => (float[batch, 4] second, float[batch, 4] first)
<float[2] a = {1.0, 2.0}, float[2] b = {3.0, 4.0}>
{
    row = Concat <axis = 0> (a, b)
    same = Identity (x)
    p = Add (same, row)
    q = Add (x, row)
    unused = Relu (z)
    first = Mul (p, q)
    second = Sub (p, z)
}
"""


def rewritten(source, target):
    model, done = rewrite_graph(load_graph(source), rules_of("standard"))
    save_graph(model, target)
    return done


def declared(path):
    graph = onnx.load(path).graph
    return [
        (v.name, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in (*graph.input, *graph.output)
    ]


def test_clutter_goes_and_the_interface_stays(write, run, tmp_path):
    source, target = write(CLUTTERED), tmp_path / "rewritten.onnx"
    done = rewritten(source, target)
    assert (done.nodes_before, done.nodes_after) == (7, 3)
    assert declared(target) == declared(source)
    feed = {name: np.random.default_rng(0).normal(size=(3, 4)).astype("f") for name in "xz"}
    assert check_equal([run(source, **feed)], [run(target, **feed)]).equal
    record = done.to_json()
    assert {"rule", "site", "nodes", "why"} == set(record["fired"][0])


def test_nothing_to_do_fires_nothing(write, tmp_path):
    source = write(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] y) { y = Relu (x) }'
    )
    done = rewritten(source, tmp_path / "rewritten.onnx")
    assert (done.fired, done.nodes_before, done.nodes_after) == ((), 1, 1)


def test_branches_functions_and_unknown_domains_survive(write, tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17, "some.where" : 1, "local" : 1]>
    g (bool c, float[n] x) => (float[n] y, float[m] z)
    {
        s = Identity (x)
        y = If (c) <
            then_branch = t () => (float[n] u) { r = Identity (s)  u = Relu (r) },
            else_branch = e () => (float[n] v) { v = Neg (s) }
        >
        w = local.Twice (x)
        z = some.where.Guess <size = 3> (w)
    }
    <domain: "local", opset_import: ["" : 17]>
    Twice (a) => (b) { b = Add (a, a) }
    """
    rewritten(write(text), tmp_path / "rewritten.onnx")
    graph = ir.load(tmp_path / "rewritten.onnx")
    kinds = [node.op_type for node in graph.graph.all_nodes()]
    assert sorted(kinds) == ["Add", "Guess", "If", "Neg", "Relu"]


def test_random_nodes_are_not_merged(write, tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[4] y)
    { a = RandomUniformLike (x)  b = RandomUniformLike (x)  y = Sub (a, b) }
    """
    assert rewritten(write(text), tmp_path / "rewritten.onnx").fired == ()


def test_a_weight_that_a_caller_may_give_is_no_constant(write, run, tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x, float[1] w) => (float[n] y)
    <float[1] w = {0.0}>
    { a = Add (x, w)  y = Add (a, w) }
    """
    source, target = write(text), tmp_path / "rewritten.onnx"
    rewritten(source, target)
    feed = {"x": np.float32([1, 2]), "w": np.float32([10])}
    assert run(target, **feed)["y"].tolist() == [21, 22]


class Broken(Rule):
    """Cannot take any graph."""

    name = "broken"
    requires = "nothing"
    ensures = "nothing"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        raise KeyError("lost")


def test_without_a_proof_a_rule_that_fails_is_told(write):
    with pytest.raises(ModelError, match=r"'broken' failed.*lost"):
        rewrite_graph(load_graph(write(CLUTTERED)), [Broken()])


def test_weights_beside_the_graph_stay_beside_it(write, run, tmp_path, monkeypatch):
    from lepton_ai.graph import onnx_file

    monkeypatch.setattr(onnx_file, "MOST_BYTES_IN_ONE_FILE", 100)
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 16] x) => (float[n, 16] y)
    { a = MatMul (x, v)  b = Identity (a)  c = Relu (b)  y = MatMul (c, w) }
    """
    weight = np.random.default_rng(0).normal(size=(16, 16)).astype("f")
    source, target = write(text, v=weight, w=weight), tmp_path / "rewritten.onnx"
    done = rewritten(source, target)
    assert done.nodes_after == 3
    assert target.with_name("rewritten.onnx.data").stat().st_size == weight.nbytes
    assert target.stat().st_size < 1000
    feed = {"x": weight[:2]}
    assert check_equal([run(source, **feed)], [run(target, **feed)]).equal
