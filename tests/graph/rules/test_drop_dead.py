import numpy as np
import onnx_ir as ir

from lepton_ai.graph.rule import Ledger
from lepton_ai.graph.rules.drop_dead import DropDead

TEXT = """
<ir_version: 8, opset_import: ["" : 17, "some.where" : 1, "local" : 1]>
g (bool c, float[n] x, float[n] unread) => (float[n] y)
<float[1] idle = {1.0}, float[1] used = {2.0}>
{
    a = Neg (x)
    b = Exp (a)
    lone = Abs (x)
    outer = Sqrt (x)
    y = If (c) <
        then_branch = t () => (float[n] u) { inner = Cos (outer)  u = Mul (x, used) },
        else_branch = e () => (float[n] v) { v = Relu (x) }
    >
    d = If (c) <
        then_branch = t2 () => (float[n] u2) { u2 = Tanh (x) },
        else_branch = e2 () => (float[n] v2) { v2 = Identity (x) }
    >
}
<domain: "local", opset_import: ["" : 17]>
Twice (p) => (q) { q = Add (p, p) }
"""
FEED = {"c": np.array(True), "x": np.float32([1, 4]), "unread": np.float32([0, 0])}


def test_each_group_that_hangs_together_goes_by_itself(apply):
    done = apply(DropDead, TEXT, FEED)
    assert [firing.site for firing in done.ledger.firings] == [
        "b",
        "lone",
        "inner",
        "d",
        "weight:idle",
        "function:local.Twice",
        "opset:local",
        "opset:some.where",
    ]
    assert done.operators == {"If": 1, "Mul": 1, "Relu": 1}
    assert [value.name for value in done.model.graph.inputs] == ["c", "x", "unread"]
    assert list(done.model.graph.initializers) == ["used"]


def test_a_denied_group_stays(write):
    model = ir.load(write(TEXT))
    DropDead().apply(model, Ledger(rule="drop-dead", denied=frozenset({"b", "weight:idle"})))
    assert [node.op_type for node in model.graph] == ["Neg", "Exp", "If"]
    assert "idle" in model.graph.initializers


def test_a_weight_that_is_an_input_stays(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x, float[1] w = {1.0}) => (float[n] y) { y = Neg (x) }
    """
    assert apply(DropDead, text, {"x": np.float32([1])}).ledger.firings == []


def test_a_long_dead_chain_is_one_group(apply):
    chain = " ".join(f"a{i + 1} = Neg (a{i})" for i in range(3000))
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] a0) => (float[n] y) {{ {chain} y = Relu (a0) }}
    """
    done = apply(DropDead, text, {"a0": np.float32([1])})
    assert [firing.site for firing in done.ledger.firings] == ["a3000"]
    assert len(done.ledger.firings[0].nodes) == 3000


def test_the_standard_opset_stays_under_either_of_its_names(write):
    text = """
    <ir_version: 8, opset_import: ["ai.onnx" : 17]>
    g (float[n] x) => (float[n] y) { y = Neg (x) }
    """
    model = ir.load(write(text))
    DropDead().apply(model, Ledger(rule="drop-dead"))
    assert model.opset_imports == {"ai.onnx": 17}
