"""Products and convolutions that read one input, made one wide operation and taken apart after it.

The query, key and value of an attention are three products of the same tokens: one product of three
times the width reads the tokens once, keeps more threads busy and is one kernel to start. Taking it
apart again is a copy, which is what the merge costs; so the split goes as far down as it can, past
the reshapes, transposes and activations that all parts share (the heads of query, key and value are
then simply three times as many heads, and the copy that the transposes made anyway is made once).
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import add_weight, constant_of
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.rules.merge_columns import split_node
from lepton_ai.graph.values.operands import opset_of
from lepton_ai.model.signature import Array

#: Where the channels are in the output: Gemm's is a matrix.
CHANNELS = {"Conv": 1, "Gemm": 1}
#: What engines compute inside the convolution before it. A split in between would end that.
FUSED = frozenset({"BatchNormalization", "Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid"})
#: Element by element and of one input: what splits, then computes, may compute, then split.
ELEMENTWISE = frozenset(
    {"Abs", "Cast", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg"}
    | {"Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Tanh"}
)
#: A convolution makes this many multiplications per output element or more, or is small: the split
#: moves each element twice, which beside fewer multiplications than that would be felt.
LEAST_REDUCTION = 64
#: An output of up to this many elements stays in a core's cache, where copying it is nothing.
SMALL = 65_536
#: Reshape targets are read whole; a longer constant than this is none.
LONGEST_SHAPE = 16


@dataclass(frozen=True, kw_only=True)
class _Branch:
    """One sibling, with the addition of its bias where that is a node of its own."""

    node: ir.Node
    width: int
    bias: ir.Value | None
    add: ir.Node | None = None

    @property
    def nodes(self) -> list[ir.Node]:
        return [self.node] if self.add is None else [self.node, self.add]

    @property
    def result(self) -> ir.Value:
        return self.nodes[-1].outputs[0]


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Values that together, along ``axis``, are one; ``made_by`` the nodes that made them, if any.

    The first of ``made_by`` says how; ``target`` is the shape that it is given instead of its own.
    Those in ``turned`` have their last two axes the other way round.
    """

    values: Sequence[ir.Value]
    axis: int
    widths: Sequence[int]
    made_by: Sequence[ir.Node] = ()
    target: Array | None = None
    turned: Collection[ir.Value] = ()


class MergeSiblings(Rule):
    """One wide operation instead of several narrow ones, where the split after it pays."""

    name = "merge-siblings"
    requires = (
        "MatMul, Gemm or Conv nodes of equal attributes read one input, each with a constant "
        "weight that nothing else reads, and one node in place of them leaves fewer nodes in all"
    )
    ensures = "one operation with the concatenated weights and biases computes all, then one Split"
    engines = ("onnxruntime", "openvino")

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Merge every group of siblings, then move every split below what its parts share."""
        version = opset_of(model)
        for graph in model.graphs():
            for branches in _families(graph, ledger):
                _merge(branches, ledger, version)
            for node in list(graph):
                if node.op_type == "Split" and node.domain == "":
                    _sink(node, ledger, version)


def _families(graph: ir.Graph, ledger: Ledger) -> Iterator[list[_Branch]]:
    groups: dict[Any, list[_Branch]] = defaultdict(list)
    shared: dict[Any, list[ir.Node]] = defaultdict(list)
    for node in graph:
        if node.op_type not in ("MatMul", "Gemm", "Conv") or node.domain or node.inputs[0] is None:
            continue
        weight = _weight(node)
        if weight is None:
            continue
        key = (node.op_type, id(node.inputs[0]), _settings(node), _kernel(node, weight))
        if len(weight.uses()) > 1 or weight.is_graph_output():
            shared[key].append(node)
        else:
            groups[key].append(_branch(node, weight))
    for key, nodes in shared.items():
        if len(nodes) + len(groups.get(key, ())) > 1:
            ledger.miss(nodes, "its weight is read elsewhere too, and would be stored twice")
    yield from (branches for branches in groups.values() if len(branches) > 1)


def _weight(node: ir.Node) -> ir.Value | None:
    """The weight of ``node`` if it is constant and of the rank that can be concatenated."""
    weight = node.inputs[1]
    if weight is None or weight.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(weight)
    rank = None if tensor is None else len(tensor.shape)
    if node.op_type == "Conv":
        grouped = node.attributes.get_int("group", 1) != 1
        return None if rank is None or rank < 3 or grouped else weight
    return weight if rank == 2 else None


def _sizes(weight: ir.Value) -> list[int]:
    tensor = ir.convenience.get_const_tensor(weight)
    return [] if tensor is None else list(tensor.shape.numpy())


def _channel_axis(node: ir.Node) -> int:
    """Along which axis of its weight the outputs of ``node`` lie."""
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
    return 0 if node.op_type == "Conv" or transposed else 1


def _kernel(node: ir.Node, weight: ir.Value) -> Any:
    """What of the weight must be equal among siblings."""
    sizes = _sizes(weight)
    del sizes[_channel_axis(node)]
    return weight.dtype, tuple(sizes)


def _settings(node: ir.Node) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(one.value)) for name, one in node.attributes.items()))


def _branch(node: ir.Node, weight: ir.Value) -> _Branch:
    width = _sizes(weight)[_channel_axis(node)]
    if node.op_type != "MatMul":
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        return _Branch(node=node, width=width, bias=bias)
    add = _only_reader(node.outputs[0])
    if add is not None and add.op_type == "Add" and len(set(add.inputs)) == 2:
        other = next(value for value in add.inputs if value is not node.outputs[0])
        if other is not None and _per_channel(other, width, node.outputs[0]):
            return _Branch(node=node, width=width, bias=other, add=add)
    return _Branch(node=node, width=width, bias=None)


def _per_channel(bias: ir.Value, width: int, added_to: ir.Value | None = None) -> bool:
    """Whether ``bias`` is constant and one number for each of the last axis, or one for all."""
    tensor = None if bias.is_graph_input() else ir.convenience.get_const_tensor(bias)
    if tensor is None:
        return False
    sizes = tensor.shape.numpy()
    rank = None if added_to is None or added_to.shape is None else len(added_to.shape)
    fits = len(sizes) <= (1 if rank is None and added_to is not None else rank or 2)
    return fits and (tensor.size == 1 or (tensor.size == width and sizes[-1] == width))


def _merge(branches: list[_Branch], ledger: Ledger, version: int) -> None:
    node = branches[0].node
    every = [one for branch in branches for one in branch.nodes]
    kept = node.outputs[0].shape
    if kept is None:
        ledger.miss(every, "how many axes they have is not known")
        return
    axis = CHANNELS.get(node.op_type, len(kept) - 1)
    layers = _layers([b.result for b in branches], axis, [b.width for b in branches])
    why_not = _objection(branches, layers)
    if why_not:
        ledger.miss(every, why_not)
        return
    old = [*every, *(one for layer in layers[1:] for one in layer.made_by)]
    why = f"{len(branches)} x {node.op_type} read one input, and are one of that width together"
    if node.graph is None or not ledger.fire(str(branches[0].result.name), old, why):
        return
    weights = [branch.node.inputs[1] for branch in branches]
    wide = _widened(node.graph, branches, axis)
    _finish(node.graph, node, old, wide, layers, version)
    for weight in weights:
        if weight is not None and weight.is_initializer() and weight.graph is not None:
            weight.graph.initializers.pop(str(weight.name))


def _objection(branches: list[_Branch], layers: Sequence[_Parts]) -> str:
    """Why these siblings are better left apart; empty where they are not."""
    node, sunk = branches[0].node, len(layers) - 1
    before = sum(len(branch.nodes) for branch in branches) + sunk * len(branches)
    after = 2 + any(branch.add is not None for branch in branches) + sunk + len(layers[-1].turned)
    if after >= before:
        return "the split after one wide operation would be as many nodes as the merge spares"
    if node.op_type == "MatMul":
        return ""
    for branch in branches:
        if branch.bias is not None and not _per_channel(branch.bias, branch.width):
            return "a bias is not one constant per channel"
    if node.op_type == "Gemm":
        return "" if node.attributes.get_float("beta", 1.0) == 1.0 else "its bias is scaled"
    readers = [_only_reader(part) for part in layers[-1].values]
    if any(reader is not None and reader.op_type in FUSED for reader in readers):
        return "engines compute what follows inside the convolution, which a split would end"
    reduction = math.prod(_sizes(_known(node.inputs[1]))[1:])
    if reduction < LEAST_REDUCTION and not _is_small(branches):
        return "there is so little to compute that copying the output apart would cost more"
    return ""


def _is_small(branches: list[_Branch]) -> bool:
    total = 0
    for branch in branches:
        shape = branch.result.shape
        sizes = [size for size in shape or () if isinstance(size, int)]
        if shape is None or len(sizes) < len(shape):
            return False
        total += math.prod(sizes)
    return total <= SMALL


def _widened(graph: ir.Graph, branches: list[_Branch], axis: int) -> list[ir.Node]:
    """One node (and the addition of its bias) that computes all branches side by side."""
    node = branches[0].node
    weight = _known(node.inputs[1])
    home = weight.graph if weight.is_initializer() and weight.graph is not None else graph
    parts = [constant_of(branch.node.inputs[1]) for branch in branches]
    values = np.concatenate([part for part in parts if part is not None], _channel_axis(node))
    inputs = [node.inputs[0], add_weight(home, f"{weight.name}_merged", values)]
    bias = _biases(branches, values.dtype)
    held = None if bias is None else add_weight(home, f"{weight.name}_merged_bias", bias)
    if held is not None and node.op_type != "MatMul":
        inputs.append(held)
    wide = ir.Node("", node.op_type, inputs, list(node.attributes.values()))
    _describe(wide, node.outputs[0], axis, sum(branch.width for branch in branches))
    if held is None or node.op_type != "MatMul":
        return [wide]
    added = ir.Node("", "Add", [wide.outputs[0], held])
    _describe(added, node.outputs[0], axis, sum(branch.width for branch in branches))
    return [wide, added]


def _biases(branches: list[_Branch], dtype: Any) -> Array | None:
    """All biases one after the other. Where one has none, -0.0: adding that changes no number."""
    if all(branch.bias is None for branch in branches):
        return None
    parts = []
    for branch in branches:
        held = constant_of(branch.bias)
        flat = np.full(1, -0.0).astype(dtype) if held is None else held.reshape(-1)
        parts.append(np.broadcast_to(flat, (branch.width,)))
    return np.concatenate(parts)


def _sink(split: ir.Node, ledger: Ledger, version: int) -> None:
    """Move ``split`` below what all of its parts go through."""
    whole, shape = split.inputs[0], split.outputs[0].shape
    if whole is None or shape is None or len(split.outputs) < 2 or split.graph is None:
        return
    axis = split.attributes.get_int("axis", 0) % len(shape)
    widths = [out.shape[axis] if out.shape is not None else None for out in split.outputs]
    known = [width for width in widths if isinstance(width, int)]
    if len(known) < len(widths):
        return
    layers = _layers(list(split.outputs), axis, known)
    old = [split, *(one for layer in layers[1:] for one in layer.made_by)]
    why = f"its {len(widths)} parts go through the same: once before the split is enough"
    if len(layers) > 1 and ledger.fire(str(layers[-1].values[0].name), old, why):
        _finish(split.graph, split, old, [], layers, version)


def _finish(
    graph: ir.Graph,
    at: ir.Node,
    old: Sequence[ir.Node],
    wide: list[ir.Node],
    layers: Sequence[_Parts],
    version: int,
) -> None:
    """Put ``wide`` (or what ``at`` splits), what its parts share and a split for ``old``."""
    new, whole = list(wide), wide[-1].outputs[0] if wide else _known(at.inputs[0])
    for layer in layers[1:]:
        first = layer.made_by[0]
        rest = list(first.inputs[1:])
        if layer.target is not None:
            rest = [add_weight(graph, f"{first.outputs[0].name}_merged_shape", layer.target)]
        node = ir.Node("", first.op_type, [whole, *rest], list(first.attributes.values()))
        _describe(node, first.outputs[0], layer.axis, sum(layer.widths))
        new.append(node)
        whole = node.outputs[0]
    last = layers[-1]
    parts = {str(one.name): width for one, width in zip(last.values, last.widths, strict=True)}
    split = split_node(graph, whole, last.axis, parts, version)
    new.append(split)
    results = list(split.outputs)
    for at_part, value in enumerate(last.values):
        if value in last.turned:
            new.append(_turned(results[at_part], value))
            results[at_part] = new[-1].outputs[0]
    ir.convenience.replace_nodes_and_values(graph, at, old, new, list(last.values), results)


def _turned(part: ir.Value, like: ir.Value) -> ir.Node:
    shape = list(like.shape or ())
    part.type, part.shape = like.type, ir.Shape([*shape[:-2], *shape[:-3:-1]])
    return ir.Node("", "Transpose", [part], [ir.AttrInt64s("perm", _swapped(range(len(shape))))])


def _layers(values: Sequence[ir.Value], axis: int, widths: Sequence[int]) -> list[_Parts]:
    """``values``, then what they are after each step that all of them take alike."""
    layers = [_Parts(values=values, axis=axis, widths=widths)]
    while (following := _following(layers[-1])) is not None:
        layers.append(following)
    return layers


def _following(parts: _Parts) -> _Parts | None:
    readers = [reader for value in parts.values if (reader := _only_reader(value)) is not None]
    if len(readers) < len(parts.values) or parts.turned:
        return None
    operator, shape = readers[0].op_type, parts.values[0].shape
    if any(one.op_type != operator or one.domain for one in readers):
        return None
    if operator == "Transpose" and shape is not None:
        return _transposed(parts, readers, len(shape))
    if len({_settings(one) for one in readers}) > 1:
        return None
    if operator in ELEMENTWISE:
        made = [one.outputs[0] for one in readers]
        return _Parts(values=made, axis=parts.axis, widths=parts.widths, made_by=readers)
    if operator == "Reshape" and shape is not None and parts.axis == len(shape) - 1:
        return _reshaped(parts, readers)
    return None


def _transposed(parts: _Parts, readers: Sequence[ir.Node], rank: int) -> _Parts | None:
    """All transposed alike. One that has its last two axes swapped besides, as the keys of an
    attention have, is swapped after the split: engines do that inside the product that reads it.
    """
    orders = [
        tuple(int(at) for at in one.attributes.get_ints("perm", range(rank)[::-1]))
        for one in readers
    ]
    usual = max(orders, key=orders.count)
    turned = [one for one, order in zip(readers, orders, strict=True) if order != usual]
    allowed = (usual, _swapped(usual))
    axis = usual.index(parts.axis)
    if any(order not in allowed for order in orders) or len(turned) + 1 >= len(readers):
        return None
    if turned and axis >= rank - 2:
        return None
    like_the_rest = [one for one in readers if one not in turned]
    return _Parts(
        values=[one.outputs[0] for one in readers],
        axis=axis,
        widths=parts.widths,
        made_by=[*like_the_rest, *turned],
        turned=frozenset(one.outputs[0] for one in turned),
    )


def _swapped(order: Sequence[int]) -> tuple[int, ...]:
    return (*order[:-2], *order[:-3:-1])


def _reshaped(parts: _Parts, readers: Sequence[ir.Node]) -> _Parts | None:
    """The last axis of each part taken apart into heads of one size: all parts' heads in a row.

    Nothing before the last axis depends on its width, whatever the target makes of it, as long as
    it does not copy it; so the parts' targets must be equal there.
    """
    made = [one.outputs[0] for one in readers]
    open_heads = _leaves_heads_open(readers)
    tails = [tuple(out.shape[-2:]) if out.shape is not None else () for out in made]
    sizes = {tail[1] for tail in tails if len(tail) == 2 and isinstance(tail[1], int)}
    if len(sizes) != 1 or any(len(tail) != 2 for tail in tails):
        return None
    size = sizes.pop()
    heads = [
        width // size if open_heads and _same_before(part, out) else tail[0]
        for part, out, width, tail in zip(parts.values, made, parts.widths, tails, strict=True)
    ]
    known = [head for head in heads if isinstance(head, int)]
    if [head * size for head in known] != list(parts.widths):
        return None
    target = _target(readers, parts.axis, sum(known), size)
    if target is None and not open_heads:
        return None
    axis = len(made[0].shape or ()) - 2
    return _Parts(values=made, axis=axis, widths=known, made_by=readers, target=target)


def _same_before(part: ir.Value, out: ir.Value) -> bool:
    """Whether ``part`` but its last axis, and ``out`` but its two last, are of the same sizes."""
    before, after = list(part.shape or ())[:-1], list(out.shape or ())[:-2]
    named = all(isinstance(size, int) or size.value is not None for size in before)
    return named and before == after


def _target(readers: Sequence[ir.Node], axis: int, heads: int, size: Any) -> Array | None:
    """One constant target for all, where each has a constant one."""
    targets = [constant_of(one.inputs[1], LONGEST_SHAPE) for one in readers]
    kept = [tuple(one[:-2].tolist()) for one in targets if one is not None]
    if len(kept) < len(targets) or len(set(kept)) > 1:
        return None
    if readers[0].attributes.get_int("allowzero", 0) == 0 and 0 in kept[0][axis:]:
        return None
    return np.array([*kept[0], heads, size], np.int64)


def _leaves_heads_open(readers: Sequence[ir.Node]) -> bool:
    """Whether all share one computed target whose number of heads is -1: whatever there are."""
    target = readers[0].inputs[1]
    made = None if target is None else target.producer()
    if (
        made is None
        or made.op_type != "Concat"
        or any(one.inputs[1] is not target for one in readers)
    ):
        return False
    tail: list[int] = []
    for value in reversed(made.inputs):
        held = constant_of(value, LONGEST_SHAPE)
        if held is None or len(tail) >= 2:
            break
        tail = [*held.tolist(), *tail]
    return len(tail) >= 2 and tail[-2] == -1


def _only_reader(value: ir.Value) -> ir.Node | None:
    """The node of the same graph that alone reads ``value``, once."""
    uses = tuple(value.uses())
    made = value.producer()
    if len(uses) != 1 or value.is_graph_output() or made is None:
        return None
    reader: ir.Node = uses[0].node
    first = uses[0].idx == 0 or reader.op_type == "Add"
    return reader if first and reader.graph is made.graph else None


def _describe(node: ir.Node, like: ir.Value, axis: int, width: int) -> None:
    """Give the output of ``node`` the type and shape of ``like``, but ``width`` along ``axis``."""
    node.outputs[0].type = like.type
    if like.shape is not None:
        node.outputs[0].shape = ir.Shape(
            [width if at == axis else size for at, size in enumerate(like.shape)]
        )


def _known(value: ir.Value | None) -> ir.Value:
    if value is None:
        raise ValueError("an input that was there is gone")
    return value
