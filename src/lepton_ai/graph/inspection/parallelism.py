"""How much of a graph can run side by side: its work, its span, and its branches.

Branches are found by reducing the graph (Valdes, Tarjan and Lawler, 1982): a node with one input
and one output becomes part of a chain, and chains between the same two nodes become one. What a
chain holds depends on nothing but where the chain begins, so chains that begin together can run
side by side. Each step takes a node or a chain away, which makes the time linear. Where branches
are woven into each other, what is left tells of the parts that are not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from lepton_ai.graph.bodies import graphs_of, read_by
from lepton_ai.graph.graph_report import Parallelism
from lepton_ai.graph.inspection.known import Known
from lepton_ai.graph.rule import node_label

#: Groups of branches that are told, those that hide the most work first.
MOST_GROUPS = 32
#: Groups that hide less than this part of what the best one hides are not told, and neither are
#: chains that are less than this part of the heaviest beside them.
LEAST_HIDDEN = 1e-3


def parallelism(known: Known) -> Parallelism:
    """What of a graph can run side by side.

    A node that holds graphs weighs as much as the heaviest of them: one branch of an ``If`` runs,
    and the body of a loop counts as one trip. What never changes takes no step: engines compute it
    ahead of time. Of a graph none of whose weights is known, ``ratio`` compares numbers of nodes.
    """
    groups: list[_Group] = []
    whole = _measure(known.model.graph, known, groups)
    ratio = whole.work / whole.span if whole.span else whole.nodes / max(whole.chain, 1)
    groups.sort(key=lambda group: -group.hidden)
    least = LEAST_HIDDEN * groups[0].hidden if groups else 0
    worth = [group for group in groups if group.hidden >= least][:MOST_GROUPS]
    return Parallelism(
        nodes=len(known.nodes),
        longest_chain=whole.chain,
        work=whole.work,
        span=whole.span,
        ratio=round(ratio, 3),
        branches=tuple(tuple(map(str, group.chains)) for group in worth),
    )


@dataclass(frozen=True, kw_only=True)
class _Extent:
    """Work and span of a graph, and its nodes and longest chain, bodies once."""

    work: int = 0
    span: int = 0
    nodes: int = 0
    chain: int = 0


@dataclass(frozen=True, kw_only=True)
class _Chain:
    """What lies between two nodes: its first and last node, and how much it is."""

    first: str = ""
    last: str = ""
    nodes: int = 0
    work: int = 0

    def __str__(self) -> str:
        if self.nodes <= 1:
            return self.first
        return f"{self.first} \N{RIGHTWARDS ARROW} {self.last} ({self.nodes} nodes)"


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Chains that begin together and can run side by side."""

    chains: tuple[_Chain, ...]

    @property
    def hidden(self) -> int:
        """The work that the heaviest chain could hide."""
        works = [chain.work for chain in self.chains]
        return sum(works) - max(works)


def _measure(graph: ir.Graph, known: Known, groups: list[_Group]) -> _Extent:
    """The extent of ``graph``; what can run side by side in it is added to ``groups``."""
    extents = {
        node: _node_extent(node, known, groups)
        for node in graph
        if not all(value in known.constant for value in node.outputs)
    }
    before = {node: _producers(node, extents) for node in extents}
    span: dict[ir.Node, int] = {}
    chain: dict[ir.Node, int] = {}
    for node, own in extents.items():
        span[node] = own.span + max((span.get(p, 0) for p in before[node]), default=0)
        chain[node] = own.chain + max((chain.get(p, 0) for p in before[node]), default=0)
    groups += _Reduction(graph, extents, before).groups()
    return _Extent(
        work=sum(own.work for own in extents.values()),
        span=max(span.values(), default=0),
        nodes=sum(own.nodes for own in extents.values()),
        chain=max(chain.values(), default=0),
    )


def _node_extent(node: ir.Node, known: Known, groups: list[_Group]) -> _Extent:
    inner = [_measure(graph, known, groups) for graph in graphs_of(node)]
    weight = known.costs[node].weight
    return _Extent(
        work=weight + max((one.work for one in inner), default=0),
        span=weight + max((one.span for one in inner), default=0),
        nodes=1 + sum(one.nodes for one in inner),
        chain=1 + max((one.chain for one in inner), default=0),
    )


def _producers(node: ir.Node, known: Mapping[ir.Node, _Extent]) -> list[ir.Node]:
    """The nodes of the same graph that ``node`` reads, each once."""
    producers = (value.producer() for value in read_by(node))
    return list(dict.fromkeys(p for p in producers if p is not None and p in known))


class _Reduction:
    """A graph of nodes, by number, with what is known of the chains between them.

    Number 0 stands for the graph's inputs, 1 for its outputs.
    """

    def __init__(
        self,
        graph: ir.Graph,
        extents: Mapping[ir.Node, _Extent],
        before: Mapping[ir.Node, list[ir.Node]],
    ) -> None:
        number = {node: place for place, node in enumerate(extents, start=2)}
        self._own = [_Chain(), _Chain(), *(_single(node, own) for node, own in extents.items())]
        self._ahead: list[dict[int, _Chain]] = [{} for _ in self._own]
        self._behind: list[set[int]] = [set() for _ in self._own]
        self._met: dict[tuple[int, int], list[_Chain]] = {}
        for node, place in number.items():
            for producer in before[node]:
                self._join(number[producer], place, _Chain())
            if not before[node]:
                self._join(0, place, _Chain())
        last = {number[p] for v in graph.outputs if (p := v.producer()) is not None and p in number}
        for place in sorted(last):
            self._join(place, 1, _Chain())

    def groups(self) -> list[_Group]:
        """Chains that meet again where they end, and those left that begin together."""
        waiting = list(reversed(range(2, len(self._own))))  # the last is taken first
        while waiting:
            place = waiting.pop()
            if len(self._behind[place]) != 1 or len(self._ahead[place]) != 1:
                continue
            (start,), ((end, after),) = self._behind[place], self._ahead[place].items()
            before = self._ahead[start].pop(place)
            self._behind[end].discard(place)
            self._behind[place], self._ahead[place] = set(), {}
            self._join(start, end, _series(_series(before, self._own[place]), after))
            waiting += [one for one in (start, end) if one > 1]
        left = (self._begun(ahead) for ahead in self._ahead)
        return [group for chains in (*self._met.values(), *left) if (group := _group(chains))]

    def _begun(self, ahead: Mapping[int, _Chain]) -> list[_Chain]:
        """Chains of one beginning, each with the node where it ends if that waits for no other."""
        ended = (
            _series(chain, self._own[end]) if len(self._behind[end]) == 1 else chain
            for end, chain in ahead.items()
        )
        return [chain for chain in ended if chain.nodes]

    def _join(self, start: int, end: int, chain: _Chain) -> None:
        """Put ``chain`` between two nodes, beside what is there."""
        held = self._ahead[start].get(end)
        if held is not None:
            if held.nodes and chain.nodes:
                self._met.setdefault((start, end), [held]).append(chain)
            chain = _beside(held, chain)
        self._ahead[start][end] = chain
        self._behind[end].add(start)


def _group(chains: list[_Chain]) -> _Group | None:
    """Those of ``chains`` that weigh something beside the heaviest, if there are two."""
    least = LEAST_HIDDEN * max((chain.work for chain in chains), default=0)
    worth = sorted((c for c in chains if c.work >= least), key=lambda chain: -chain.work)
    return _Group(chains=tuple(worth)) if len(worth) > 1 else None


def _single(node: ir.Node, own: _Extent) -> _Chain:
    label = node_label(node)
    return _Chain(first=label, last=label, nodes=own.nodes, work=own.work)


def _series(first: _Chain, second: _Chain) -> _Chain:
    if not first.nodes or not second.nodes:
        return first if first.nodes else second
    return _Chain(
        first=first.first,
        last=second.last,
        nodes=first.nodes + second.nodes,
        work=first.work + second.work,
    )


def _beside(first: _Chain, second: _Chain) -> _Chain:
    """Two chains between the same nodes as one, under the name of the heavier."""
    heavier = max(first, second, key=lambda chain: (chain.work, chain.nodes))
    return replace(heavier, nodes=first.nodes + second.nodes, work=first.work + second.work)
