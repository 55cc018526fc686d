"""Arithmetic, element by element: sums and products, powers, rounding, bits, bounds."""

from functools import reduce
from typing import Any

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import (
    FLOAT64,
    in_float32,
    is_floating,
    is_integer,
    is_signed,
)
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, operator

#: Operators of one input that the array API standard has under another spelling only.
_STANDARD = {
    "Abs": "abs",
    "Acos": "acos",
    "Acosh": "acosh",
    "Asin": "asin",
    "Asinh": "asinh",
    "Atan": "atan",
    "Atanh": "atanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "Log": "log",
    "Round": "round",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
    "IsNaN": "isnan",
}


def _enter_standard(name: str, spelling: str) -> None:
    @operator(name)
    def apply(call: Call, x: Tensor) -> Tensor:
        return getattr(call.xp, spelling)(x)


for _name, _spelling in _STANDARD.items():
    _enter_standard(_name, _spelling)


@operator("Identity")
def identity(call: Call, x: Any) -> Any:
    """The input itself: a tensor, a sequence or an optional."""
    return x


@operator("Neg")
def neg(call: Call, x: Tensor) -> Tensor:
    """The sign turned."""
    return -x


@operator("Reciprocal")
def reciprocal(call: Call, x: Tensor) -> Tensor:
    """One over the input."""
    return call.xp.scalar(1, x) / x


@operator("Add")
def add(call: Call, a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """The sum; before opset 7, ``b`` is lined up from ``axis`` of ``a``."""
    return a + lined_up(call, a, b, axis, broadcast)


@operator("Sub")
def sub(call: Call, a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """The difference."""
    return a - lined_up(call, a, b, axis, broadcast)


@operator("Mul")
def mul(call: Call, a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """The product."""
    return a * lined_up(call, a, b, axis, broadcast)


@operator("Div")
def div(call: Call, a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
    """The quotient; of integers, towards zero."""
    b = lined_up(call, a, b, axis, broadcast)
    dtype = call.xp.dtype_of(a)
    if dtype.kind == "O":  # sizes, which are not negative
        return a // b
    return a / b if is_floating(dtype) else _quotient(call, a, b)


def _quotient(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The quotient of integers, rounded towards zero."""
    floor = a // b
    if not is_signed(call.xp.dtype_of(a)):
        return floor
    inexact = (floor * b != a) & ((a < 0) != (b < 0))
    return call.xp.where(inexact, floor + call.xp.scalar(1, floor), floor)


@operator("Mod")
def mod(call: Call, a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """What a division leaves, with the sign of ``b``, or with that of ``a`` if ``fmod``."""
    if not fmod or not is_signed(call.xp.dtype_of(a)):
        return a % b
    if is_integer(call.xp.dtype_of(a)):
        return a - _quotient(call, a, b) * b
    left = call.xp.abs(a) % call.xp.abs(b)
    return call.xp.where(a < 0, -left, left)


@operator("Pow")
def power(
    call: Call, x: Tensor, y: Tensor, *, axis: int | None = None, broadcast: int = 0
) -> Tensor:
    """``x`` to the power of ``y``, in the dtype of ``x``."""
    xp, dtype, other = call.xp, call.xp.dtype_of(x), call.xp.dtype_of(y)
    y = lined_up(call, x, y, axis, broadcast)
    if dtype.kind == "O" or (dtype == other and is_floating(dtype)):
        return x**y
    if is_floating(dtype):
        return x ** xp.cast(y, dtype)
    if is_floating(other):
        return xp.cast(xp.cast(x, FLOAT64) ** xp.cast(y, FLOAT64), dtype)
    y = xp.cast(y, dtype)
    if not is_signed(other):
        return x**y
    # Integers to negative powers: only 1 and -1 are left with more than nothing.
    positive = x ** xp.abs(y)
    kept = (y >= 0) | (x * x == 1)
    return xp.where(kept, positive, xp.scalar(0, x))


@operator("Max")
def maximum(call: Call, *data: Tensor) -> Tensor:
    """The largest of the inputs; they broadcast to one another."""
    return reduce(call.xp.maximum, data)


@operator("Min")
def minimum(call: Call, *data: Tensor) -> Tensor:
    """The smallest of the inputs."""
    return reduce(call.xp.minimum, data)


@operator("Sum")
@in_float32
def total(call: Call, *data: Tensor) -> Tensor:
    """The sum of the inputs."""
    return reduce(lambda a, b: a + b, data)


@operator("Mean")
@in_float32
def mean(call: Call, *data: Tensor) -> Tensor:
    """The mean of the inputs."""
    added = reduce(lambda a, b: a + b, data)
    return added / call.xp.scalar(len(data), added)


@operator("Clip")
def clip(
    call: Call,
    x: Tensor,
    low: Tensor | None = None,
    high: Tensor | None = None,
    *,
    min: float | None = None,  # noqa: A002  ONNX's own name
    max: float | None = None,  # noqa: A002
) -> Tensor:
    """Bounded below and above; where the bounds cross, the upper one holds."""
    low = low if min is None else min
    high = high if max is None else max
    return call.xp.clip(x, low, high)


@operator("IsInf")
def is_infinite(
    call: Call, x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1
) -> Tensor:
    """Where the input is infinite, above or below as asked."""
    found = call.xp.isinf(x)
    if not detect_negative:
        found = found & (x > 0)
    return found if detect_positive else found & (x < 0)


@operator("BitShift")
def bit_shift(call: Call, x: Tensor, y: Tensor, *, direction: str) -> Tensor:
    """Bits moved left or right; by too many or by fewer than none, the sign alone is left."""
    xp, dtype = call.xp, call.xp.dtype_of(x)
    bits = 8 * dtype.itemsize
    outside = (y >= bits) | (y < 0)
    by = xp.where(outside, xp.scalar(bits - 1, y), y)
    if direction == "RIGHT" and is_signed(dtype):
        return x >> by
    if direction not in ("LEFT", "RIGHT"):
        raise EngineError(f"direction is LEFT or RIGHT, not {direction!r}")
    return xp.where(outside, xp.scalar(0, x), x << by if direction == "LEFT" else x >> by)


@operator("BitwiseAnd")
def bitwise_and(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The bits that both have."""
    return a & b


@operator("BitwiseOr")
def bitwise_or(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The bits that either has."""
    return a | b


@operator("BitwiseXor")
def bitwise_xor(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The bits that one of them has."""
    return a ^ b


@operator("BitwiseNot")
def bitwise_not(call: Call, x: Tensor) -> Tensor:
    """The bits turned."""
    return ~x


def lined_up(call: Call, a: Tensor, b: Tensor, axis: int | None, broadcast: int) -> Tensor:
    """``b`` for broadcasting: before opset 7, its axes begin at ``axis`` of ``a``.

    Without an axis they end where those of ``a`` end, as they do today.
    """
    if call.opset >= 7 or not broadcast or axis is None:
        return b
    behind = a.ndim - axis % a.ndim - b.ndim
    return call.xp.reshape(b, (*b.shape, *[1] * behind))
