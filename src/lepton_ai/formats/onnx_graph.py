"""Checks on an ONNX graph that hold for every engine: names and order."""

from collections import ChainMap
from collections.abc import Iterable, Iterator

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from lepton_ai.errors import ModelError

#: Names that a graph sees, its own in front of those around it; the numbers mean nothing here.
Names = ChainMap[str, int]


def check_graph(model: ModelProto) -> tuple[str, ...]:
    """Check every graph and function body in ``model``, and sort nodes that are out of order.

    Returns notes for the owner.

    Raises:
        ModelError: a name that nothing produces or that two nodes produce, or a cycle of nodes or
            of functions; the message names the node.
    """
    moved = _check_names(model.graph, ChainMap())
    for function in model.functions:
        moved |= _check_names(function, ChainMap())
    _check_calls(model)
    return ("the graph's nodes were out of order and have been sorted",) if moved else ()


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that a node carries in its attributes (the branches of ``If``)."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Every node, those in subgraphs included."""
    for node in nodes:
        yield node
        for inner in subgraphs(node):
            yield from all_nodes(inner.node)


def called(node: NodeProto) -> str:
    """A node in words: its operator and, where it has one, its name."""
    operator = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
    return f"{operator} node {node.name!r}" if node.name else f"{operator} node without a name"


def _given(graph: GraphProto | FunctionProto) -> set[str]:
    if isinstance(graph, FunctionProto):
        return set(graph.input)
    weights = [tensor.name for tensor in graph.initializer]
    if len(set(weights)) < len(weights):
        twice = next(name for name in weights if weights.count(name) > 1)
        raise ModelError(f"there are two weights called {twice!r}")
    names = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    return names | {tensor.values.name for tensor in graph.sparse_initializer}


def _outputs(graph: GraphProto | FunctionProto) -> list[str]:
    if isinstance(graph, FunctionProto):
        return list(graph.output)
    return [value.name for value in graph.output]


def reads(node: NodeProto) -> set[str]:
    """The names that a node needs, those that its subgraphs take from outside included."""
    names = {name for name in node.input if name}
    for inner in subgraphs(node):
        local = _given(inner).union(*(part.output for part in inner.node))
        for part in inner.node:
            names |= reads(part) - local
        names |= set(_outputs(inner)) - local
    return names


def _check_names(graph: GraphProto | FunctionProto, outer: Names) -> bool:
    """Check one graph and those inside it; whether any was out of order."""
    known: Names = outer.new_child(dict.fromkeys(_given(graph), 0))
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if makers.setdefault(name, index) != index or name in known:
                raise ModelError(f"{name!r} is produced twice in the graph, by {called(node)} too")
    needs: list[set[int]] = []
    for node in graph.node:
        wanted = {name for name in reads(node) if name not in known}
        for name in sorted(name for name in wanted if name not in makers):
            raise ModelError(f"{called(node)} reads {name!r}, which nothing in the graph produces")
        needs.append({makers[name] for name in wanted})
    for name in _outputs(graph):
        if name not in makers and name not in known:
            raise ModelError(f"the graph's output {name!r} is produced by no node")
    moved = _sort(graph, needs)
    visible = known.new_child(makers)
    for node in graph.node:
        for inner in subgraphs(node):
            moved |= _check_names(inner, visible)
    return moved


def _sort(graph: GraphProto | FunctionProto, needs: list[set[int]]) -> bool:
    """Put the nodes of ``graph`` in an order in which each comes after what it needs."""
    if all(need < index for index, group in enumerate(needs) for need in group):
        return False
    users: list[list[int]] = [[] for _ in needs]
    for index, group in enumerate(needs):
        for need in group:
            users[need].append(index)
    waiting = [len(group) for group in needs]
    order = [index for index, count in enumerate(waiting) if count == 0]
    for index in order:  # grows as it goes
        for user in users[index]:
            waiting[user] -= 1
            if waiting[user] == 0:
                order.append(user)
    if len(order) < len(needs):
        stuck = {index for index, count in enumerate(waiting) if count}
        cycle = ", ".join(called(graph.node[index]) for index in _cycle(stuck, needs)[:4])
        raise ModelError(f"the graph has a cycle, through {cycle}")
    nodes = [graph.node[index] for index in order]
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return True


def _cycle(stuck: set[int], needs: list[set[int]]) -> list[int]:
    """One cycle among the nodes that wait for each other."""
    path: list[int] = [min(stuck)]
    while True:
        ahead = min(needs[path[-1]] & stuck)
        if ahead in path:
            return path[path.index(ahead) :][::-1]
        path.append(ahead)


def _check_calls(model: ModelProto) -> None:
    """Refuse functions that call each other in a circle."""
    bodies = {(function.domain, function.name): function for function in model.functions}
    calls = {
        name: {(n.domain, n.op_type) for n in all_nodes(body.node)} & bodies.keys()
        for name, body in bodies.items()
    }
    while calls:
        leaves = {name for name, called_in in calls.items() if not called_in}
        if not leaves:
            stuck = ", ".join(sorted(f"{domain}:{name}" for domain, name in calls))
            raise ModelError(f"functions call each other in a circle: {stuck}")
        calls = {name: inner - leaves for name, inner in calls.items() if name not in leaves}
