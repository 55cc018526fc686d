"""Planted wrong rules: caught, found, and rolled back by themselves."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.graph.proof import MOST_CULPRITS, Proof
from lepton_ai.graph.rewriting import rewrite_graph
from lepton_ai.graph.rule import Ledger, Rule

LAYERS = 6
Harm = Callable[[ir.Node, ir.Graph], None]


def stack() -> ir.Model:
    """Several residual layers, each a product, a bias and a softmax."""
    lines, x = [], "x"
    for layer in range(LAYERS):
        lines.append(f"p{layer} = MatMul ({x}, w)")
        lines.append(f"a{layer} = Add (p{layer}, b)")
        lines.append(f"s{layer} = Softmax <axis = 1> (a{layer})")
        lines.append(f"r{layer} = Add ({x}, s{layer})")
        x = f"r{layer}"
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[batch, 3] x) => (float[batch, 3] y)
    <float[3, 3] w = {{0.2, -0.4, 0.1, 0.5, 0.05, -0.2, 0.0, 0.3, -0.1}},
     float[3] b = {{0.1, -0.7, 0.4}}>
    {{ {" ".join(lines)} y = Add ({x}, x) }}
    """
    return ir.serde.deserialize_model(parser.parse_model(text))


def by_an_epsilon(node: ir.Node, graph: ir.Graph) -> None:
    bias = constant_of(node.inputs[1])
    assert bias is not None
    node.replace_input_with(1, add_weight(graph, "off", bias + np.float32([0.0, 0.01, 0.0])))


def by_an_axis(node: ir.Node, _: ir.Graph) -> None:
    softmax = next(use.node for use in node.outputs[0].uses())
    softmax.attributes["axis"] = ir.AttrInt64("axis", 0)


def by_a_broadcast(node: ir.Node, graph: ir.Graph) -> None:
    bias = constant_of(node.inputs[1])
    assert bias is not None
    node.replace_input_with(1, add_weight(graph, "off", bias.reshape(3, 1)))


HARMS: dict[str, Harm] = {
    "epsilon": by_an_epsilon,
    "axis": by_an_axis,
    "broadcast": by_a_broadcast,
}


class Planted(Rule):
    """Renames each bias, which is right, and does harm beside it at some of the places."""

    name = "planted"
    requires = "an Add of the constant b"
    ensures = "another name, and harm"

    def __init__(self, harm: Harm, at: frozenset[str]) -> None:
        self.harm = harm
        self.at = at

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        for node in list(model.graph):
            bias = node.inputs[1] if node.op_type == "Add" else None
            if bias is None or bias.name != "b":
                continue
            site = str(node.outputs[0].name)
            if not ledger.fire(site, [node], "renamed"):
                continue
            values = constant_of(bias)
            assert values is not None
            node.replace_input_with(1, add_weight(model.graph, "renamed", values))
            if site in self.at:
                self.harm(node, model.graph)


@pytest.fixture
def proof(in_process: Callable[..., Callable[[ir.Model], list[dict[str, np.ndarray]]]]) -> Proof:
    rng = np.random.default_rng(5)
    calls = [{"x": rng.normal(size=(batch, 3)).astype("f")} for batch in (3, 4)]
    return Proof(in_process(calls), stack())


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("layer", range(LAYERS))
def test_one_wrong_firing_is_found_and_the_rest_are_kept(proof, harm, layer):
    rule = Planted(HARMS[harm], frozenset({f"a{layer}"}))
    model, done = rewrite_graph(stack(), [rule], proof)
    assert [one.firing.site for one in done.rolled_back] == [f"a{layer}"]
    assert done.rolled_back[0].why
    assert {firing.site for firing in done.fired} == {f"a{i}" for i in range(LAYERS)} - {
        f"a{layer}"
    }
    assert proof.accept(model).equal


@pytest.mark.parametrize("harm", HARMS)
def test_several_wrong_firings_are_all_found(proof, harm):
    at = frozenset({"a1", "a2", "a5"})
    model, done = rewrite_graph(stack(), [Planted(HARMS[harm], at)], proof)
    assert {one.firing.site for one in done.rolled_back} == at
    assert {firing.site for firing in done.fired} == {"a0", "a3", "a4"}
    assert proof.accept(model).equal


def test_an_epsilon_comes_with_how_large_it_was(proof):
    _, done = rewrite_graph(stack(), [Planted(by_an_epsilon, frozenset({"a5"}))], proof)
    difference = done.rolled_back[0].largest_difference
    assert difference is not None
    assert 1e-4 < difference < 1e-1
    assert "differs by" in done.rolled_back[0].why


class Endless(Rule):
    """Wrong at more places than anybody would look for one by one."""

    name = "endless"
    requires = "nothing"
    ensures = "harm"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        for place in range(MOST_CULPRITS + 5):
            if ledger.fire(f"place {place}", [], "harm"):
                by_an_axis(next(n for n in model.graph if n.op_type == "Add"), model.graph)


def test_a_rule_that_is_wrong_throughout_is_left_out_whole(proof):
    model, done = rewrite_graph(stack(), [Endless()], proof)
    assert done.fired == ()
    assert len(done.rolled_back) == MOST_CULPRITS + 5
    assert proof.accept(model).equal


class Raises(Rule):
    """Fails halfway."""

    name = "raises"
    requires = "nothing"
    ensures = "nothing"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        node = next(n for n in model.graph if n.op_type == "Add")
        ledger.fire("half", [node], "half done")
        by_an_axis(node, model.graph)
        raise RuntimeError("cannot go on")


def test_a_rule_that_raises_leaves_nothing_behind(proof):
    model, done = rewrite_graph(stack(), [Raises()], proof)
    assert done.fired == ()
    assert "cannot go on" in done.failed[0]
    assert proof.accept(model).equal


class Renames(Rule):
    """Gives the graph's output another name."""

    name = "renames"
    requires = "nothing"
    ensures = "another interface"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        if ledger.fire("y", [], "renamed"):
            model.graph.outputs[0].name = "z"


def test_a_rule_that_changes_the_interface_is_left_out(proof):
    model, done = rewrite_graph(stack(), [Renames()], proof)
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert "outputs must stay" in done.failed[0]
