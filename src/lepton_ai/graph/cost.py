"""What a graph costs to compute: multiply-accumulates per operator, from inferred shapes.

Formulas: a product of an ``[m, k]`` and a ``[k, n]`` matrix is ``m * k * n`` multiply-accumulates;
a convolution is a kernel's worth, over the input channels of its group, per output element. Other
operators count as none: they move memory, and their time is not in their arithmetic.
"""

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from lepton_ai.formats.quiet import quiet

#: The first axis of an input, when its size is symbolic: one sample.
BATCH = 1
#: Any other symbolic size: the tokens of a long sentence, and an even number for images.
ELSEWHERE = 128
#: Shapes are folded, which are short; weights are not.
MOST_ELEMENTS_FOLDED = 1024


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
    with quiet():
        optimizer.fold_constants(
            model,
            onnx_shape_inference=True,
            input_size_limit=MOST_ELEMENTS_FOLDED,
            output_size_limit=MOST_ELEMENTS_FOLDED,
        )
    return chosen


def infer_shapes(model: ir.Model) -> None:
    """Fill in the shapes that ONNX can infer, symbolic sizes by name."""
    with quiet():
        common.ShapeInferencePass(check_type=False, strict_mode=False)(model)


def _bound(shape: ir.Shape, chosen: dict[str, int]) -> list[int]:
    sizes = []
    for axis, size in enumerate(shape):
        if isinstance(size, int):
            sizes.append(size)
            continue
        value = BATCH if axis == 0 else ELSEWHERE
        sizes.append(chosen.setdefault(size.value, value) if size.value else value)
    return sizes


def multiply_accumulates(node: ir.Node) -> int | None:
    """The multiply-accumulates of ``node`` once its shapes are inferred; ``None`` if they are not.

    An operator that multiplies nothing costs 0, and so does a node that was folded away.
    """
    if node.graph is None:
        return 0
    formula = FORMULAS.get(node.op_type)
    return 0 if formula is None else formula(node)


def sizes_of(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of ``value`` if all of it is known."""
    if value is None or value.shape is None:
        return None
    sizes = tuple(size for size in value.shape if isinstance(size, int))
    return sizes if len(sizes) == len(value.shape) else None


def _product(node: ir.Node) -> int | None:
    left, out = sizes_of(node.inputs[0]), sizes_of(node.outputs[0])
    return None if left is None or out is None or not left else math.prod(out) * left[-1]


def _gemm(node: ir.Node) -> int | None:
    left, out = sizes_of(node.inputs[0]), sizes_of(node.outputs[0])
    if left is None or out is None:
        return None
    transposed = node.attributes.get_int("transA", 0)
    return math.prod(out) * left[0 if transposed else 1]


def _convolution(weight: int, *, transposed: bool = False) -> Callable[[ir.Node], int | None]:
    """Cost of a convolution whose kernel is input number ``weight``, ``[out, in / groups, ...]``.

    A transposed one's kernel is ``[in, out / groups, ...]``, applied at each element that comes in.
    """

    def cost(node: ir.Node) -> int | None:
        at = sizes_of(node.inputs[0] if transposed else node.outputs[0])
        kernel = sizes_of(node.inputs[weight])
        return None if at is None or kernel is None else math.prod(at) * math.prod(kernel[1:])

    return cost


def _recurrent(node: ir.Node) -> int | None:
    """LSTM, GRU and RNN: at each step, the input's and the state's matrices, all directions."""
    sequence = sizes_of(node.inputs[0])
    taken, kept = sizes_of(node.inputs[1]), sizes_of(node.inputs[2])
    if sequence is None or taken is None or kept is None:
        return None
    return sequence[0] * sequence[1] * (math.prod(taken) + math.prod(kept))


def _attention(node: ir.Node) -> int | None:
    """ONNX Runtime's fused attention on ``[batch, tokens, width]``: two products per head."""
    query, value = sizes_of(node.inputs[0]), sizes_of(node.inputs[2])
    if query is None or value is None or len(query) != 3 or len(value) != 3:
        return None
    return query[0] * query[1] * value[1] * (query[2] + value[2])


FORMULAS: Mapping[str, Callable[[ir.Node], int | None]] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "ConvTranspose": _convolution(1, transposed=True),
    "FusedMatMul": _product,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _product,
    "MatMulInteger": _product,
    "MultiHeadAttention": _attention,
    "QLinearConv": _convolution(3),
    "QLinearMatMul": _product,
    "RNN": _recurrent,
}
