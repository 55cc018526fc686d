import numpy as np
import onnx_ir as ir
import pytest

from lepton_ai.graph.rule import Ledger
from lepton_ai.graph.rules.inline_functions import InlineFunctions

CALLS = """
<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
g (bool c, float[n] x) => (float[n] y)
{
    a = local.Twice (x)
    b = If (c) <
        then_branch = t () => (float[n] u) { u = local.Twice (a) },
        else_branch = e () => (float[n] v) { v = local.Root (a) }
    >
    y = Neg (b)
}
<domain: "local", opset_import: ["" : 17, "local" : 1]>
Root (a) => (b) { s = local.Twice (a)  t = Abs (s)  b = Sqrt (t) }
<domain: "local", opset_import: ["" : 17]>
Twice (a) => (b) { b = Add (a, a) }
"""
FEED = {"c": np.array(False), "x": np.float32([1, 2, -3])}


def test_functions_go_where_they_are_called_inside_branches_and_each_other_too(apply):
    done = apply(InlineFunctions, CALLS, FEED)
    assert sorted(firing.site for firing in done.ledger.firings) == ["local.Root", "local.Twice"]
    assert done.operators == {"Add": 3, "Abs": 1, "Sqrt": 1, "Neg": 1, "If": 1}
    assert not done.model.functions


def test_values_that_were_inside_have_shapes_and_dtypes_afterwards(apply):
    done = apply(InlineFunctions, CALLS, FEED)
    assert all(value.dtype for node in done.model.graph for value in node.outputs)


def test_a_denied_function_stays(apply):
    done = apply(InlineFunctions, CALLS, FEED, denied=frozenset({"local.Twice"}))
    assert done.operators["Twice"] == 0
    assert done.operators["local.Twice"] == 3
    assert [firing.site for firing in done.ledger.firings] == ["local.Root"]


def test_another_opset_is_a_near_miss(apply):
    text = CALLS.replace('["" : 17]>\nTwice', '["" : 16]>\nTwice')
    done = apply(InlineFunctions, text, FEED)
    assert "opset 16" in done.ledger.near_misses[0].why
    assert done.operators["local.Twice"] == 3


def test_a_function_that_hands_on_its_input_is_a_near_miss(write):
    text = """
    <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[n] x) => (float[n] y) { y, z = local.Same (x) }
    <domain: "local", opset_import: ["" : 17]>
    Same (a) => (b, a) { b = Neg (a) }
    """
    ledger = Ledger(rule="inline-functions")
    InlineFunctions().apply(ir.load(write(text)), ledger)
    assert ledger.firings == []
    assert "input of its own" in ledger.near_misses[0].why


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("b = local.F1 (a)", "in a circle"),
        ("c = local.F1 (a)  b = local.F1 (c)", "too many calls"),
    ],
)
def test_functions_that_call_each_other_without_end_are_a_near_miss(write, body, why):
    functions = [
        f'<domain: "local", opset_import: ["" : 17, "local" : 1]>\n'
        f"F{i} (a) => (b) {{ {body.replace('F1', f'F{(i + 1) % 20}')} }}"
        for i in range(20)
    ]
    if why == "too many calls":
        functions[-1] = functions[-1].split("{")[0] + "{ b = Neg (a) }"
    text = """
    <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[n] x) => (float[n] y) { y = local.F0 (x) }
    """
    ledger = Ledger(rule="inline-functions")
    InlineFunctions().apply(ir.load(write("\n".join([text, *functions]))), ledger)
    assert ledger.firings == []
    assert why in ledger.near_misses[0].why
