"""A graph taken to single nodes, so that all that an engine refuses is found, not just the first.

Each distinct node (operator, attributes, dtypes and shapes that it reads) becomes a graph of its
own. What it reads that is constant stays constant, and so does the arithmetic on sizes before it:
engines ask for constants in many places, and know shapes by such arithmetic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the base install, which runs bundles, has no onnx_ir
    import onnx_ir as ir

#: Constants above this many bytes become inputs: engines ask for small ones to be constant (axes,
#: shapes, zero points) and take weights from anywhere.
MOST_CONSTANT_BYTES = 1 << 26
#: The sizes that one node is given are computed by fewer nodes than this.
MOST_SIZE_NODES = 64
#: A constant longer than this is told apart by its shape alone.
MOST_COMPARED = 64


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Nodes that are alike, and the graph of one of them, if it can stand alone.

    ``names`` are all words that an engine may name them by: their own, their values', the operator.
    """

    operator: str
    nodes: tuple[str, ...]
    names: frozenset[str]
    model: bytes | None
    has_body: bool


def single_nodes(path: Path, *, most: int, first: Collection[str] = ()) -> Iterator[Probe]:
    """At most ``most`` kinds of node in ``path``; those that go by a name in ``first`` come first.

    A node that reads something of unknown dtype, a sequence or an optional cannot stand alone.

    Raises:
        ModelError: the file is not an ONNX graph.
    """
    import onnx_ir as ir

    from lepton_ai.graph.inspection.cost import infer_shapes
    from lepton_ai.graph.onnx_file import load_graph, operator_name
    from lepton_ai.graph.rule import node_label

    model = load_graph(path)
    infer_shapes(model)
    kinds: dict[Hashable, list[ir.Node]] = {}
    for node in model.graph.all_nodes():
        if node.op_type != "Constant":
            kinds.setdefault(_kind(node), []).append(node)
    named = [
        (nodes, frozenset(word for node in nodes for word in _names(node)))
        for nodes in kinds.values()
    ]
    wanted = frozenset(first)
    for nodes, names in sorted(named, key=lambda one: wanted.isdisjoint(one[1]))[:most]:
        alone = _alone(model, nodes[0])
        yield Probe(
            operator=operator_name(nodes[0]),
            nodes=tuple(node_label(node) for node in nodes),
            names=names,
            model=None if alone is None else ir.to_proto(alone).SerializeToString(),
            has_body=bool(_bodies(nodes[0])),
        )


def _names(node: ir.Node) -> Iterator[str]:
    yield node.op_type
    yield f"{node.domain}.{node.op_type}"
    yield f"{node.domain}:{node.op_type}"
    if node.name:
        yield node.name
    yield from (value.name for value in node.outputs if value.name)


def _kind(node: ir.Node) -> Hashable:
    """Equal for nodes that an engine cannot tell apart by what they are and read."""
    if _bodies(node):
        return id(node)
    attributes = tuple(sorted((name, _told(one)) for name, one in node.attributes.items()))
    return node.op_identifier(), attributes, tuple(_read(value) for value in node.inputs)


def _told(attribute: Any) -> str:
    import onnx_ir as ir

    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return f"{tensor.dtype}{tensor.shape}{hashlib.blake2b(tensor.tobytes()).hexdigest()}"
    return f"{attribute.type}{attribute.value!r}"


def _read(value: ir.Value | None) -> Hashable:
    if value is None:
        return None
    constant = _constant(value)
    if constant is None:
        return value.type, None if value.shape is None else tuple(map(str, value.shape))
    content = constant.tobytes() if constant.size <= MOST_COMPARED else b""
    return constant.dtype, tuple(map(str, constant.shape)), content


def _constant(value: ir.Value) -> Any:
    """The tensor that ``value`` is in every call, if it is one."""
    import onnx_ir as ir

    if value.is_initializer() and value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return None
    return tensor


def _alone(model: ir.Model, node: ir.Node) -> ir.Model | None:
    """A model of ``node`` and what must come with it; ``None`` if it cannot stand alone."""
    import onnx_ir as ir

    constants: dict[ir.Value, Any] = {}
    given: dict[ir.Value, None] = {}
    before: dict[ir.Node, None] = {}
    waiting = [value for value in _reads(node) if value is not None]
    for value in waiting:  # grows as it goes
        constant = _constant(value)
        producer = value.producer()
        if constant is not None and constant.nbytes <= MOST_CONSTANT_BYTES:
            constants[value] = constant
        elif producer is not None and _is_size(value) and len(before) < MOST_SIZE_NODES:
            before[producer] = None
            waiting.extend(one for one in producer.inputs if one is not None)
        elif not isinstance(value.type, ir.TensorType) or value.dtype is None:
            return None
        else:
            given[value] = None
    inside = [*_in_order(before), node]
    made = {value for one in inside for value in one.outputs}
    view = ir.GraphView(
        [value for value in given if value not in made],
        node.outputs,
        nodes=inside,
        initializers=[value for value in constants if value not in made],
        opset_imports=model.graph.opset_imports,
        name="alone",
    )
    graph = view.clone()
    for value, tensor in zip(graph.initializers.values(), _kept(constants, made), strict=True):
        # Weights may lie in a file beside the graph; here they are taken along.
        value.const_value = ir.tensor(tensor.numpy(), name=value.name, dtype=tensor.dtype)
    return ir.Model(
        graph, ir_version=model.ir_version, functions=[f.clone() for f in model.functions.values()]
    )


def _kept(constants: dict[ir.Value, Any], made: set[ir.Value]) -> list[Any]:
    return [tensor for value, tensor in constants.items() if value not in made]


def _reads(node: ir.Node) -> list[ir.Value | None]:
    """What ``node`` and its bodies read from outside."""
    read = list(node.inputs)
    for body in _bodies(node):
        inner = list(body.all_nodes())
        local = {value for one in inner for value in one.outputs}
        graphs = {body, *(one.graph for one in inner)}
        for value in (*(v for one in inner for v in one.inputs), *body.outputs):
            if value is not None and value not in local and value.graph not in graphs:
                read.append(value)
    return list(dict.fromkeys(read))


def _is_size(value: ir.Value) -> bool:
    """Whether ``value`` is computed from sizes: integers, in a list or alone, not read as data."""
    import onnx_ir as ir

    producer = value.producer()
    if producer is None or _bodies(producer) or value.dtype != ir.DataType.INT64:
        return False
    return value.shape is not None and len(value.shape) <= 1


def _in_order(nodes: Collection[ir.Node]) -> list[ir.Node]:
    """``nodes``, each after those that it reads from."""
    ordered: dict[ir.Node, None] = {}

    def visit(node: ir.Node) -> None:
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer in nodes and producer not in ordered and producer is not None:
                visit(producer)
        ordered[node] = None

    for node in nodes:
        if node not in ordered:
            visit(node)
    return list(ordered)


def _bodies(node: ir.Node) -> list[ir.Graph]:
    from lepton_ai.graph.bodies import graphs_of

    return list(graphs_of(node))
