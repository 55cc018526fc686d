"""Which nodes of the original graph the kernels of an engine stand for.

An engine fuses nodes, takes others apart and puts some of its own in between. What it keeps are
names: of a node, or of the value that a group of fused nodes ended with. Each kernel claims the
nodes that it is known by; what lies before them in the original graph, up to what other kernels
claim, went into that kernel, or into the nameless ones before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the base install, which runs bundles, has no onnx_ir
    import onnx_ir as ir


@dataclass(kw_only=True)
class Kernel:
    """One kernel: the places of those that it reads from, and the nodes that it is known by.

    ``idle`` kernels move or convert memory for the engine's own sake and stand for nothing.
    ``fused``: what comes before its nodes was fused into it, and not into kernels before it.
    """

    name: str
    operator: str
    sources: tuple[int, ...] = ()
    claims: list[ir.Node] = field(default_factory=list)
    idle: bool = False
    fused: bool = False


class Original:
    """The original graph by its names; a name that is used twice tells nothing."""

    def __init__(self, path: Path) -> None:
        from lepton_ai.graph.onnx_file import load_graph
        from lepton_ai.graph.rule import node_label

        self.model = load_graph(path)
        every = list(self.model.graph.all_nodes())
        self.labels = {node: node_label(node) for node in every}
        self.nodes = _unique((node.name, node) for node in every if node.name)
        self.values = _unique((v.name, node) for node in every for v in node.outputs if v.name)
        self.constant = _constant(self.model, every)

    def name_all(self) -> bool:
        """Give every node a name of its own; whether any had none."""
        renamed = False
        for number, node in enumerate(self.labels):
            if self.nodes.get(node.name or "") is not node:
                node.name = f"{self.labels[node]} ({number})"
                self.nodes[node.name] = node
                renamed = True
        return renamed


def stands_for(kernels: Sequence[Kernel], original: Original) -> list[tuple[str, ...]]:
    """For each of ``kernels``, the labels of the nodes that it stands for; none if not known.

    Takes time linear in kernels and nodes: each is taken once.
    """
    order = {node: number for number, node in enumerate(original.labels)}
    taken = {node for kernel in kernels for node in kernel.claims} | original.constant
    nodes: list[list[ir.Node]] = [list(kernel.claims) for kernel in kernels]
    held: set[int] = set()
    for place, kernel in enumerate(kernels):
        if not kernel.claims:
            continue
        absorbed = _before(kernel.claims, taken)
        nameless = _nameless(kernels, place, held)
        if kernel.fused or not nameless:
            nodes[place].extend(absorbed)
        for one in nameless:
            nodes[one].extend(kernel.claims if kernel.fused or not absorbed else absorbed)
    return [
        ()
        if kernel.idle
        else tuple(original.labels[node] for node in sorted(set(group), key=order.__getitem__))
        for kernel, group in zip(kernels, nodes, strict=True)
    ]


def _before(claims: Iterable[ir.Node], taken: set[ir.Node]) -> list[ir.Node]:
    """What comes before ``claims`` in the original graph and is not yet ``taken``; takes it."""
    found: list[ir.Node] = []
    waiting = list(claims)
    while waiting:
        for value in waiting.pop().inputs:
            node = None if value is None else value.producer()
            if node is not None and node not in taken:
                taken.add(node)
                found.append(node)
                waiting.append(node)
    return found


def _nameless(kernels: Sequence[Kernel], place: int, held: set[int]) -> list[int]:
    """The kernels before ``place`` that no node claims, idle ones seen through; holds them."""
    found: list[int] = []
    waiting = [place]
    while waiting:
        for source in kernels[waiting.pop()].sources:
            if source in held or kernels[source].claims:
                continue
            held.add(source)
            waiting.append(source)
            if not kernels[source].idle:
                found.append(source)
    return found


def _unique(pairs: Iterable[tuple[str | None, ir.Node]]) -> dict[str, ir.Node]:
    found: dict[str, ir.Node] = {}
    twice: set[str] = set()
    for name, node in pairs:
        if name and found.setdefault(name, node) is not node:
            twice.add(name)
    return {name: node for name, node in found.items() if name not in twice}


def _constant(model: ir.Model, every: Iterable[ir.Node]) -> Set[ir.Node]:
    """The nodes that compute the same in every call: engines compute them once, ahead of time."""
    found: set[ir.Node] = set()
    for node in every:
        read = [value for value in node.inputs if value is not None]
        fixed = (
            (value.is_initializer() and not value.is_graph_input()) or value.producer() in found
            for value in read
        )
        if (read or node.op_type == "Constant") and all(fixed):
            found.add(node)
    return found
