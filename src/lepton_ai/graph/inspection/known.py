"""What the searches for redundancy share: what each node costs, and which values never change."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import onnx_ir as ir

from lepton_ai.graph.bodies import graphs_of, read_by
from lepton_ai.graph.building import constant_of
from lepton_ai.graph.equal_weights import equal_weights, weights_of
from lepton_ai.graph.graph_report import Finding
from lepton_ai.graph.inspection.cost import NodeCost
from lepton_ai.graph.random_operators import RANDOM
from lepton_ai.graph.rule import node_label
from lepton_ai.model.signature import Array

#: Whose operators answer alike when asked alike; of others nothing is known.
DOMAINS = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview", "com.microsoft", "org.openvinotoolkit"}
)
#: Constants of more elements are not read while searching.
SMALL = 4096


@dataclass(frozen=True, kw_only=True)
class Known:
    """A graph with inferred shapes, what its nodes cost, and its values that never change.

    ``graphs`` are the graph and those inside it, ``nodes`` the nodes of them all.
    """

    model: ir.Model
    graphs: Sequence[ir.Graph]
    nodes: Sequence[ir.Node]
    costs: Mapping[ir.Node, NodeCost]
    constant: Set[ir.Value]
    equal_weights: Sequence[Sequence[ir.Value]]

    def finding(
        self,
        kind: str,
        nodes: Sequence[ir.Node],
        sentence: str,
        *,
        spared: Iterable[ir.Node] | None = None,
    ) -> Finding:
        """A finding about ``nodes``, whose saving is what ``spared`` of them (all) cost."""
        gone = list(nodes if spared is None else spared)
        costs = [self.costs[node] for node in gone]
        return Finding(
            kind=kind,
            nodes=tuple(node_label(node) for node in nodes),
            sentence=sentence,
            saved_nodes=len(gone),
            saved_macs=sum(cost.macs or 0 for cost in costs),
            saved_bytes=sum(cost.moved for cost in costs),
        )

    def plain_weights(self, value: ir.Value) -> bool:
        """Whether ``value`` never changes, and is not dequantised, so that it can be rewritten."""
        producer = value.producer()
        quantised = producer is not None and producer.op_type == "DequantizeLinear"
        return value in self.constant and not quantised

    def small(self, value: ir.Value | None) -> Array | None:
        """What ``value`` holds in every call, if that is known and not large."""
        if value is not None and value.const_value is None and value.producer() is None:
            return None
        return constant_of(value, SMALL)


def know(model: ir.Model, costs: Mapping[ir.Node, NodeCost]) -> Known:
    """What is known of ``model``, whose shapes are inferred."""
    constant = set(weights_of(model))
    nodes = tuple(model.graph.all_nodes())
    for node in nodes:
        if repeats(node) and (_reads_constants(node, constant) or _asks_known_size(node)):
            constant.update(node.outputs)
    return Known(
        model=model,
        graphs=tuple(model.graphs()),
        nodes=nodes,
        costs=costs,
        constant=constant,
        equal_weights=equal_weights(model),
    )


def repeats(node: ir.Node) -> bool:
    """Whether ``node`` answers alike when asked alike."""
    inner = (part for graph in graphs_of(node) for part in graph.all_nodes())
    return _deterministic(node) and all(_deterministic(part) for part in inner)


def called(nodes: Sequence[ir.Node]) -> str:
    """One node by its name, more by their number."""
    return node_label(nodes[0]) if len(nodes) == 1 else f"{len(nodes)} nodes"


def sole_reader(value: ir.Value) -> bool:
    """Whether ``value`` is read once, and is no output of its graph."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def same_known_shape(first: ir.Value, second: ir.Value) -> bool:
    """Whether both shapes are known, symbolic sizes by name, and equal."""
    if first.shape is None or second.shape is None:
        return False
    named = all(isinstance(size, int) or size.value is not None for size in first.shape)
    return named and first.shape == second.shape


def _deterministic(node: ir.Node) -> bool:
    return node.domain in DOMAINS and node.op_type not in RANDOM


def _reads_constants(node: ir.Node, constant: Set[ir.Value]) -> bool:
    own = {value for graph in graphs_of(node) for value in _made_in(graph)}
    return all(value in constant or value in own for value in read_by(node))


def _made_in(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph.all_nodes():
        yield from node.outputs
        for inner in graphs_of(node):
            yield from inner.inputs
            yield from inner.initializers.values()


def _asks_known_size(node: ir.Node) -> bool:
    """Whether ``node`` asks for sizes that are the same in every call, or picks some such."""
    if node.op_type == "Shape":
        return _static(node.inputs[0], *_bounds(node))
    if node.op_type != "Gather" or node.inputs[0] is None:
        return False
    asked = node.inputs[0].producer()
    if asked is None or asked.op_type != "Shape" or asked.attributes:
        return False
    places = constant_of(node.inputs[1], SMALL)
    read = asked.inputs[0]
    if places is None or read is None or read.shape is None:
        return False
    sizes = list(read.shape)
    inside = all(-len(sizes) <= place < len(sizes) for place in places.flat)
    return inside and all(isinstance(sizes[place], int) for place in places.flat)


def _bounds(node: ir.Node) -> tuple[int, int | None]:
    end = node.attributes.get_int("end", None)
    return node.attributes.get_int("start", 0), end


def _static(value: ir.Value | None, start: int, end: int | None) -> bool:
    if value is None or value.shape is None:
        return False
    return all(isinstance(size, int) for size in list(value.shape)[start:end])
