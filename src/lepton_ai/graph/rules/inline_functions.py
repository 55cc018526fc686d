"""Functions of the model's own, put where they are called."""

from collections import defaultdict

import onnx_ir as ir
from onnx_ir.passes import PreconditionError
from onnx_ir.passes.common import InlinePass

from lepton_ai.graph.bodies import MOST_CALLS_INLINED, graphs_of
from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.rule import Ledger, Rule


class InlineFunctions(Rule):
    """No other rule looks into a function; inlined, its nodes are nodes like all others."""

    name = "inline-functions"
    requires = "a node calls a function that the model defines, under the model's own opsets"
    ensures = "the function's nodes stand in place of the call"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Inline function by function, all calls of one at once."""
        calls = _calls(model)
        every = [node for nodes in calls.values() for node in nodes]
        if _calls_once_inlined(model) > MOST_CALLS_INLINED:
            ledger.miss(every, "there would be too many calls to inline in reasonable time")
            return
        allowed = set()
        for identifier, nodes in calls.items():
            function = model.functions[identifier]
            obstacle = _obstacle(model, function, nodes)
            if obstacle:
                ledger.miss(nodes, obstacle)
            elif ledger.fire(_label(function), nodes, f"calls {_label(function)}"):
                allowed.add(identifier)
        if not allowed:
            return
        inline = InlinePass(criteria=lambda function: function.identifier() in allowed)
        try:
            inline(model)
            # Of values inside a function, nothing was known.
            infer_shapes(model)
        except PreconditionError:
            ledger.firings.clear()
            ledger.miss(every, "the functions call each other in a circle")


def _calls(model: ir.Model) -> dict[ir.OperatorIdentifier, list[ir.Node]]:
    calls: dict[ir.OperatorIdentifier, list[ir.Node]] = defaultdict(list)
    nodes = [*model.graph.all_nodes()]
    for function in model.functions.values():
        nodes.extend(function.all_nodes())
    for node in nodes:
        if node.op_identifier() in model.functions:
            calls[node.op_identifier()].append(node)
    return calls


def _calls_once_inlined(model: ir.Model) -> int:
    """How many calls there are to inline, those of calls inside functions counted each time."""
    inside = {
        name: [node.op_identifier() for node in function.all_nodes()]
        for name, function in model.functions.items()
    }
    total: dict[ir.OperatorIdentifier, int] = {}

    def below(name: ir.OperatorIdentifier, callers: int) -> int:
        # Functions that call each other in a circle are the inliner's to refuse.
        if name not in total and callers <= len(inside):
            total[name] = 1 + sum(below(one, callers + 1) for one in inside[name] if one in inside)
        return total.get(name, 1)

    called = (node.op_identifier() for node in model.graph.all_nodes())
    return sum(below(name, 1) for name in called if name in inside)


def _label(function: ir.Function) -> str:
    return ".".join(part for part in (function.domain, function.name, function.overload) if part)


def _obstacle(model: ir.Model, function: ir.Function, calls: list[ir.Node]) -> str:
    """Why ``function`` cannot be inlined; empty if it can."""
    for domain, version in function.opset_imports.items():
        has = model.opset_imports.get(domain, version)
        if has != version:
            shown = domain or "ai.onnx"
            return f"it is written in opset {version} of {shown}, the model in {has}"
    outputs = list(function.outputs)
    if len(set(outputs)) != len(outputs) or any(value.is_graph_input() for value in outputs):
        return "it answers with an input of its own, or with one value twice"
    if any(any(graphs_of(node)) for node in calls):
        return "it is given a graph as a parameter"
    if any(len(node.inputs) > len(function.inputs) for node in calls):
        return "it is given more inputs than it has"
    return ""
