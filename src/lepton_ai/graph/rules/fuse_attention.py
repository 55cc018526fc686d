"""Attention as ONNX Runtime's ``MultiHeadAttention``, from the query, key and value projections on.

The projections stay products of their own. Packed with the attention into one ``Attention`` node
they would be out of the quantisers' reach, and ONNX Runtime runs them faster in int8: MiniLM-L6
with dynamic int8, 33 tokens, 2 threads, takes 0.8 of the packed graph's median time, in 23 MB
against 31 MB; in fp32 the two are equal.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.building import add_weight, constant_of, replace
from lepton_ai.graph.matching.attention import Attention, Side, attention_around
from lepton_ai.graph.matching.products import only_reader
from lepton_ai.graph.rule import Ledger, Rule
from lepton_ai.graph.rules.fold_shapes import SHAPE_IN_PART
from lepton_ai.graph.values.operands import opset_of
from lepton_ai.graph.values.size_inference import KnownSizes
from lepton_ai.graph.values.sizes import Size
from lepton_ai.model.signature import Array

DOMAIN = "com.microsoft"
#: From here on a Softmax is over the last axis where it is not told which.
LAST_AXIS = 13
#: Where the mask stands among the inputs.
MASK = 5


@dataclass(frozen=True, kw_only=True)
class Bias:
    """``row``, a constant that ``add`` adds to ``of``."""

    add: ir.Node
    of: ir.Value
    row: Array


class FuseAttention(Rule):
    """A dozen kernels per layer become one, and the matrix of scores stays in the cache."""

    name = "fuse-attention"
    requires = (
        "softmax(scale * q k^T + mask) v in float32, over heads that are parted from and put back "
        "into three axes, with sizes that are known to fit and no guard that may be needed"
    )
    ensures = "one MultiHeadAttention of ONNX Runtime computes it, with constant biases before it"
    engines = ("onnxruntime",)

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        """Fuse every attention."""
        known, opset = None, opset_of(model)
        for graph in model.graphs():
            masks = None
            for node in graph:
                if node.op_type == "Softmax" and node.domain == "":
                    if opset < LAST_AXIS and "axis" not in node.attributes:
                        continue  # it is over all axes but the first
                    known = known or KnownSizes(model)
                    masks = masks or Masks(graph, known, opset)
                    if _fuse(graph, node, known, masks, ledger):
                        model.opset_imports.setdefault(DOMAIN, 1)


class Masks:
    """Masks in the form that the kernel takes, each made once for all layers."""

    def __init__(self, graph: ir.Graph, known: KnownSizes, opset: int) -> None:
        self._graph = graph
        self._opset = opset
        self._known = known
        self._made: dict[tuple[ir.Value, Size, Size], ir.Value] = {}

    def taken(self, mask: ir.Value, found: Attention, at: ir.Node) -> ir.Value:
        """``mask`` with four axes, a row for each query and a column for each key.

        Nodes that make it so stand before ``at``.
        """
        shape = self._known.shape(mask) or ()
        queries, keys = found.query.tokens, found.key.tokens
        if len(shape) == 4 and shape[2:] == (queries, keys):
            return mask
        key = (mask, queries, keys)
        if key not in self._made:
            sides = [None if shape[-1] == keys else found.key]
            sides.insert(0, None if shape[-2:-1] == (queries,) else found.query)
            self._made[key] = self._widened(mask, sides, at)
        return self._made[key]

    def _widened(self, mask: ir.Value, sides: list[Side | None], at: ir.Node) -> ir.Value:
        """``mask`` with as many rows and columns as the two ``sides`` have tokens."""
        sizes = [1 if side is None else side.tokens for side in sides]
        numbers = [size for size in sizes if isinstance(size, int)]
        one = add_weight(self._graph, "one", np.array([1]))
        if len(numbers) == len(sizes):
            wanted, nodes = add_weight(self._graph, "mask_sizes", np.array([1, 1, *numbers])), []
        else:
            nodes, row = list[ir.Node](), list[ir.Value]()
            for side in sides:
                nodes += [] if side is None else self._counted(side)
                row.append(one if side is None else nodes[-1].outputs[0])
            nodes.append(ir.node("Concat", [one, one, *row], {"axis": 0}))
            wanted = nodes[-1].outputs[0]
        nodes.append(ir.node("Expand", [mask, wanted]))
        self._graph.insert_before(at, nodes)
        nodes[-1].outputs[0].type = mask.type
        return nodes[-1].outputs[0]

    def _counted(self, side: Side) -> list[ir.Node]:
        """Nodes of which the last answers the number of tokens, in a row of one."""
        if self._opset >= SHAPE_IN_PART:
            return [ir.node("Shape", [side.value], {"start": 1, "end": 2})]
        shape = ir.node("Shape", [side.value])
        second = add_weight(self._graph, "second", np.array([1]))
        return [shape, ir.node("Gather", [shape.outputs[0], second], {"axis": 0})]


def _fuse(
    graph: ir.Graph, softmax: ir.Node, known: KnownSizes, masks: Masks, ledger: Ledger
) -> bool:
    found = attention_around(softmax, known)
    if isinstance(found, str):
        ledger.miss([softmax], f"attention, but {found}")
    if not isinstance(found, Attention):
        return False
    dtype = softmax.outputs[0].dtype
    if dtype != ir.DataType.FLOAT:
        ledger.miss(found.nodes, f"attention, but ONNX Runtime has no kernel of it for {dtype}")
        return False
    biases = [_bias(side) for side in (found.query, found.key, found.value)]
    nodes = [*(bias.add for bias in biases if bias is not None), *found.nodes]
    heads, end = found.query.heads, nodes[-1]
    if not ledger.fire(str(end.outputs[0].name), nodes, f"is attention of {heads} heads"):
        return False
    inputs = _inputs(graph, found, biases, masks)
    attributes = {"num_heads": heads, "scale": found.scale}
    replace(nodes, [ir.node("MultiHeadAttention", inputs, attributes, domain=DOMAIN)], end)
    return True


def _inputs(
    graph: ir.Graph, found: Attention, biases: list[Bias | None], masks: Masks
) -> list[ir.Value | None]:
    """What the fused node reads: query, key, value, bias, no padding of keys, mask."""
    sides = [
        side if bias is None else dataclasses.replace(side, value=bias.of)
        for side, bias in zip((found.query, found.key, found.value), biases, strict=True)
    ]
    inputs: list[ir.Value | None] = [side.value for side in sides]
    if any(biases):
        row = [
            np.zeros(side.heads * side.width, np.float32) if bias is None else bias.row
            for side, bias in zip(sides, biases, strict=True)
        ]
        inputs.append(add_weight(graph, f"{sides[0].value.name}_bias", np.concatenate(row)))
    if found.mask is not None:
        bare = dataclasses.replace(found, query=sides[0], key=sides[1])
        mask = masks.taken(found.mask, bare, found.nodes[-1])
        inputs += [None] * (MASK - len(inputs)) + [mask]
    return inputs


def _bias(side: Side) -> Bias | None:
    """The constant that is added to a projection just before its heads are parted."""
    add = side.value.producer()
    if add is None or add.op_type != "Add" or add.domain != "":
        return None
    if only_reader(side.value) is None or add.graph is not side.nodes[0].graph:
        return None
    for value, other in (tuple(add.inputs), tuple(reversed(add.inputs))):
        row = constant_of(other) if _is_row(other, side.heads * side.width) else None
        made = None if value is None else value.producer()
        if row is not None and value is not None and made is not None:
            return Bias(add=add, of=value, row=row) if made.op_type == "MatMul" else None
    return None


def _is_row(value: ir.Value | None, length: int) -> bool:
    return value is not None and value.shape is not None and tuple(value.shape) == (length,)
