"""What lies between the layers: the Relu family, gates, and the softmaxes."""

import math

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import in_float32
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, operator

#: Before this opset, the softmaxes see a matrix, folded at the axis.
_BY_AXIS = 13


@operator("Relu")
def relu(call: Call, x: Tensor) -> Tensor:
    """Nothing below zero."""
    return call.xp.clip(x, 0, None)


@operator("LeakyRelu")
@in_float32
def leaky_relu(call: Call, x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """``alpha * x`` below zero."""
    return call.xp.where(x < 0, x * alpha, x)


@operator("PRelu")
def parametric_relu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    """``slope * x`` below zero; before opset 7, one slope per channel."""
    if call.opset < 7 and slope.ndim == 1 and slope.shape[0] != 1:
        slope = call.xp.reshape(slope, (-1, *[1] * (x.ndim - 2)))
    return call.xp.where(x < 0, x * slope, x)


@operator("ThresholdedRelu")
def thresholded_relu(call: Call, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x`` where it is greater than ``alpha``, nothing elsewhere."""
    return call.xp.where(x > call.xp.scalar(alpha, x), x, call.xp.scalar(0, x))


@operator("Elu")
@in_float32
def elu(call: Call, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``alpha * (exp(x) - 1)`` below zero."""
    return call.xp.where(x < 0, _decay(call, x) * alpha, x)


@operator("Selu")
@in_float32
def selu(
    call: Call, x: Tensor, *, alpha: float | None = None, gamma: float | None = None
) -> Tensor:
    """An Elu times ``gamma``, with the constants of self-normalising networks (1706.02515)."""
    first = call.opset < 6
    alpha = (1.6732 if first else 1.67326319217681884765625) if alpha is None else alpha
    gamma = (1.0507 if first else 1.05070102214813232421875) if gamma is None else gamma
    return call.xp.where(x > 0, x, _decay(call, x) * alpha) * gamma


@operator("Celu")
@in_float32
def celu(call: Call, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``alpha * (exp(x / alpha) - 1)`` below zero."""
    return call.xp.where(x < 0, _decay(call, x / alpha) * alpha, x)


def _decay(call: Call, x: Tensor) -> Tensor:
    """``exp(x) - 1`` below zero, where it is all that counts; it would overflow above."""
    return call.xp.expm1(call.xp.minimum(x, call.xp.scalar(0, x)))


@operator("Sigmoid")
@in_float32
def sigmoid(call: Call, x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return call.xp.sigmoid(x)


@operator("HardSigmoid")
@in_float32
def hard_sigmoid(call: Call, x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """``alpha * x + beta``, between zero and one."""
    return call.xp.clip(x * alpha + beta, 0, 1)


@operator("HardSwish")
@in_float32
def hard_swish(call: Call, x: Tensor) -> Tensor:
    """``x`` times its hard sigmoid of slope one sixth (1905.02244)."""
    return x * call.xp.clip(x / 6 + 0.5, 0, 1)


@operator("Swish")
@in_float32
def swish(call: Call, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x * sigmoid(alpha * x)``."""
    return x / (1 + call.xp.exp(x * -alpha))


@operator("SwiGLU")
@in_float32
def swish_gated(call: Call, a: Tensor, b: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``b`` behind a gate, the swish of ``a``."""
    return swish(call, a, alpha=alpha) * b


@operator("Gelu")
@in_float32
def gelu(call: Call, x: Tensor, *, approximate: str = "none") -> Tensor:
    """``x`` times the normal distribution at ``x``, or that by way of a hyperbolic tangent."""
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1 + call.xp.tanh(inner))
    if approximate != "none":
        raise EngineError(f"approximate is 'none' or 'tanh', not {approximate!r}")
    return call.xp.gelu(x)


@operator("Mish")
@in_float32
def mish(call: Call, x: Tensor) -> Tensor:
    """``x * tanh(softplus(x))``."""
    return x * call.xp.tanh(softplus(call, x))


@operator("Softplus")
@in_float32
def softplus(call: Call, x: Tensor) -> Tensor:
    """``log(1 + exp(x))``, which does not overflow."""
    rest = call.xp.log1p(call.xp.exp(-call.xp.abs(x)))
    return call.xp.maximum(x, call.xp.scalar(0, x)) + rest


@operator("Softsign")
@in_float32
def softsign(call: Call, x: Tensor) -> Tensor:
    """``x / (1 + |x|)``."""
    return x / (1 + call.xp.abs(x))


@operator("Shrink")
def shrink(call: Call, x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """Nothing within ``lambd`` of zero, nearer to zero by ``bias`` elsewhere."""
    xp = call.xp
    by, edge = xp.scalar(bias, x), xp.scalar(lambd, x)
    return xp.where(x < -edge, x + by, xp.where(x > edge, x - by, xp.scalar(0, x)))


@operator("Softmax")
@in_float32
def softmax(call: Call, x: Tensor, *, axis: int | None = None) -> Tensor:
    """Exponentials that add up to one along the axis."""
    return call.xp.softmax(x, _axes(call, x, axis))


@operator("LogSoftmax")
@in_float32
def log_softmax(call: Call, x: Tensor, *, axis: int | None = None) -> Tensor:
    """The logarithm of the softmax."""
    axes = _axes(call, x, axis)
    lower = x - call.xp.max(x, axis=axes, keepdims=True)
    return lower - call.xp.log(call.xp.sum(call.xp.exp(lower), axis=axes, keepdims=True))


@operator("Hardmax")
def hardmax(call: Call, x: Tensor, *, axis: int | None = None) -> Tensor:
    """One at the first of the greatest along the axis, zero elsewhere."""
    xp, shape = call.xp, x.shape
    if call.opset < _BY_AXIS:
        axes = _axes(call, x, axis)
        x = xp.reshape(x, (*shape[: axes[0]], math.prod(shape[axes[0] :])))
        axis = -1
    along = (-1 if axis is None else axis) % x.ndim
    first = xp.expand_dims(xp.argmax(x, axis=along), axis=along)
    places = xp.reshape(xp.positions(x.shape[along]), (-1, *[1] * (x.ndim - 1 - along)))
    return xp.reshape(xp.cast(places == first, xp.dtype_of(x)), shape)


def _axes(call: Call, x: Tensor, axis: int | None) -> tuple[int, ...]:
    """The axes that a softmax runs over: one, or before opset 13 all from ``axis`` on."""
    if call.opset >= _BY_AXIS:
        return (-1 if axis is None else axis,)
    first = (1 if axis is None else axis) % x.ndim if axis != x.ndim else x.ndim
    return tuple(range(first, x.ndim))
