"""What each node of a graph costs: multiply-accumulates, and the bytes that it reads and writes."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from lepton_ai.formats.quiet import quiet
from lepton_ai.graph.bodies import graphs_of
from lepton_ai.graph.inspection.macs import multiply_accumulates, sizes_of

#: The first axis of an input, when its size is symbolic: one sample.
BATCH = 1
#: Any other symbolic size: the tokens of a long sentence, and an even number for images.
ELSEWHERE = 128
#: Shapes are folded, which are short; weights are not.
MOST_ELEMENTS_FOLDED = 1024
#: How often sizes that were filled in are followed through the graph.
_ROUNDS = 4
#: A shape of more axes is none.
MOST_AXES = 64

#: Their output is their input under another shape, or is there before the call: nothing moves. What
#: a node with graphs inside moves is counted at the nodes in them.
STILL = frozenset(
    {
        "Constant",
        "Flatten",
        "Identity",
        "If",
        "Loop",
        "Reshape",
        "Scan",
        "Shape",
        "Size",
        "Squeeze",
        "Unsqueeze",
    }
)
#: A string takes as many bytes as it has.
NO_SIZE = frozenset({ir.DataType.STRING, ir.DataType.UNDEFINED})
#: Their first input is a table, and of it they read what they answer with.
LOOKS_UP = frozenset({"Gather", "GatherElements", "GatherND", "Slice"})


@dataclass(frozen=True, kw_only=True)
class NodeCost:
    """What one node costs; ``None`` where shapes or dtypes are not known.

    ``elements`` are those read and written together; ``moved`` are bytes.
    """

    macs: int | None
    bytes_read: int | None
    bytes_written: int | None
    elements: int | None

    @property
    def moved(self) -> int:
        """Bytes read and written, as far as they are known."""
        return (self.bytes_read or 0) + (self.bytes_written or 0)

    @property
    def weight(self) -> int:
        """Multiply-accumulates plus elements moved, as far as they are known."""
        return (self.macs or 0) + (self.elements or 0)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The cost of each node of a graph, and the values that symbolic sizes were counted at."""

    sizes: Mapping[str, int]
    nodes: Mapping[ir.Node, NodeCost]


def measure_costs(model: ir.Model) -> Costs:
    """What the nodes of ``model`` cost, those in subgraphs included; ``model`` stays as it is.

    Reading a weight counts at each node that reads it. The body of a loop counts once, and each
    branch of an ``If``.
    """
    spent = model.clone()
    twins = list(spent.graph.all_nodes())
    inputs = [tuple(twin.inputs) for twin in twins]
    sizes = bind_sizes(spent)
    return Costs(
        sizes=sizes,
        nodes={
            node: _cost(twin, read)
            for node, twin, read in zip(model.graph.all_nodes(), twins, inputs, strict=True)
        },
    )


def bind_sizes(model: ir.Model) -> dict[str, int]:
    """Give every symbolic size of ``model``'s inputs a value, infer all shapes, say which values.

    ``model`` is spent afterwards: its inputs are static, and nodes that compute shapes are folded
    away (``node.graph`` is ``None``), since a shape that a graph computes is known only then.
    """
    chosen: dict[str, int] = {}
    for graph_input in model.graph.inputs:
        if graph_input.shape is not None:
            graph_input.shape = ir.Shape(_bound(graph_input.shape, chosen))
    for node in model.graph.all_nodes():
        for output in node.outputs:
            output.shape = None
    _fold(model)
    if _bind_bodies(model, chosen):
        _fold(model)
    return chosen


_NO_TENSORS = (ir.SequenceType, ir.OptionalType)


def infer_shapes(model: ir.Model) -> None:
    """Fill in the shapes that ONNX can infer, symbolic sizes by name.

    A graph with sequences or optionals is left as it is: the pass under this takes them for
    tensors. So are weights that a caller may give others for: what they hold now says nothing.
    """
    if any(_is_no_tensor(node) for graph in model.graphs() for node in graph):
        return
    open_to_callers = [v for v in model.graph.inputs if v.is_initializer()]
    for value in open_to_callers:
        del model.graph.initializers[str(value.name)]
    try:
        with quiet():
            infer = common.ShapeInferencePass(check_type=False, strict_mode=False)
            infer(model)
            for _ in range(_ROUNDS):
                if not _fill_in(model):
                    break
                infer(model)
    finally:
        for value in open_to_callers:
            model.graph.initializers[str(value.name)] = value


def _fill_in(model: ir.Model) -> bool:
    """The one size that a Reshape leaves open, where the symbols of all others stay; any found?"""
    found = False
    for node in model.graph:
        if node.op_type != "Reshape" or node.inputs[0] is None:
            continue
        before, after = node.inputs[0].shape, node.outputs[0].shape
        size = None if before is None or after is None else _left_open(before, after)
        if size is not None and after is not None:
            place, number = size
            node.outputs[0].shape = ir.Shape([*after[:place], number, *after[place + 1 :]])
            found = True
    return found


def _left_open(before: ir.Shape, after: ir.Shape) -> tuple[int, int] | None:
    """Where a size is open, and the number that it can only be."""
    names = [size.value for size in before if not isinstance(size, int)]
    rest = Counter(size.value for size in after if not isinstance(size, int))
    rest.subtract(names)
    open_ones = [name for name, count in rest.items() if count > 0]
    if any(name is None for name in names) or any(count < 0 for count in rest.values()):
        return None
    if len(open_ones) != 1 or rest[open_ones[0]] != 1:
        return None
    left, right = (
        math.prod(size for size in each if isinstance(size, int)) for each in (before, after)
    )
    places = [i for i, size in enumerate(after) if not isinstance(size, int)]
    place = next(i for i in places if after[i].value == open_ones[0])  # type: ignore[union-attr]
    return (place, left // right) if right and left % right == 0 and left else None


def _is_no_tensor(node: ir.Node) -> bool:
    """Whether a node reads or writes a sequence or an optional."""
    if node.op_type.startswith(("Sequence", "Optional", "SplitToSequence", "ConcatFromSequence")):
        return True
    values = (*node.inputs, *node.outputs)
    return any(v is not None and isinstance(v.type, _NO_TENSORS) for v in values)


def _fold(model: ir.Model) -> None:
    """Infer shapes node by node, computing what they hang on."""
    with quiet():
        optimizer.fold_constants(
            model,
            onnx_shape_inference=True,
            input_size_limit=MOST_ELEMENTS_FOLDED,
            output_size_limit=MOST_ELEMENTS_FOLDED,
            should_fold=_fills_little,
        )


def _bind_bodies(model: ir.Model, chosen: Mapping[str, int]) -> bool:
    """Bind sizes in subgraphs; whether there are any.

    What a loop passes from trip to trip is taken to keep its shape, which ONNX leaves open. The
    first two inputs of a loop, and of its body, count the trips and say whether to go on.
    """
    bodies = list(model.graph.subgraphs())
    for value in (v for body in bodies for v in _values(body)):
        if value.shape is not None:
            sizes = [size if isinstance(size, int) else size.value for size in value.shape]
            value.shape = ir.Shape([chosen.get(s, s) if isinstance(s, str) else s for s in sizes])
    for loop in model.graph.all_nodes():
        if loop.op_type != "Loop":
            continue
        for body in graphs_of(loop):
            places = zip(body.inputs, [None, None, *loop.outputs], strict=False)
            for begin, (passed, last) in zip(loop.inputs, places, strict=False):
                for held in (passed, last):
                    if begin is not None and begin.shape is not None and held is not None:
                        held.type, held.shape = held.type or begin.type, begin.shape
    return bool(bodies)


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from (*graph.inputs, *graph.outputs)
    for node in graph:
        yield from node.outputs


def _fills_little(node: ir.Node) -> bool | None:
    """Fold a small ``ConstantOfShape``, which is left alone otherwise; ``None`` leaves it open."""
    shape = node.inputs[0].const_value if node.inputs and node.inputs[0] is not None else None
    if node.op_type != "ConstantOfShape" or shape is None or shape.size > MOST_AXES:
        return None
    return math.prod(shape.numpy().tolist()) <= MOST_ELEMENTS_FOLDED or None


def _bound(shape: ir.Shape, chosen: dict[str, int]) -> list[int]:
    sizes = []
    for axis, size in enumerate(shape):
        if isinstance(size, int):
            sizes.append(size)
            continue
        value = BATCH if axis == 0 else ELSEWHERE
        sizes.append(chosen.setdefault(size.value, value) if size.value else value)
    return sizes


def _cost(node: ir.Node, read: tuple[ir.Value | None, ...]) -> NodeCost:
    """The cost of a node that may have been folded away, and then read ``read``."""
    folded = node.graph is None
    came = [value for value in (read if folded else node.inputs) if value is not None]
    elements_in, bytes_in = _amount(came)
    elements_out, bytes_out = _amount(node.outputs)
    if node.op_type in STILL and node.domain in ("", "ai.onnx"):
        elements_in = bytes_in = elements_out = bytes_out = 0
    elif node.op_type in LOOKS_UP:
        rest_elements, rest_bytes = _amount(came[1:])
        elements_in, bytes_in = _sum(elements_out, rest_elements), _sum(bytes_out, rest_bytes)
    cost = NodeCost(
        macs=multiply_accumulates(node),
        bytes_read=bytes_in,
        bytes_written=bytes_out,
        elements=_sum(elements_in, elements_out),
    )
    if not folded:
        return cost
    # Of a folded node little is known, and it is little that it moved.
    return NodeCost(
        macs=0,
        bytes_read=bytes_in or 0,
        bytes_written=bytes_out or 0,
        elements=cost.elements or 0,
    )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def _amount(values: Sequence[ir.Value]) -> tuple[int | None, int | None]:
    """Elements and bytes of ``values``; outputs that have no name are not computed."""
    elements = total = 0
    for value in values:
        if value.name == "":
            continue
        shape = sizes_of(value)
        if shape is None or value.dtype is None or value.dtype in NO_SIZE:
            return None, None
        elements += math.prod(shape)
        total += math.ceil(math.prod(shape) * value.dtype.bitwidth / 8)
    return elements, total
