"""Multi-head attention as exporters write it out, read into its parts."""

from dataclasses import dataclass

import onnx_ir as ir

from lepton_ai.graph.matching.products import factor_of, only_reader
from lepton_ai.graph.values.size_inference import KnownSizes
from lepton_ai.graph.values.sizes import Size, all_known

#: How heads are parted from tokens, and put back.
HEADS = [0, 2, 1, 3]
#: The same for keys, which are multiplied transposed.
KEYS = [0, 2, 3, 1]
SWAP = [0, 1, 3, 2]


@dataclass(frozen=True, kw_only=True)
class Side:
    """Query, key or value before its heads are parted: ``[batch, tokens, heads * width]``."""

    value: ir.Value
    batch: Size
    tokens: Size
    heads: int
    width: int
    scale: float
    nodes: tuple[ir.Node, ...]


@dataclass(frozen=True, kw_only=True)
class Attention:
    """``softmax(scale * query key^T + mask) value``, over heads; ``nodes`` compute it."""

    query: Side
    key: Side
    value: Side
    scale: float
    mask: ir.Value | None
    nodes: tuple[ir.Node, ...]


def attention_around(softmax: ir.Node, known: KnownSizes) -> Attention | str | None:
    """The attention that ``softmax`` is in; why its form is none of the known; or ``None``."""
    out = softmax.outputs[0]
    weighted = only_reader(out)
    logits = softmax.inputs[0]
    if weighted is None or weighted.op_type != "MatMul" or weighted.inputs[0] is not out:
        readers = {reader.op_type for reader, _ in out.uses()}
        return "a guard against masked rows is between" if "IsNaN" in readers else None
    rank = known.shape(out)
    if logits is None or rank is None or len(rank) != 4:
        return None
    if softmax.attributes.get_int("axis", -1) not in (-1, 3):
        return None
    found = _scores(logits)
    if found is None:
        return "its logits are not a product of queries and keys, with one mask added"
    product, scale, mask, between = found
    query = side_of(product.inputs[0], (HEADS,), known)
    key = side_of(product.inputs[1], (KEYS, SWAP), known)
    value = side_of(weighted.inputs[1], (HEADS,), known)
    end = _joined(weighted)
    if query is None or key is None or value is None or end is None:
        return "heads are not parted from, or put back into, three axes of known sizes"
    nodes = (*query.nodes, *key.nodes, *value.nodes, product, *between, softmax, weighted, *end)
    scale *= query.scale * key.scale
    why = _mismatch(query, key, value) or _misfit(mask, query, known)
    if not why and known.shape(end[-1].outputs[0]) != _joined_sizes(query, value):
        why = "heads are put back into another shape"
    return why or Attention(query=query, key=key, value=value, scale=scale, mask=mask, nodes=nodes)


def _mismatch(query: Side, key: Side, value: Side) -> str:
    """Why the three do not fit each other, as far as sizes are known; empty if they do."""
    if not query.heads == key.heads == value.heads or query.width != key.width:
        return "its heads differ"
    if value.scale != 1.0:
        return "its values are scaled"
    if not query.batch == key.batch == value.batch or key.tokens != value.tokens:
        return "the sizes of query, key and value are not known to fit"
    return ""


def _misfit(mask: ir.Value | None, query: Side, known: KnownSizes) -> str:
    """Why ``mask`` may widen the scores that it is added to; empty if it cannot.

    Keys need no look: the product with the values fails if the mask has more of them.
    """
    if mask is None:
        return ""
    shape = known.shape(mask)
    if shape is None or not 1 <= len(shape) <= 4:
        return "its mask is not known to have up to four axes"
    batch, heads, queries, _ = (1,) * (4 - len(shape)) + shape
    if batch not in (1, query.batch) or heads not in (1, query.heads):
        return "its mask is not known to be for this batch and these heads"
    if queries not in (1, query.tokens):
        return "its mask is not known to be for these queries"
    return ""


def _joined_sizes(query: Side, value: Side) -> tuple[Size, ...]:
    return (query.batch, query.tokens, value.heads * value.width)


def side_of(
    value: ir.Value | None, orders: tuple[list[int], ...], known: KnownSizes
) -> Side | None:
    """The side that ``value`` is the heads of, in one of ``orders``, for one reader alone."""
    nodes: list[ir.Node] = []
    scale = 1.0
    order = list(range(4))
    while value is not None:
        node = value.producer()
        if node is None or node.domain != "" or only_reader(value) is None:
            return None
        nodes.append(node)
        if node.op_type == "Transpose":
            inner = list(node.attributes.get_ints("perm", ()))
            if len(inner) != 4:
                return None
            order = [inner[axis] for axis in order]
        elif node.op_type == "Reshape":
            break
        else:
            factor = factor_of(node)
            if factor is None or factor[0] == 0:  # a scale of nothing is no attention
                return None
            scale *= factor[0]
            value = factor[1]
            continue
        value = node.inputs[0]
    wanted = [HEADS] if HEADS in orders else [KEYS]
    return _side(nodes, scale, known) if value is not None and order in wanted else None


def _side(nodes: list[ir.Node], scale: float, known: KnownSizes) -> Side | None:
    reshape = nodes[-1]
    before, parted = reshape.inputs[0], all_known(known.shape(reshape.outputs[0]))
    joined = all_known(known.shape(before))
    if before is None or parted is None or joined is None or len(parted) != 4 or len(joined) != 3:
        return None
    batch, tokens, heads, width = parted
    if not isinstance(heads, int) or not isinstance(width, int):
        return None
    if joined != (batch, tokens, heads * width):
        return None
    return Side(
        value=before,
        batch=batch,
        tokens=tokens,
        heads=heads,
        width=width,
        scale=scale,
        nodes=tuple(reversed(nodes)),
    )


Scores = tuple[ir.Node, float, ir.Value | None, tuple[ir.Node, ...]]


def _scores(logits: ir.Value) -> Scores | None:
    """The product of queries and keys in ``logits``, its scale, the mask added, nodes between."""
    plain = _product(logits)
    if plain is not None:
        return (plain[0], plain[1], None, plain[2])
    add = logits.producer()
    if add is None or add.op_type != "Add" or add.domain != "" or only_reader(logits) is None:
        return None
    for value, mask in (tuple(add.inputs), tuple(reversed(add.inputs))):
        found = None if value is None else _product(value)
        if found is not None and mask is not None:
            return (found[0], found[1], mask, (*found[2], add))
    return None


def _product(value: ir.Value) -> tuple[ir.Node, float, tuple[ir.Node, ...]] | None:
    """The MatMul behind ``value``, at most scaled, for one reader alone."""
    node, scale = value.producer(), 1.0
    between: tuple[ir.Node, ...] = ()
    factor = factor_of(node)
    if node is not None and factor is not None and factor[0] and only_reader(value) is not None:
        between = (node,)
        scale, value = factor
        node = value.producer()
    if node is None or node.op_type != "MatMul" or node.domain != "":
        return None
    return (node, scale, between) if only_reader(value) is not None else None


def _joined(weighted: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """The Transpose and the Reshape that put the heads back."""
    transpose = only_reader(weighted.outputs[0])
    if transpose is None or transpose.op_type != "Transpose":
        return None
    if list(transpose.attributes.get_ints("perm", ())) != HEADS:
        return None
    reshape = only_reader(transpose.outputs[0])
    return (transpose, reshape) if reshape is not None and reshape.op_type == "Reshape" else None
