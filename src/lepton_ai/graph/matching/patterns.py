"""Patterns of the onnxscript rewriter, with each firing put before the ledger."""

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet

from lepton_ai.graph.rule import Ledger


def apply_patterns(
    model: ir.Model,
    ledger: Ledger,
    patterns: Sequence[RewriteRule],
    why: str = "",
    *,
    commute: bool = False,
) -> None:
    """Rewrite ``model`` by ``patterns``, wherever ``ledger`` lets them.

    ``why`` is the reason noted for a firing; a pattern's own name where it is empty. A pattern that
    matched and whose condition then failed is a near miss, with the condition's reason.
    """
    every = [one for pattern in patterns for one in (pattern.commute() if commute else [pattern])]
    watched: list[Any] = [_Watched(pattern, ledger, why) for pattern in every]
    RewriteRuleSet(watched).apply_to_model(model)


class _Watched:
    """A rewrite rule as :class:`RewriteRuleSet` uses one, which asks before it rewrites."""

    def __init__(self, pattern: RewriteRule, ledger: Ledger, why: str) -> None:
        self._pattern = pattern
        self._ledger = ledger
        self._why = why or f"matches {pattern.name or 'a known pattern'}"
        self.name = pattern.name
        self.remove_nodes = pattern.remove_nodes
        self.graph_pre_visitor = pattern.graph_pre_visitor
        self.graph_post_visitor = pattern.graph_post_visitor
        self.as_function = pattern.as_function

    def try_rewrite(
        self, model: ir.Model, graph: ir.Graph | ir.Function, node: ir.Node, **_: Any
    ) -> Any:
        """The replacement, if the pattern holds at ``node`` and the ledger lets it."""
        listener = _Listener(self._ledger)
        match: Any = self._pattern.match(
            model,
            graph,
            node,
            check_nodes_are_removable=self.remove_nodes,
            tracer=listener,  # type: ignore[arg-type]  # only its ``log`` is called
        )
        if not match or not self._ledger.fire(str(node.outputs[0].name), match.nodes, self._why):
            return None
        replacement = self._pattern.try_rewrite(model, graph, node)
        if replacement is None:  # the replacement itself found a reason not to
            self._ledger.firings.pop()
        return replacement


class _Listener:
    """Hears why a pattern that matched was left alone."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def log(self, _rule: Any, _graph: Any, node: ir.Node, match: Any, status: Any) -> None:
        """Note a condition that failed."""
        if status.name == "CONDITION_FAILED" and match.reason:
            self._ledger.miss([node], str(match.reason))
