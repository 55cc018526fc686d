"""ONNX Runtime's operators on integers, as its quantisers write them."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.activation import leaky_relu, sigmoid, softmax
from lepton_ai.operators.convolution import Ints
from lepton_ai.operators.dtypes import FLOAT32
from lepton_ai.operators.linear import matmul, matmul_integer
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import MICROSOFT, Call, operator
from lepton_ai.operators.pooling import average_pool
from lepton_ai.operators.quantization import (
    UINT8,
    dequantize_linear,
    over_its_range,
    quantize_linear,
    requantized,
)

_microsoft = partial(operator, domain=MICROSOFT)


@_microsoft("QuantizeLinear")
def quantize(
    call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1
) -> Tensor:
    """As the standard operator, which now has the dtypes that once were found here alone."""
    return quantize_linear(call, x, scale, zero, axis=axis)


@_microsoft("DequantizeLinear")
def dequantize(
    call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1
) -> Tensor:
    """As the standard operator, which now has the dtypes that once were found here alone."""
    return dequantize_linear(call, x, scale, zero, axis=axis)


def _in_floats(
    call: Call,
    function: Callable[..., Tensor],
    *inputs: tuple[Tensor, Tensor, Tensor | None],
    scale: Tensor,
    zero: Tensor | None,
) -> Tensor:
    """``function`` of the real numbers that the inputs stand for, quantised again."""
    real = [dequantize_linear(call, *one) for one in inputs]
    if zero is None:
        zero = call.xp.from_host(np.zeros((), call.xp.dtype_of(inputs[0][0])))
    return quantize_linear(call, function(*real), scale, zero)


@_microsoft("QLinearAdd")
def qlinear_add(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None,
    scale: Tensor,
    zero: Tensor | None = None,
) -> Tensor:
    """The sum."""
    both = (a, a_scale, a_zero), (b, b_scale, b_zero)
    return _in_floats(call, lambda x, y: x + y, *both, scale=scale, zero=zero)


@_microsoft("QLinearMul")
def qlinear_mul(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None,
    scale: Tensor,
    zero: Tensor | None = None,
) -> Tensor:
    """The product."""
    both = (a, a_scale, a_zero), (b, b_scale, b_zero)
    return _in_floats(call, lambda x, y: x * y, *both, scale=scale, zero=zero)


@_microsoft("QLinearSigmoid")
def qlinear_sigmoid(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    scale: Tensor,
    zero: Tensor | None = None,
) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    given = x, x_scale, x_zero
    return _in_floats(call, lambda x: sigmoid(call, x), given, scale=scale, zero=zero)


@_microsoft("QLinearLeakyRelu")
def qlinear_leaky_relu(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    alpha: float = 0.01,
) -> Tensor:
    """``alpha * x`` below zero."""
    given = x, x_scale, x_zero
    return _in_floats(
        call, lambda x: leaky_relu(call, x, alpha=alpha), given, scale=scale, zero=zero
    )


@_microsoft("QLinearSoftmax")
def qlinear_softmax(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    scale: Tensor,
    zero: Tensor,
    *,
    axis: int = -1,
    opset: int,
) -> Tensor:
    """Exponentials that add up to one along the axis, or before opset 13 from it on."""
    then = Call(xp=call.xp, opset=opset, outputs=1, evaluate=call.evaluate)
    given = x, x_scale, x_zero
    return _in_floats(call, lambda x: softmax(then, x, axis=axis), given, scale=scale, zero=zero)


@_microsoft("QLinearGlobalAveragePool")
def qlinear_global_average_pool(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    channels_last: int = 0,
) -> Tensor:
    """The mean over all axes of space."""
    axes = tuple(range(1, x.ndim - 1)) if channels_last else tuple(range(2, x.ndim))
    given = x, x_scale, x_zero
    return _in_floats(
        call, lambda x: call.xp.mean(x, axis=axes, keepdims=True), given, scale=scale, zero=zero
    )


@_microsoft("QLinearAveragePool")
def qlinear_average_pool(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    channels_last: int = 0,
    count_include_pad: int = 0,
    kernel_shape: Sequence[int],
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """The mean of each window."""
    xp, last = call.xp, x.ndim - 1
    first = (0, last, *range(1, last)) if channels_last else tuple(range(x.ndim))
    back = (0, *range(2, x.ndim), 1) if channels_last else first

    def pooled(real: Tensor) -> Tensor:
        y = average_pool(
            call,
            xp.permute_dims(real, first),
            auto_pad=auto_pad,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            kernel_shape=kernel_shape,
            pads=pads,
            strides=strides,
        )
        return xp.permute_dims(y, back)

    return _in_floats(call, pooled, (x, x_scale, x_zero), scale=scale, zero=zero)


@_microsoft("QLinearConcat")
def qlinear_concat(call: Call, scale: Tensor, zero: Tensor, *inputs: Tensor, axis: int) -> Tensor:
    """Tensors side by side, each of which has a scale and a zero point of its own."""
    triples = [inputs[at : at + 3] for at in range(0, len(inputs), 3)]
    return _in_floats(
        call, lambda *real: call.xp.concat(real, axis=axis), *triples, scale=scale, zero=zero
    )


@_microsoft("QLinearWhere")
def qlinear_where(
    call: Call,
    condition: Tensor,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    scale: Tensor,
    zero: Tensor,
) -> Tensor:
    """The first where the condition holds, the second elsewhere."""
    both = (a, a_scale, a_zero), (b, b_scale, b_zero)
    return _in_floats(
        call, lambda x, y: call.xp.where(condition, x, y), *both, scale=scale, zero=zero
    )


@_microsoft("QGemm")
def qgemm(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    c: Tensor | None = None,
    scale: Tensor | None = None,
    zero: Tensor | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,  # noqa: N803  ONNX's spelling
    transB: int = 0,  # noqa: N803  ONNX's spelling
) -> Tensor:
    """``alpha`` times a product of integers and what is added to it; in floats without a scale."""
    xp = call.xp
    a = xp.matrix_transpose(a) if transA else a
    b = xp.matrix_transpose(b) if transB else b
    sums = matmul_integer(call, a, b, a_zero, b_zero)
    sums = sums if c is None else sums + c
    if scale is None or zero is None:
        return xp.cast(sums, FLOAT32) * (alpha * a_scale * b_scale)
    return requantized(call, sums, (alpha * a_scale, b_scale), scale, zero)


@_microsoft("MatMulIntegerToFloat")
def matmul_integer_to_float(
    call: Call,
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero: Tensor | None = None,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """A product of integers in floats, and a bias."""
    sums = call.xp.cast(matmul_integer(call, a, b, a_zero, b_zero), FLOAT32)
    y = call.xp.cast(sums * (a_scale * b_scale), call.xp.dtype_of(a_scale))
    return y if bias is None else y + bias


@_microsoft("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(
    call: Call,
    a: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """A product with ``a`` as uint8 over the range that it has, and a bias."""
    whole, a_scale, a_zero = over_its_range(call, a, UINT8)
    return matmul_integer_to_float(call, whole, b, a_scale, b_scale, a_zero, b_zero, bias)


@_microsoft("MatMulNBits")
def matmul_n_bits(
    call: Call,
    a: Tensor,
    packed: Tensor,
    scales: Tensor,
    zeros: Tensor | None = None,
    groups: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    K: int,  # noqa: N803  ONNX Runtime's spelling
    N: int,  # noqa: N803  ONNX Runtime's spelling
    accuracy_level: int = 0,
    bits: int = 4,
    block_size: int,
) -> Tensor:
    """A product with weights of a few bits, in blocks of which each has a scale.

    ``accuracy_level`` lets an engine quantise ``a``, which is not done here.
    """
    xp = call.xp
    if 8 % bits:
        raise EngineError(f"weights of {bits} bits are not known, only of 2, 4 and 8")
    blocks = -(-K // block_size)
    integers = xp.reshape(_unpacked(call, packed, bits), (N, -1))[:, :K]
    zero: Tensor = xp.scalar(2 ** (bits - 1), scales)
    if zeros is not None:
        if xp.dtype_of(zeros) == UINT8:
            zeros = _unpacked(call, xp.reshape(zeros, (N, -1)), bits)
        zero = xp.cast(xp.reshape(zeros, (N, -1))[:, :blocks], xp.dtype_of(scales))
    by_block = xp.from_host(np.arange(K) // block_size) if groups is None else groups
    spread = xp.take(xp.reshape(scales, (N, blocks)), by_block, axis=1)
    middle = xp.take(zero, by_block, axis=1) if zero.ndim else zero
    weight = (xp.cast(integers, xp.dtype_of(scales)) - middle) * spread
    y = matmul(call, a, xp.matrix_transpose(weight))
    return y if bias is None else y + bias


def _unpacked(call: Call, packed: Tensor, bits: int) -> Tensor:
    """The numbers in each byte, the lowest bits first, along the last axis."""
    xp, mask = call.xp, 2**bits - 1
    parts = [
        xp.bitwise_and(
            xp.bitwise_right_shift(packed, xp.scalar(shift, packed)), xp.scalar(mask, packed)
        )
        for shift in range(0, 8, bits)
    ]
    return xp.reshape(xp.stack(parts, axis=-1), (*packed.shape[:-1], packed.shape[-1] * len(parts)))
