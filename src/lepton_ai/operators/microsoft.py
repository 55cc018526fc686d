"""ONNX Runtime's own operators: what its optimiser and our rules fuse.

Their definitions are in ONNX Runtime's ``ContribOperators.md``.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.activation import (
    gelu,
    hard_sigmoid,
    leaky_relu,
    relu,
    sigmoid,
    swish,
)
from lepton_ai.operators.convolution import Ints, conv
from lepton_ai.operators.linear import gemm, matmul
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.normalization import layer_normalization, rms_normalization
from lepton_ai.operators.operator import MICROSOFT, Call, operator

INT32 = np.dtype(np.int32)
#: The activation that a fused operator ends with, by its name and by how many numbers it takes.
_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "": lambda call, x: x,
    "Clip": lambda call, x, least, most: call.xp.clip(x, least, most),
    "HardSigmoid": lambda call, x, alpha, beta: hard_sigmoid(call, x, alpha=alpha, beta=beta),
    "LeakyRelu": lambda call, x, alpha: leaky_relu(call, x, alpha=alpha),
    "Relu": relu,
    "Sigmoid": sigmoid,
    "Tanh": lambda call, x: call.xp.tanh(x),
}
_TAKEN = {"Clip": 2, "HardSigmoid": 2, "LeakyRelu": 1}

_microsoft = partial(operator, domain=MICROSOFT)


@_microsoft("Gelu")
def exact_gelu(call: Call, x: Tensor) -> Tensor:
    """``x`` times the normal distribution at ``x``."""
    return gelu(call, x)


@_microsoft("FastGelu")
def fast_gelu(call: Call, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Gelu by way of a hyperbolic tangent, with a bias before it."""
    return gelu(call, x if bias is None else x + bias, approximate="tanh")


@_microsoft("BiasGelu")
def bias_gelu(call: Call, x: Tensor, bias: Tensor) -> Tensor:
    """Gelu with a bias before it."""
    return gelu(call, x + bias)


@_microsoft("QuickGelu")
def quick_gelu(call: Call, x: Tensor, *, alpha: float = 1.702) -> Tensor:
    """``x * sigmoid(alpha * x)``."""
    return swish(call, x, alpha=alpha)


@_microsoft("FusedMatMul", "TransposeMatMul")
def fused_matmul(
    call: Call,
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,  # noqa: N803  ONNX's spelling
    transB: int = 0,  # noqa: N803  ONNX's spelling
    transBatchA: int = 0,  # noqa: N803  ONNX's spelling
    transBatchB: int = 0,  # noqa: N803  ONNX's spelling
) -> Tensor:
    """``alpha`` times the matrix product of both, transposed if told to."""
    y = matmul(call, _turned(call, a, transA, transBatchA), _turned(call, b, transB, transBatchB))
    return y if alpha == 1 else y * alpha


def _turned(call: Call, x: Tensor, transposed: int, batch_behind: int) -> Tensor:
    """``x`` with its first axis behind the batch's, where it is the rows, and then transposed."""
    if x.ndim < 2:
        return x
    axes = list(range(x.ndim))
    if batch_behind:
        axes = [*axes[1:-1], 0, axes[-1]]
    if transposed:
        axes[-2:] = axes[-1], axes[-2]
    return call.xp.permute_dims(x, tuple(axes)) if transposed or batch_behind else x


@_microsoft("FusedGemm")
def fused_gemm(
    call: Call,
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803  ONNX's spelling
    transB: int = 0,  # noqa: N803  ONNX's spelling
    activation: str = "",
    activation_alpha: float = 0.0,
    activation_beta: float = 0.0,
    activation_gamma: float = 0.0,
) -> Tensor:
    """A Gemm and an activation behind it."""
    y = gemm(call, a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return _activated(call, y, activation, (activation_alpha, activation_beta, activation_gamma))


@_microsoft("FusedConv")
def fused_conv(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    *,
    activation: str = "",
    activation_params: Sequence[float] = (),
    auto_pad: str = "NOTSET",
    dilations: Ints = None,
    group: int = 1,
    kernel_shape: Ints = None,
    pads: Ints = None,
    strides: Ints = None,
) -> Tensor:
    """A convolution, a sum and an activation behind it."""
    y = conv(
        call,
        x,
        weight,
        bias,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    return _activated(call, y if residual is None else y + residual, activation, activation_params)


def _activated(call: Call, y: Tensor, name: str, numbers: Sequence[float]) -> Tensor:
    if name not in _ACTIVATIONS:
        raise EngineError(f"activation {name!r} is not known")
    return _ACTIVATIONS[name](call, y, *numbers[: _TAKEN.get(name, 0)])


@operator("SimplifiedLayerNormalization")
def simplified_layer_normalization(
    call: Call,
    x: Tensor,
    scale: Tensor,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Tensor, Tensor]:
    """The axes from ``axis`` on divided by the root of their mean square, and its inverse.

    ONNX Runtime keeps it among the standard operators, where it now is ``RMSNormalization``.
    """
    y = rms_normalization(call, x, scale, axis=axis, epsilon=epsilon, stash_type=stash_type)
    return y, _inverse_root(call, x, tuple(range(axis % x.ndim, x.ndim)), epsilon)


def _inverse_root(call: Call, x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    xp = call.xp
    wide = xp.cast(x, np.dtype(np.float32))
    return 1 / xp.sqrt(xp.mean(wide * wide, axis=axes, keepdims=True) + epsilon)


@_microsoft("SkipLayerNormalization")
def skip_layer_normalization(
    call: Call,
    x: Tensor,
    skip: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The layer normalisation of a sum: its mean and inverse deviation, and the sum, last."""
    total = x + skip if bias is None else x + skip + bias
    return *layer_normalization(call, total, scale, shift, epsilon=epsilon), total


@_microsoft("SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(
    call: Call,
    x: Tensor,
    skip: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
) -> tuple[Tensor, None, Tensor, Tensor]:
    """A sum divided by the root of its mean square; the inverse of that, and the sum, last."""
    total = x + skip if bias is None else x + skip + bias
    y = rms_normalization(call, total, scale, epsilon=epsilon)
    return y, None, _inverse_root(call, total, (-1,), epsilon), total


@_microsoft("EmbedLayerNormalization")
def embed_layer_normalization(
    call: Call,
    words: Tensor,
    segments: Tensor | None,
    word_table: Tensor,
    position_table: Tensor,
    segment_table: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    mask: Tensor | None = None,
    positions: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    mask_index_type: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of words, positions and segments, their sum normalised; tokens per sample.

    The third output is the sum.
    """
    xp = call.xp
    rows = slice(0, words.shape[1]) if positions is None else positions
    total = word_table[words] + position_table[rows]
    if segments is not None and segment_table is not None:
        total = total + segment_table[segments]
    y = layer_normalization(call, total, scale, shift, epsilon=epsilon)[0]
    counted = xp.zeros_like(words) if mask is None else mask
    return y, xp.cast(xp.sum(xp.cast(counted == 1, INT32), axis=-1), INT32), total
