"""What the graph itself asks of its inputs: which values index a table, which sizes it can take.

Made-up inputs are of use only if the graph accepts them. So every input, and every size that the
graph reads with ``Shape``, is followed forward through the operators that keep a number what it is
(casts, reshapes, slices, sums with a constant) to where its value matters: the table that it
indexes, the constant that it slices or is added to. One pass over the nodes, each met once.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.bodies import graphs_of
from lepton_ai.graph.building import constant_of
from lepton_ai.graph.feeding.shares import ARITHMETIC, MOST_ELEMENTS, Shares, largest
from lepton_ai.model.signature import Array

_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
_SAME = frozenset(
    {
        *("Cast", "Ceil", "Compress", "Expand", "Flatten", "Floor", "Gather", "GatherElements"),
        *("GatherND", "Identity", "Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Round"),
        *("Slice", "Split", "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze"),
    }
)
_EITHER = frozenset({"Concat", "Max", "Min", "ScatterElements", "ScatterND", "Where"})
_COMPARED = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
#: Operators whose inputs, by number, are sizes or counts: small and positive.
_COUNTS = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Loop": (0,),
    "OneHot": (1,),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (3,),
    "Tile": (1,),
    "TopK": (1,),
    "GRU": (4,),
    "LSTM": (4,),
    "RNN": (4,),
    "ReverseSequence": (1,),
}
#: Operators between two tensors whose shapes are broadcast against each other.
_BROADCAST = frozenset({"Add", "Sub", "Mul", "Div", "And", "Or", "Pow", "PRelu"})
#: ONNX Runtime's fused embedding: which input indexes which table.
_FUSED_TABLES = {0: 2, 1: 4}


@dataclass(kw_only=True)
class Wanted:
    """What the graph asks of the values of one input.

    ``limits`` are triples ``(length, scale, offset)``: ``scale * value + offset`` must stay below
    ``length``, a number or the name of a size.
    """

    limits: list[tuple[int | str, float, float]] = field(default_factory=list)
    low: int = 0
    is_mask: bool = False
    is_count: bool = False
    divides: bool = False


@dataclass(kw_only=True)
class Bounds:
    """What the graph asks of its inputs' values, and of its symbolic sizes.

    ``most`` is the largest value that a size may take, ``exactly`` the only one (or 1).
    """

    values: dict[str, Wanted] = field(default_factory=lambda: defaultdict(Wanted))
    most: dict[str, int] = field(default_factory=dict)
    exactly: dict[str, int] = field(default_factory=dict)


def find_bounds(model: ir.Model, inputs: Sequence[ir.Value], sizes: Iterable[str]) -> Bounds:
    """Follow ``inputs`` and ``sizes`` through ``model``, whose shapes are inferred."""
    walk = _Walk(frozenset(sizes))
    for value in inputs:
        walk.holds[value] = {f"input {value.name}": (1.0, 0.0)}
    walk.graph(model.graph)
    return walk.bounds


class _Walk:
    def __init__(self, sizes: frozenset[str]) -> None:
        self.bounds = Bounds()
        self.holds: dict[ir.Value, Shares] = {}
        #: Values that are short lists of sizes, element by element.
        self.lists: dict[ir.Value, list[Shares]] = {}
        self._fixed: set[ir.Value] = set()
        self._sizes = sizes

    def graph(self, graph: ir.Graph) -> None:
        """Take every node of ``graph``, in order."""
        self._fixed.update(v for v in graph.initializers.values() if not v.is_graph_input())
        for node in graph:
            if node.domain not in _DOMAINS:
                continue
            self._limit(node)
            self._match_sizes(node)
            self._bodies(node)
            carried = self._carry(node)
            for output in node.outputs:
                if carried:
                    self.holds[output] = carried
            self._carry_list(node)
            read = [value for value in node.inputs if value is not None]
            if all(value in self._fixed for value in read) and not list(graphs_of(node)):
                self._fixed.update(node.outputs)

    def held(self, value: ir.Value | None) -> Shares:
        """What ``value`` holds of the sources."""
        return {} if value is None else self.holds.get(value, {})

    # --- what a node's outputs hold -------------------------------------------------------------

    def _carry(self, node: ir.Node) -> Shares:
        operator = node.op_type
        if operator in _SAME:
            return self.held(node.inputs[0])
        if operator in _EITHER:
            return largest(self.held(value) for value in node.inputs)
        if operator in ARITHMETIC:
            return ARITHMETIC[operator](node, self.held)
        if operator in ("Shape", "CumSum"):
            return self._sizes_of(node.inputs[0])
        return self.holds.get(node.outputs[0], {}) if node.outputs else {}

    def _sizes_of(self, value: ir.Value | None) -> Shares:
        if value is None or value.shape is None:
            return {}
        names = {size.value for size in value.shape if isinstance(size, ir.SymbolicDim)}
        return {f"size {name}": (1.0, 0.0) for name in names if name in self._sizes}

    def _carry_list(self, node: ir.Node) -> None:
        """Keep the elements of a list of sizes apart, so that each is bounded by its own use."""
        elements = self._elements(node)
        if elements is not None and len(elements) <= MOST_ELEMENTS:
            self.lists[node.outputs[0]] = elements
            self.holds[node.outputs[0]] = largest(elements)

    def _elements(self, node: ir.Node) -> list[Shares] | None:
        operator, first = node.op_type, node.inputs[0] if node.inputs else None
        if operator == "Shape" and first is not None and first.shape is not None:
            every = [self._share(size) for size in first.shape]
            begin = node.attributes.get_int("start", 0)
            return every[begin : node.attributes.get_int("end", len(every))]
        if operator == "Concat":
            parts = [self._listed(value) for value in node.inputs]
            known = [part for part in parts if part is not None]
            return [one for part in known for one in part] if len(known) == len(parts) else None
        held = self.lists.get(first) if first is not None else None
        if held is None:
            return None
        if operator in ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"):
            return held
        if operator == "Gather":
            index = constant_of(node.inputs[1], MOST_ELEMENTS)
            return None if index is None else _taken(held, index.reshape(-1))
        if operator == "Slice" and len(node.inputs) >= 3:
            ends = [constant_of(value, 1) for value in node.inputs[1:3]]
            steps = constant_of(node.inputs[4], 1) if len(node.inputs) > 4 else np.array([1])
            if all(end is not None for end in ends) and steps is not None:
                begin, end = (int(one.reshape(-1)[0]) for one in ends if one is not None)
                return held[begin : end : int(steps.reshape(-1)[0])]
        return None

    def _listed(self, value: ir.Value | None) -> list[Shares] | None:
        if value is not None and value in self.lists:
            return self.lists[value]
        constant = constant_of(value, MOST_ELEMENTS)
        return None if constant is None else [{} for _ in range(constant.size)]

    def _share(self, size: int | ir.SymbolicDim) -> Shares:
        named = isinstance(size, ir.SymbolicDim) and size.value in self._sizes
        return {f"size {size}": (1.0, 0.0)} if named else {}

    def _bodies(self, node: ir.Node) -> None:
        """Take the bodies of ``If``, ``Loop`` and ``Scan``; what they give, the node gives."""
        for body in graphs_of(node):
            if node.op_type == "Loop":
                given = [self._count_down(node.inputs[0]), {}, *map(self.held, node.inputs[2:])]
            else:
                given = [self.held(value) for value in node.inputs]
            for value, shares in zip(body.inputs, given, strict=False):
                if shares:
                    self.holds[value] = shares
            self.graph(body)
            results = body.outputs[1:] if node.op_type == "Loop" else body.outputs
            for output, result in zip(node.outputs, results, strict=False):
                self.holds[output] = largest([self.held(output), self.held(result)])

    def _count_down(self, trips: ir.Value | None) -> Shares:
        return {source: (a, b - 1) for source, (a, b) in self.held(trips).items()}

    # --- what a node asks -----------------------------------------------------------------------

    def _limit(self, node: ir.Node) -> None:
        """Note what ``node`` asks of the sources that its inputs hold."""
        self._say(node)
        operator, read = node.op_type, node.inputs
        if operator in ("Gather", "GatherElements", "ScatterElements"):
            axis = node.attributes.get_int("axis", 0)
            self._index(read[1], _length(read[0], axis))
        elif operator in ("GatherND", "ScatterND"):
            self._index(read[1], _shortest(node))
        elif operator == "OneHot":
            depth = constant_of(read[1], 1)
            self._index(read[0], None if depth is None else int(depth.reshape(-1)[0]))
        elif operator == "EmbedLayerNormalization":
            for index, table in _FUSED_TABLES.items():
                if table < len(read):
                    self._index(read[index], _length(read[table], 0))
        elif operator == "Slice" and len(read) > 2 and read[0] in self._fixed:
            self._slice(node)

    def _say(self, node: ir.Node) -> None:
        """Note what ``node`` tells of what an input means."""
        for number in _COUNTS.get(node.op_type, ()):
            for wanted in self._wanted(node.inputs[number] if number < len(node.inputs) else None):
                wanted.is_count = True
        if node.op_type in ("Div", "Mod"):
            for wanted in self._wanted(node.inputs[1]):
                wanted.divides = True
        for wanted in self._wanted(_condition(node)):
            wanted.is_mask = True

    def _wanted(self, value: ir.Value | None) -> list[Wanted]:
        sources = (source.partition(" ") for source in self.held(value))
        return [self.bounds.values[name] for kind, _, name in sources if kind == "input"]

    def _index(self, value: ir.Value | None, length: int | str | None) -> None:
        if length is None:
            return
        for source, (scale, offset) in self.held(value).items():
            kind, _, name = source.partition(" ")
            if kind == "input":
                wanted = self.bounds.values[name]
                wanted.limits.append((length, scale, offset))
                if scale > 0 > offset:
                    wanted.low = max(wanted.low, int(np.ceil(-offset / scale)))
            elif isinstance(length, int) and scale > 0:
                self._at_most(name, int((length - 1 - offset) // scale))

    def _slice(self, node: ir.Node) -> None:
        """A constant that is cut to a size must be at least that long."""
        axes = constant_of(node.inputs[3], MOST_ELEMENTS) if len(node.inputs) > 3 else None
        ends = self._listed(node.inputs[2]) or [self.held(node.inputs[2])]
        order = range(len(ends)) if axes is None else axes.reshape(-1).tolist()
        for axis, shares in zip(order, ends, strict=False):
            length = _length(node.inputs[0], int(axis))
            for source, (scale, offset) in shares.items():
                kind, _, name = source.partition(" ")
                if kind == "size" and isinstance(length, int) and scale > 0:
                    self._at_most(name, int((length - offset) // scale))

    def _at_most(self, size: str, most: int) -> None:
        if most >= 1:
            self.bounds.most[size] = min(most, self.bounds.most.get(size, most))

    def _match_sizes(self, node: ir.Node) -> None:
        """Sizes that meet a fixed one can only be that one, whatever the input declares."""
        first, second = (*node.inputs[:2], None, None)[:2]
        if first is None or second is None or first.shape is None or second.shape is None:
            return
        left, right = list(first.shape), list(second.shape)
        if node.op_type in _BROADCAST:
            for one, other in zip(left[::-1], right[::-1], strict=False):
                self._equal(one, other)
                self._equal(other, one)
        elif node.op_type == "MatMul" and left and right:
            self._equal(left[-1], right[-2 if len(right) > 1 else -1])
        elif node.op_type == "Gemm" and len(left) == len(right) == 2:
            inner = left[0 if node.attributes.get_int("transA", 0) else 1]
            self._equal(inner, right[1 if node.attributes.get_int("transB", 0) else 0])
        elif node.op_type == "Conv" and len(left) > 1 and len(right) > 1:
            group, channels = node.attributes.get_int("group", 1), right[1]
            if isinstance(channels, int):
                self._equal(left[1], channels * group)

    def _equal(self, size: int | ir.SymbolicDim, fixed: int | ir.SymbolicDim) -> None:
        if isinstance(size, int) or not isinstance(fixed, int) or fixed <= 1:
            return
        if size.value in self._sizes:
            self.bounds.exactly[str(size.value)] = fixed


def _taken(held: list[Shares], index: Array) -> list[Shares] | None:
    inside = all(-len(held) <= int(one) < len(held) for one in index)
    return [held[int(one)] for one in index] if inside else None


def _length(value: ir.Value | None, axis: int) -> int | str | None:
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    size = value.shape[axis]
    return size if isinstance(size, int) else size.value


def _shortest(node: ir.Node) -> int | None:
    """The shortest axis that an index vector of ``GatherND`` or ``ScatterND`` reaches into."""
    data, indices = node.inputs[0], node.inputs[1]
    width = _length(indices, -1)
    if not isinstance(width, int):
        return None
    begin = node.attributes.get_int("batch_dims", 0)
    lengths = [_length(data, axis) for axis in range(begin, begin + width)]
    known = [length for length in lengths if isinstance(length, int)]
    return min(known, default=None)


def _condition(node: ir.Node) -> ir.Value | None:
    """The input that says where there is data: it becomes a boolean, or is compared with 0 or 1."""
    if node.op_type == "Cast":
        becomes = node.attributes.get_int("to", 0)
        return node.inputs[0] if becomes == ir.DataType.BOOL else None
    if node.op_type in _COMPARED:
        for value, other in (node.inputs, node.inputs[::-1]):
            constant = constant_of(other, 1)
            if constant is not None and constant.size and constant.reshape(-1)[0] in (0, 1):
                return value
    return None
