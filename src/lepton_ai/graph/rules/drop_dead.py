"""What no answer depends on."""

from collections import defaultdict

import onnx_ir as ir

from lepton_ai.graph.bodies import graphs_of
from lepton_ai.graph.matching.rewiring import let_go
from lepton_ai.graph.rule import Ledger, Rule


class DropDead(Rule):
    """Left over from training, from pruning, or from another rule."""

    name = "drop-dead"
    requires = "nothing that leads to an output reads a node, weight, function or opset"
    ensures = "it is gone; inputs stay, read or not"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Drop dead nodes, one group that hangs together at a time, then what only they used."""
        alive = _alive(model)
        for group in _groups(model, alive):
            last = group[-1]
            if ledger.fire(
                f"{last.outputs[0].name}", group, "no output depends on what it computes"
            ):
                _remove(group)
        _drop_weights(model, ledger)
        _drop_functions(model, ledger)
        _drop_opsets(model, ledger)


def _alive(model: ir.Model) -> set[ir.Node]:
    """The nodes that an output depends on, those of the graphs that such nodes run included."""
    alive: set[ir.Node] = set()
    waiting = [value.producer() for value in model.graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in alive:
            continue
        alive.add(node)
        waiting.extend(value.producer() for value in node.inputs if value is not None)
        for graph in graphs_of(node):
            waiting.extend(value.producer() for value in graph.outputs)
    return alive


def _groups(model: ir.Model, alive: set[ir.Node]) -> list[list[ir.Node]]:
    """The dead nodes of all graphs that run, by which of them hang together; readers come last."""
    leader: dict[ir.Node, ir.Node] = {}

    def find(node: ir.Node) -> ir.Node:
        while leader[node] is not node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    dead = [node for graph in _running(model.graph, alive) for node in graph if node not in alive]
    for node in dead:
        leader[node] = node
        for reader in (node, *(inner for graph in graphs_of(node) for inner in graph.all_nodes())):
            for value in reader.inputs:
                made = value.producer() if value is not None else None
                if made in leader:
                    leader[find(made)] = node
    groups: dict[ir.Node, list[ir.Node]] = defaultdict(list)
    for node in dead:
        groups[find(node)].append(node)
    return list(groups.values())


def _running(graph: ir.Graph, alive: set[ir.Node]) -> list[ir.Graph]:
    """``graph`` and those that its live nodes run: a dead one's go with it."""
    found = [graph]
    for node in graph:
        if node in alive:
            for inner in graphs_of(node):
                found.extend(_running(inner, alive))
    return found


def _remove(group: list[ir.Node]) -> None:
    for node in reversed(group):
        let_go(node)
        if node.graph is not None:
            node.graph.remove(node, safe=True)


def _drop_weights(model: ir.Model, ledger: Ledger) -> None:
    for graph in model.graphs():
        for name, value in list(graph.initializers.items()):
            if value.uses() or value.is_graph_output() or value.is_graph_input():
                continue
            if ledger.fire(f"weight:{name}", [], f"nothing reads the weight {name!r}"):
                graph.initializers.pop(name)


def _drop_functions(model: ir.Model, ledger: Ledger) -> None:
    called: set[ir.OperatorIdentifier] = set()
    waiting = list(model.graph.all_nodes())
    while waiting:
        identifier = waiting.pop().op_identifier()
        if identifier in model.functions and identifier not in called:
            called.add(identifier)
            waiting.extend(model.functions[identifier].all_nodes())
    for identifier in set(model.functions) - called:
        name = ".".join(part for part in identifier if part)
        if ledger.fire(f"function:{name}", [], f"nothing calls the function {name}"):
            del model.functions[identifier]


def _drop_opsets(model: ir.Model, ledger: Ledger) -> None:
    used = {"", "ai.onnx", *(node.domain for node in model.graph.all_nodes())}
    used |= {function.domain for function in model.functions.values()}
    for domain in sorted(set(model.opset_imports) - used):
        if ledger.fire(f"opset:{domain}", [], f"nothing uses the operators of {domain}"):
            del model.opset_imports[domain]
