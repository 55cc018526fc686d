"""What is stored or computed twice, stored and computed once."""

import hashlib
from collections import ChainMap, defaultdict
from collections.abc import Hashable

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.bodies import graphs_of
from lepton_ai.graph.matching.rewiring import can_stand_for, stand_for
from lepton_ai.graph.random_operators import RANDOM
from lepton_ai.graph.rule import Ledger, Rule

#: The order of these operators' two inputs does not matter, to the last bit.
COMMUTATIVE = frozenset(
    {"Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Mul", "Or", "Xor"}
)
#: What answers the same each time is known of these operators.
KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
#: Weights of one shape are first told apart by this many elements, then by their hash.
SAMPLED = 64
#: Beyond this, a weight is the same only if it lies at the same place in the same file.
MOST_BYTES_HASHED = 1 << 28
#: An attribute's tensor larger than this is a weight, and no reason to compare two nodes.
MOST_BYTES_IN_ATTRIBUTE = 1 << 16

Place = tuple[str, int | None, int | None]


class MergeDuplicates(Rule):
    """Many exporters store the weights that layers share with each, and compute masks twice."""

    name = "merge-duplicates"
    requires = "two weights are equal byte by byte, or two nodes do the same with the same inputs"
    ensures = "the first serves the readers of both"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Merge equal weights, then equal nodes: outer graphs' serve the graphs inside as well."""
        _Weights(model, ledger).merge(model.graph, ChainMap())
        _merge_nodes(model.graph, ChainMap(), ledger)


class _Weights:
    """Weights by what they hold, of which only those that may be equal are looked into."""

    def __init__(self, model: ir.Model, ledger: Ledger) -> None:
        self._ledger = ledger
        alike: dict[Hashable, int] = defaultdict(int)
        for graph in model.graphs():
            for value in graph.initializers.values():
                if value.const_value is not None:
                    alike[_form(value.const_value)] += 1
        self._alike = {form for form, count in alike.items() if count > 1}
        self._too_large: dict[Hashable, ir.Value] = {}

    def merge(self, graph: ir.Graph, seen: ChainMap[Hashable, list[ir.Value]]) -> None:
        for value in list(graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or _form(tensor) not in self._alike or value.is_graph_input():
                continue
            first = self._first(value, tensor, seen)
            if first is None or first is value or not can_stand_for(first, value):
                continue
            readers = [use.node for use in value.uses()]
            if self._ledger.fire(str(value.name), readers, f"it holds what {first.name!r} holds"):
                stand_for(first, value)
                graph.initializers.pop(str(value.name))
        for node in graph:
            for inner in graphs_of(node):
                self.merge(inner, seen.new_child())

    def _first(
        self,
        value: ir.Value,
        tensor: ir.TensorProtocol,
        seen: ChainMap[Hashable, list[ir.Value]],
    ) -> ir.Value | None:
        """The first weight that holds the same; ``None`` where that is not looked at."""
        place = _place(tensor)
        if place is not None and place in seen:
            return seen[place][0]
        if place is not None:
            seen[place] = [value]
        if tensor.nbytes > MOST_BYTES_HASHED:
            if place is None or _form(tensor) in self._too_large:
                why = f"{value.name!r} is too large to compare with others of its shape"
                self._ledger.miss([use.node for use in value.uses()], why)
            self._too_large.setdefault(_form(tensor), value)
            return None
        sample = (*_form(tensor), _sample(tensor))
        alike = seen.get(sample)
        if alike is None:
            seen[sample] = [value]
            return value
        digest = _digest(tensor)
        for other in alike:
            if other.const_value is not None and _digest(other.const_value) == digest:
                return other
        seen[sample] = [*alike, value]
        return value


def _form(tensor: ir.TensorProtocol) -> tuple[Hashable, ...]:
    return (tensor.dtype, tuple(tensor.shape))


def _place(tensor: ir.TensorProtocol) -> Place | None:
    if not isinstance(tensor, ir.ExternalTensor):
        return None
    return (str(tensor.path), tensor.offset, tensor.length)


def _sample(tensor: ir.TensorProtocol) -> bytes:
    flat = np.asarray(tensor.numpy()).reshape(-1)
    if flat.dtype.kind == "O":
        return repr(flat[:SAMPLED].tolist()).encode()
    return flat[:: max(1, flat.size // SAMPLED)][:SAMPLED].tobytes()


def _digest(tensor: ir.TensorProtocol) -> bytes:
    if tensor.dtype == ir.DataType.STRING:
        return hashlib.sha256(repr(np.asarray(tensor.numpy()).tolist()).encode()).digest()
    # Some dtypes are foreign to NumPy, and to the buffers that a hash takes.
    held = np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8)
    return hashlib.sha256(held.data).digest()


def _merge_nodes(graph: ir.Graph, seen: ChainMap[Hashable, ir.Node], ledger: Ledger) -> None:
    for node in graph:
        inner = list(graphs_of(node))
        for subgraph in inner:
            _merge_nodes(subgraph, seen.new_child(), ledger)
        if inner or not node.outputs:
            continue
        key = _computation(node)
        if key is None:
            continue
        first = seen.setdefault(key, node)
        if first is not node:
            _merge(node, first, ledger)


def _merge(node: ir.Node, first: ir.Node, ledger: Ledger) -> None:
    if node.domain not in KNOWN_DOMAINS:
        ledger.miss([first, node], "whether this operator answers the same each time is not known")
        return
    if node.op_type in RANDOM:
        ledger.miss([first, node], "each draws numbers of its own, though they look alike")
        return
    pairs = list(zip(first.outputs, node.outputs, strict=True))
    if not all(can_stand_for(new, old) for new, old in pairs):
        ledger.miss([first, node], "both are outputs, and each output is a value of its own")
        return
    if ledger.fire(str(node.outputs[0].name), [first, node], "both compute the same"):
        for new, old in pairs:
            stand_for(new, old)
        if node.graph is not None:
            node.graph.remove(node, safe=True)


def _computation(node: ir.Node) -> Hashable | None:
    """Equal for two nodes that compute the same; ``None`` if that cannot be told."""
    inputs = [None if value is None else id(value) for value in node.inputs]
    if node.op_type in COMMUTATIVE and node.domain in ("", "ai.onnx") and None not in inputs:
        inputs.sort(key=str)
    attributes = []
    for name, attribute in node.attributes.items():
        held = _attribute(attribute)
        if held is None:
            return None
        attributes.append((name, held))
    given = tuple(bool(value.name) for value in node.outputs)
    return (node.op_identifier(), tuple(inputs), tuple(sorted(attributes, key=str)), given)


def _attribute(attribute: ir.Attr) -> Hashable | None:
    if attribute.is_ref():
        return ("parameter", attribute.ref_attr_name)
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        if tensor.nbytes > MOST_BYTES_IN_ATTRIBUTE:
            return None
        return (*_form(tensor), _digest(tensor))
    held = attribute.value
    if attribute.type in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS):
        return (str(attribute.type), repr(held))  # in which the two zeros differ
    if isinstance(held, list | tuple):
        held = tuple(held)
    return (str(attribute.type), held) if isinstance(held, Hashable) else None
