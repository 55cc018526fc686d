"""Multiply-accumulates of one node, by formulas over its inferred shapes.

A product of an ``[m, k]`` and a ``[k, n]`` matrix is ``m * k * n`` multiply-accumulates; a
convolution is a kernel's worth, over the input channels of its group, per output element; attention
is two products per head, of the queries with the keys and of the weights with the values. Other
operators count as none: they move memory, and their time is not in their arithmetic.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping

import onnx_ir as ir

from lepton_ai.graph.values.operands import operand

Formula = Callable[[ir.Node], int | None]


def multiply_accumulates(node: ir.Node) -> int | None:
    """The multiply-accumulates of ``node`` once its shapes are inferred; ``None`` if they are not.

    An operator that multiplies nothing costs 0, and so does a node that was taken out of its graph.
    So does an operator that this table does not know, unless it is known to multiply
    (:data:`NO_FORMULA`).
    """
    if node.graph is None:
        return 0
    if node.op_type == "Attention":  # two operators of one name
        return _projected_attention(4)(node) if node.domain == MICROSOFT else _attention(node)
    formula = FORMULAS.get(node.op_type) if node.domain in DOMAINS else None
    if formula is None:
        return None if node.op_type in NO_FORMULA else 0
    return formula(node)


def sizes_of(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of ``value`` if all of it is known."""
    if value is None or value.shape is None:
        return None
    sizes = tuple(size for size in value.shape if isinstance(size, int))
    return sizes if len(sizes) == len(value.shape) else None


def _sizes(node: ir.Node, number: int) -> tuple[int, ...] | None:
    return sizes_of(operand(node, number))


def _attribute(node: ir.Node, name: str, default: int = 0) -> int:
    return node.attributes.get_int(name, default)


def _product(node: ir.Node) -> int | None:
    left, out = _sizes(node, 0), sizes_of(node.outputs[0])
    if not left or out is None:
        return None
    turned = _attribute(node, "transA") and len(left) > 1
    return math.prod(out) * left[-2 if turned else -1]


def _gemm(node: ir.Node) -> int | None:
    left, out = _sizes(node, 0), sizes_of(node.outputs[0])
    if left is None or out is None or len(left) != 2:
        return None
    return math.prod(out) * left[0 if _attribute(node, "transA") else 1]


def _packed_product(node: ir.Node) -> int | None:
    """Products with weights of a few bits, whose packed shape does not tell their width."""
    out = sizes_of(node.outputs[0])
    depth = _attribute(node, "K")
    return math.prod(out) * depth if out is not None and depth else None


def _convolution(weight: int, *, transposed: bool = False) -> Formula:
    """Cost of a convolution whose kernel is input number ``weight``, ``[out, in / groups, ...]``.

    A transposed one's kernel is ``[in, out / groups, ...]``, applied at each element that comes in.
    """

    def cost(node: ir.Node) -> int | None:
        at = _sizes(node, 0) if transposed else sizes_of(node.outputs[0])
        kernel = _sizes(node, weight)
        return None if at is None or kernel is None else math.prod(at) * math.prod(kernel[1:])

    return cost


def _recurrent(node: ir.Node) -> int | None:
    """LSTM, GRU and RNN: at each step, the input's and the state's matrices, all directions."""
    sequence, taken, kept = _sizes(node, 0), _sizes(node, 1), _sizes(node, 2)
    if sequence is None or taken is None or kept is None or len(sequence) != 3:
        return None
    return sequence[0] * sequence[1] * (math.prod(taken) + math.prod(kept))


def _einsum(node: ir.Node) -> int | None:
    """Operands multiplied two at a time from the left, each over all labels that they have.

    Of a product is kept what a later operand or the output asks for. A single operand is only moved
    and summed.
    """
    shapes = [sizes_of(value) for value in node.inputs]
    equation = node.attributes.get_string("equation", "").replace(" ", "")
    left, arrow, asked = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes) or any(shape is None for shape in shapes):
        return None
    sized: list[dict[str, int]] = [
        _labels(term, shape) for term, shape in zip(terms, shapes, strict=True) if shape is not None
    ]
    counted = Counter(label for term in sized for label in term)
    wanted = set(_labelled(asked, counted)) if arrow else {k for k, v in counted.items() if v == 1}
    total, held = 0, sized[0]
    for place, term in enumerate(sized[1:], start=2):
        together = {**held, **{k: max(v, held.get(k, 1)) for k, v in term.items()}}
        total += math.prod(together.values())
        ahead = wanted.union(*sized[place:])
        held = {label: size for label, size in together.items() if label in ahead}
    return total


def _labels(term: str, shape: tuple[int, ...]) -> dict[str, int]:
    """Each label's size; the axes of an ellipsis are labelled by their place from the right."""
    before, dots, after = term.partition("...")
    middle = len(shape) - len(before) - len(after) if dots else 0
    labels = [*before, *(f".{place}" for place in range(middle, 0, -1)), *after]
    return dict(zip(labels, shape, strict=False))


def _labelled(term: str, known: Mapping[str, int]) -> list[str]:
    before, dots, after = term.partition("...")
    return [*before, *(label for label in known if dots and label.startswith(".")), *after]


def _attention(node: ir.Node) -> int | None:
    """ONNX's own attention, ``[batch, heads, tokens, width]`` or ``[batch, tokens, all heads]``."""
    query, value, past = _sizes(node, 0), _sizes(node, 2), _sizes(node, 4)
    if query is None or value is None or len(query) != len(value):
        return None
    before = past[-2] if past else 0
    if len(query) == 4:
        batch, heads, tokens, width = query
        return batch * heads * tokens * (value[2] + before) * (width + value[3])
    query_heads, value_heads = _attribute(node, "q_num_heads"), _attribute(node, "kv_num_heads")
    if len(query) != 3 or not query_heads or not value_heads:
        return None
    widths = query[2] + value[2] * query_heads // value_heads
    return query[0] * query[1] * (value[1] + before) * widths


def _multi_head(node: ir.Node) -> int | None:
    """ONNX Runtime's fused attention, past keys as input 6; keys and values may be packed."""
    query, key, value, past = (_sizes(node, number) for number in (0, 1, 2, 6))
    if query is None:
        return None
    before = past[-2] if past else 0
    if len(query) == 5:  # [batch, tokens, heads, 3, width]
        batch, tokens, heads, _, width = query
        return 2 * batch * tokens * (tokens + before) * heads * width
    if len(query) != 3 or key is None:
        return None
    batch, tokens, width = query
    if len(key) == 5:  # [batch, other tokens, heads, 2, width]
        return 2 * batch * tokens * (key[1] + before) * width
    if value is None:
        return None
    if len(value) == 4:  # [batch, heads, other tokens, width]
        return batch * tokens * (value[2] + before) * (width + value[1] * value[3])
    return batch * tokens * (value[1] + before) * (width + value[2])


def _projected_attention(past: int) -> Formula:
    """ONNX Runtime's attention that multiplies by the weights of all three projections itself.

    Input number ``past`` is ``[2, batch, heads, tokens, width]``.
    """

    def cost(node: ir.Node) -> int | None:
        sequence, weights, held = _sizes(node, 0), _sizes(node, 1), _sizes(node, past)
        if sequence is None or weights is None or len(sequence) != 3 or len(weights) != 2:
            return None
        batch, tokens, _ = sequence
        split = node.attributes.get_ints("qkv_hidden_sizes", ()) or (weights[1] // 3,) * 3
        reach = tokens + (held[3] if held and len(held) == 5 else 0)
        return batch * tokens * (math.prod(weights) + reach * (split[0] + split[2]))

    return cost


def _grouped_query(node: ir.Node) -> int | None:
    """Queries of many heads on keys of few; ``past`` is ``[batch, heads, tokens, width]``."""
    query, past = _sizes(node, 0), _sizes(node, 3)
    heads, shared = _attribute(node, "num_heads"), _attribute(node, "kv_num_heads")
    if query is None or len(query) != 3 or not heads:
        return None
    batch, tokens, width = query
    if operand(node, 1) is None:  # keys and values lie behind the queries
        width = width * heads // (heads + 2 * shared)
    return 2 * batch * tokens * (tokens + (past[2] if past else 0)) * width


#: Whose operators the names below are.
MICROSOFT = "com.microsoft"
DOMAINS = frozenset({"", "ai.onnx", MICROSOFT})
FORMULAS: Mapping[str, Formula] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "ConvTranspose": _convolution(1, transposed=True),
    "ConvTransposeWithDynamicPads": _convolution(1, transposed=True),
    # The interpolation between pixels is not counted: it is a few per kernel's channel.
    "DeformConv": _convolution(1),
    "DynamicQuantizeLSTM": _recurrent,
    "DynamicQuantizeMatMul": _product,
    "Einsum": _einsum,
    "FusedConv": _convolution(1),
    "FusedGemm": _gemm,
    "FusedMatMul": _product,
    "FusedMatMulActivation": _product,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "GemmFastGelu": _product,
    "GemmFloat8": _gemm,
    "GroupQueryAttention": _grouped_query,
    "LSTM": _recurrent,
    "MatMul": _product,
    "MatMulBnb4": _packed_product,
    "MatMulFpQ4": _product,
    "MatMulInteger": _product,
    "MatMulInteger16": _product,
    "MatMulIntegerToFloat": _product,
    "MatMulNBits": _packed_product,
    "MultiHeadAttention": _multi_head,
    "QAttention": _projected_attention(8),
    "QGemm": _gemm,
    "QLinearConv": _convolution(3),
    "QLinearMatMul": _product,
    "RNN": _recurrent,
    "TransposeMatMul": _product,
}
#: Operators that multiply matrices in ways that are not counted here.
NO_FORMULA = frozenset(
    {
        "AttnLSTM",
        "DecoderAttention",
        "DecoderMaskedMultiHeadAttention",
        "DecoderMaskedSelfAttention",
        "FlexAttention",
        "LinearAttention",
        "LongformerAttention",
        "MoE",
        "NhwcConv",
        "NhwcFusedConv",
        "PackedAttention",
        "PackedMultiHeadAttention",
        "PagedAttention",
        "QMoE",
        "QOrderedAttention",
        "QOrderedLongformerAttention",
        "QOrderedMatMul",
        "SparseAttention",
        "SparseToDenseMatMul",
        "WordConvEmbedding",
    }
)
