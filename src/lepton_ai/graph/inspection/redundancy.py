"""Work done for nothing or done twice: dead branches, constants, duplicates, repeated weights."""

from collections import ChainMap, defaultdict
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import onnx_ir as ir

from lepton_ai.graph.bodies import graphs_of, read_by
from lepton_ai.graph.equal_weights import digest, weights_of
from lepton_ai.graph.graph_report import Finding
from lepton_ai.graph.inspection.known import Known, called, repeats
from lepton_ai.graph.rule import node_label

#: Weights of fewer elements than this repeat by chance and cost nothing.
LEAST_REPEATED = 16
#: Their operands may be exchanged.
COMMUTE = frozenset({"Add", "And", "Equal", "Max", "Mean", "Min", "Mul", "Or", "Sum", "Xor"})


def dead_branches(known: Known) -> Iterator[Finding]:
    """Nodes that no output depends on, each connected group once; and weights that nobody reads."""
    read: set[ir.Value] = set()
    for graph in known.graphs:
        alive = _alive(graph)
        for node in graph:
            read.update(read_by(node))
        read.update(graph.outputs)
        dead = [node for node in graph if node not in alive]
        for group in _connected(dead):
            yield known.finding("dead", group, f"no output depends on {called(group)}")
    for node in known.nodes:
        yield from _never_taken(known, node)
    for value in weights_of(known.model):
        if value not in read and value.const_value is not None:
            yield Finding(
                kind="dead",
                nodes=(str(value.name),),
                sentence=f"no node reads the weights {value.name!r}",
                saved_bytes=value.const_value.nbytes,
            )


def constant_subgraphs(known: Known) -> Iterator[Finding]:
    """Nodes that compute the same value in every call, each connected group once."""
    for graph in known.graphs:
        fixed = [
            node
            for node in graph
            if node.op_type not in ("Constant", "DequantizeLinear")
            and node.outputs
            and node.outputs[0] in known.constant
        ]
        for group in _connected(fixed):
            last = group[-1].outputs[0].name
            yield known.finding(
                "constant",
                group,
                f"{called(group)} could be computed once, ahead of time: {last!r} is the same in "
                "every call",
            )


def duplicate_subexpressions(known: Known) -> Iterator[Finding]:
    """Nodes that compute what another has computed already."""
    stand_ins = {value: group[0] for group in known.equal_weights for value in group[1:]}
    search = _Duplicates(stand_ins)
    search.go_through(known.model.graph, {})
    constants: list[ir.Node] = []
    for held, repeated in search.groups.items():
        if held.op_type == "Constant":
            constants += repeated
            continue
        yield known.finding(
            "duplicate",
            [held, *repeated],
            f"computed again what {node_label(held)} has computed: {called(repeated)}",
            spared=repeated,
        )
    if constants:
        yield known.finding(
            "duplicate", constants, f"{len(constants)} x Constant hold what another one holds"
        )


def repeated_weights(known: Known) -> Iterator[Finding]:
    """Weights stored more than once, bit by bit equal."""
    for values in known.equal_weights:
        if values[0].const_value is None or values[0].const_value.size < LEAST_REPEATED:
            continue
        names = tuple(str(value.name) for value in values)
        spare = sum(v.const_value.nbytes for v in values[1:] if v.const_value is not None)
        yield Finding(
            kind="repeated-weights",
            nodes=names,
            sentence=f"{names[0]!r} is stored {len(names)} times",
            saved_bytes=spare,
        )


class _Duplicates:
    """Nodes by what they compute; a subgraph sees what the graphs around it have computed."""

    def __init__(self, stand_ins: dict[ir.Value, ir.Value]) -> None:
        self._stands_for = stand_ins
        self.groups: dict[ir.Node, list[ir.Node]] = defaultdict(list)

    def go_through(self, graph: ir.Graph, seen: MutableMapping[Any, ir.Node]) -> None:
        """Group the nodes of ``graph`` and of those inside it with the first of their kind."""
        for node in graph:
            for inner in graphs_of(node):
                self.go_through(inner, ChainMap({}, seen))
            if not node.outputs or not repeats(node) or any(True for _ in graphs_of(node)):
                continue
            held = seen.setdefault(self._key(node), node)
            if held is not node:
                self.groups[held].append(node)
                self._stands_for.update(zip(node.outputs, held.outputs, strict=True))

    def _key(self, node: ir.Node) -> Any:
        read = [None if v is None else id(self._stands_for.get(v, v)) for v in node.inputs]
        if node.op_type in COMMUTE:
            read.sort(key=lambda name: name or 0)
        named = sorted((name, _attribute(one)) for name, one in node.attributes.items())
        return node.op_identifier(), tuple(read), tuple(named), len(node.outputs)


def _attribute(attribute: ir.Attr) -> str:
    if attribute.type == ir.AttributeType.TENSOR and attribute.value is not None:
        tensor = attribute.as_tensor()
        return f"{tensor.dtype}{tensor.shape}{digest(tensor)}"
    return f"{attribute.type}{attribute.value!r}{attribute.ref_attr_name}"


def _alive(graph: ir.Graph) -> set[ir.Node]:
    alive: set[ir.Node] = set()
    waiting = [value.producer() for value in graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in alive or node.graph is not graph:
            continue
        alive.add(node)
        waiting.extend(value.producer() for value in read_by(node))
    return alive


def _never_taken(known: Known, node: ir.Node) -> Iterator[Finding]:
    """The branch of an ``If`` whose condition is always the other."""
    condition = known.small(node.inputs[0]) if node.op_type == "If" and node.inputs else None
    if condition is None or condition.size != 1:
        return
    taken = "then_branch" if condition.reshape(-1)[0] else "else_branch"
    for name, attribute in node.attributes.items():
        if name != taken and attribute.type == ir.AttributeType.GRAPH:
            inside = list(attribute.as_graph().all_nodes())
            yield known.finding(
                "dead",
                [node, *inside],
                f"the condition of {node_label(node)} never changes, so its {name} is never taken",
                spared=inside,
            )


def _connected(nodes: Sequence[ir.Node]) -> list[list[ir.Node]]:
    """``nodes``, in order, in groups of those that read each other."""
    leader = {node: node for node in nodes}

    def find(node: ir.Node) -> ir.Node:
        while leader[node] is not node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for node in nodes:
        for value in read_by(node):
            producer = value.producer()
            if producer in leader:
                leader[find(producer)] = find(node)
    groups: dict[ir.Node, list[ir.Node]] = defaultdict(list)
    for node in nodes:
        groups[find(node)].append(node)
    return list(groups.values())
