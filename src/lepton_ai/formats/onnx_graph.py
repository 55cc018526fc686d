"""Checks on an ONNX graph that hold for every engine: names, order and operators.

The ONNX project's own checker is not used, because it refuses operators that it has no schema for
(``com.microsoft``), which ONNX Runtime runs well.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from lepton_ai.errors import ModelError

#: Domains whose operators OpenVINO knows and nobody publishes ONNX schemas for.
_OPENVINO_DOMAIN = "org.openvinotoolkit"
_STANDARD = {"", "ai.onnx"}


def check_graph(model: ModelProto) -> tuple[str, ...]:
    """Check every graph and function body in ``model``, and sort nodes that are out of order.

    Returns notes for the owner.

    Raises:
        ModelError: a name that nothing produces or that two nodes produce, a cycle, or an operator
            that no engine has; the message names the node.
    """
    moved = _check_names(model.graph, frozenset())
    for function in model.functions:
        moved |= _check_names(function, frozenset())
    _check_operators(model)
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


def _check_names(graph: GraphProto | FunctionProto, outer: Set[str]) -> bool:
    """Check one graph and those inside it; whether any was out of order."""
    known = _given(graph) | outer
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if makers.setdefault(name, index) != index or name in known:
                raise ModelError(f"{name!r} is produced twice in the graph, by {called(node)} too")
    needs: list[set[int]] = []
    for node in graph.node:
        wanted = reads(node) - known
        for name in sorted(wanted - makers.keys()):
            raise ModelError(f"{called(node)} reads {name!r}, which nothing in the graph produces")
        needs.append({makers[name] for name in wanted})
    for name in _outputs(graph):
        if name not in makers and name not in known:
            raise ModelError(f"the graph's output {name!r} is produced by no node")
    moved = _sort(graph, needs)
    visible = known | makers.keys()
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


def _check_operators(model: ModelProto) -> None:
    functions = {(function.domain, function.name) for function in model.functions}
    bodies: list[tuple[Iterable[NodeProto], Mapping[str, int]]] = [
        (model.graph.node, _opsets(model))
    ]
    bodies += [(function.node, _opsets(function)) for function in model.functions]
    for nodes, opsets in bodies:
        for node in all_nodes(nodes):
            if (node.domain, node.op_type) not in functions:
                _check_operator(node, opsets)


def _opsets(holder: ModelProto | FunctionProto) -> dict[str, int]:
    """Versions by domain, the standard one under ``""``."""
    return {
        "" if entry.domain in _STANDARD else entry.domain: entry.version
        for entry in holder.opset_import
    }


def _check_operator(node: NodeProto, opsets: Mapping[str, int]) -> None:
    domain = "" if node.domain in _STANDARD else node.domain
    if domain == _OPENVINO_DOMAIN:
        return
    version = opsets.get(domain, 1 if domain else 0)
    newest = onnx.defs.onnx_opset_version()
    if domain == "" and not 0 < version <= newest:
        raise ModelError(f"the model is written in opset {version}; 1 to {newest} can be read")
    try:
        schema = onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        if (domain, node.op_type) in _runtime_operators(version):
            return
        raise ModelError(
            f"no engine has the custom operator of {called(node)} (opset {version}); replace it "
            "with standard operators, or export it as an ONNX function"
        ) from None
    if schema.deprecated:
        raise ModelError(f"{called(node)} was withdrawn before opset {version}; export again")


def _runtime_operators(version: int) -> set[tuple[str, str]]:
    """What ONNX Runtime has beyond the standard by opset ``version``, by domain and name."""
    try:
        from onnxruntime.capi import (  # type: ignore[import-untyped]
            onnxruntime_pybind11_state as state,
        )
    except ImportError:
        return set()
    schemas: Iterable[Any] = state.get_all_operator_schema()
    return {(one.domain, one.name) for one in schemas if one.since_version <= version}
