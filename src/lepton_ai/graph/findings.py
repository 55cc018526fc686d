"""What in a graph is redundant, and what in it could run together; each in linear time."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from lepton_ai.graph.onnx_file import operator_name

#: Answers that differ from call to call: two of them are not one.
RANDOM = frozenset(
    {
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
#: Weights of fewer elements than this repeat by chance and cost nothing.
LEAST_REPEATED = 16
PROJECTIONS = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found: its kind, the nodes (or weights) it is about, and a sentence."""

    kind: str
    nodes: tuple[str, ...]
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        return {"kind": self.kind, "nodes": list(self.nodes), "sentence": self.sentence}


def find(model: ir.Model) -> tuple[Finding, ...]:
    """Everything that the analyses below find in ``model``."""
    return (
        *dead_nodes(model),
        *constant_subgraphs(model),
        *duplicate_subexpressions(model),
        *no_operations(model),
        *repeated_weights(model),
        *sibling_projections(model),
    )


def node_label(node: ir.Node) -> str:
    """The name of ``node``, or its operator and first output where it has none."""
    return node.name or f"{node.op_type} of {node.outputs[0].name if node.outputs else 'nothing'}"


def dead_nodes(model: ir.Model) -> Iterator[Finding]:
    """Nodes that no output depends on."""
    alive: set[ir.Node] = set()
    waiting = [value.producer() for value in model.graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in alive:
            continue
        alive.add(node)
        waiting.extend(value.producer() for value in _read_by(node))
    dead = [node for node in model.graph if node not in alive]
    if dead:
        yield _finding("dead", dead, f"no output depends on {_count(dead)}")


def constant_subgraphs(model: ir.Model) -> Iterator[Finding]:
    """Nodes that compute the same value in every call, from weights alone."""
    constant: set[ir.Value] = set(_weights(model))
    folded: list[ir.Node] = []
    for node in model.graph:
        read = list(_read_by(node))
        if node.op_type in RANDOM or not all(value in constant for value in read):
            continue
        constant.update(node.outputs)
        if node.op_type != "Constant":
            folded.append(node)
    if folded:
        yield _finding(
            "constant",
            folded,
            f"{_count(folded)} could be computed once, ahead of time: all they read is constant",
        )


def duplicate_subexpressions(model: ir.Model) -> Iterator[Finding]:
    """Nodes that compute what another has computed already."""
    stands_for: dict[ir.Value, ir.Value] = {}
    first: dict[Any, ir.Node] = {}
    groups: dict[ir.Node, list[ir.Node]] = defaultdict(list)
    for node in model.graph:
        if node.op_type in RANDOM or _has_subgraph(node):
            continue
        key = (
            node.op_identifier(),
            tuple(None if v is None else id(stands_for.get(v, v)) for v in node.inputs),
            tuple(sorted((name, _attribute(a)) for name, a in node.attributes.items())),
            len(node.outputs),
        )
        held = first.setdefault(key, node)
        if held is not node:
            groups[held].append(node)
            stands_for.update(zip(node.outputs, held.outputs, strict=True))
    for held, repeats in groups.items():
        yield _finding(
            "duplicate",
            [held, *repeats],
            f"computed again what {node_label(held)} has computed: {_count(repeats)}",
        )


def no_operations(model: ir.Model) -> Iterator[Finding]:
    """Nodes whose output is their input: identities, casts and reshapes to what was there."""
    idle: dict[str, list[ir.Node]] = defaultdict(list)
    for node in model.graph:
        if node.inputs and node.inputs[0] is not None and _is_idle(node, node.inputs[0]):
            idle[operator_name(node)].append(node)
    for operator, nodes in sorted(idle.items()):
        yield _finding("no-op", nodes, f"{len(nodes)} x {operator} changes nothing")


def repeated_weights(model: ir.Model) -> Iterator[Finding]:
    """Weights stored more than once, bit by bit equal."""
    groups: dict[Any, list[ir.Value]] = defaultdict(list)
    for value in _weights(model):
        tensor = value.const_value
        if tensor is None or tensor.size < LEAST_REPEATED or tensor.dtype == ir.DataType.STRING:
            continue
        digest = hashlib.blake2b(tensor.tobytes())
        groups[(tensor.dtype, tuple(tensor.shape.numpy()), digest.digest())].append(value)
    for values in groups.values():
        if len(values) > 1:
            names = tuple(str(value.name) for value in values)
            spare = sum(v.const_value.nbytes for v in values[1:] if v.const_value is not None)
            yield Finding(
                kind="repeated-weights",
                nodes=names,
                sentence=f"{names[0]!r} is stored {len(names)} times, {spare} bytes too many",
            )


def sibling_projections(model: ir.Model) -> Iterator[Finding]:
    """Products and convolutions that read one input and could be one, or run side by side."""
    weights = set(_weights(model))
    groups: dict[tuple[str, ir.Value], list[ir.Node]] = defaultdict(list)
    for node in model.graph:
        read = node.inputs
        if node.op_type in PROJECTIONS and read[0] is not None and read[1] in weights:
            groups[(node.op_type, read[0])].append(node)
    for (operator, value), nodes in groups.items():
        if len(nodes) > 1:
            yield _finding(
                "siblings",
                nodes,
                f"{len(nodes)} x {operator} read {value.name!r}: they can run side by side, or be "
                "one that is wider",
            )


def critical_path(model: ir.Model) -> int:
    """The most nodes that must run one after the other."""
    depth: dict[ir.Node, int] = {}
    for node in model.graph:
        producers = (value.producer() for value in _read_by(node))
        depth[node] = 1 + max((depth.get(p, 0) for p in producers if p is not None), default=0)
    return max(depth.values(), default=0)


def _read_by(node: ir.Node) -> Iterator[ir.Value]:
    """What ``node`` reads, its subgraphs' reading of the outer graph included."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        for graph in _graphs(attribute):
            for inner in graph.all_nodes():
                yield from (value for value in inner.inputs if value is not None)
            yield from graph.outputs


def _graphs(attribute: ir.Attr) -> Iterable[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else ()


def _has_subgraph(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())


def _attribute(attribute: ir.Attr) -> str:
    value = attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return f"{tensor.dtype}{tensor.shape}{hashlib.blake2b(tensor.tobytes()).hexdigest()}"
    return f"{attribute.type}{value!r}"


def _weights(model: ir.Model) -> list[ir.Value]:
    inputs = set(model.graph.inputs)
    return [value for value in model.graph.initializers.values() if value not in inputs]


def _is_idle(node: ir.Node, read: ir.Value) -> bool:
    out = node.outputs[0]
    if node.op_type == "Identity":
        return True
    if node.op_type == "Cast":
        return read.dtype is not None and read.dtype == node.attributes.get_int("to", -1)
    if node.op_type == "Transpose":
        order = node.attributes.get_ints("perm", ())
        return bool(order) and list(order) == sorted(order)
    if node.op_type in ("Reshape", "Expand", "Squeeze", "Unsqueeze", "Flatten"):
        return _same_known_shape(read, out)
    return False


def _same_known_shape(read: ir.Value, out: ir.Value) -> bool:
    """Whether both shapes are known, symbolic sizes by name, and equal."""
    if read.shape is None or out.shape is None or len(read.shape) != len(out.shape):
        return False
    named = all(isinstance(size, int) or size.value is not None for size in read.shape)
    return named and read.shape == out.shape


def _count(nodes: list[ir.Node]) -> str:
    return node_label(nodes[0]) if len(nodes) == 1 else f"{len(nodes)} nodes"


def _finding(kind: str, nodes: Iterable[ir.Node], sentence: str) -> Finding:
    return Finding(kind=kind, nodes=tuple(node_label(node) for node in nodes), sentence=sentence)
