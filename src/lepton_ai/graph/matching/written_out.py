"""Operators that a graph writes out in several nodes, and the rules that find them."""

from abc import abstractmethod
from typing import ClassVar

import onnx_ir as ir

from lepton_ai.graph.rule import Ledger, Rule


class WrittenOut(Rule):
    """A rule that puts one operator of the standard in place of the nodes that write it out."""

    #: The first opset with the operator.
    since: ClassVar[int]
    #: The standard operators at which the search for a written-out form begins.
    roots: ClassVar[frozenset[str]]

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Fuse every written-out form, if the graph's opset has the operator."""
        if (model.opset_imports.get("") or 0) >= self.since:
            self.fuse(model, ledger)

    def fuse(self, model: ir.Model, ledger: Ledger) -> None:
        """Fuse every written-out form, whatever the opset."""
        for graph in model.graphs():
            for node in graph:
                if node.op_type in self.roots and node.domain == "":
                    self.fuse_at(graph, node, ledger)

    @abstractmethod
    def fuse_at(self, graph: ir.Graph, root: ir.Node, ledger: Ledger) -> None:
        """Fuse the form that ``root`` is part of, if it is one and ``ledger`` lets it."""
