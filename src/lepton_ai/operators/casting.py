"""From one dtype to another: by value, with the rules of the small floats, of texts, or by bits."""

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import FLOAT32, FLOAT64, is_floating, is_integer, is_signed
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, dtype_named, operator

_E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)
#: The floats that ``saturate`` speaks of; those narrower have nothing but finite numbers anyway.
_FLOAT8 = frozenset(
    np.dtype(one)
    for one in (
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e5m2fnuz,
    )
)
#: The least and the greatest power of two that an e8m0 holds.
_E8M0_RANGE = (2.0**-127, 2.0**127)
#: Bits of the dtypes that take a byte each in memory and use a part of it.
_BITS = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}


@operator("Cast")
def cast(
    call: Call, x: Tensor, *, to: int | str, saturate: int = 1, round_mode: str = "up"
) -> Tensor:
    """The values in the dtype ``to``; opset 1 spells it as a word."""
    code = int(ir.DataType[to]) if isinstance(to, str) else to
    text = code == ir.DataType.STRING
    return _converted(call, x, None if text else dtype_named(code), saturate, round_mode)


@operator("CastLike")
def cast_like(
    call: Call, x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up"
) -> Tensor:
    """The values in the dtype of ``like``."""
    dtype = call.xp.dtype_of(like)
    return _converted(call, x, None if dtype.kind == "O" else dtype, saturate, round_mode)


@operator("BitCast", host=("x",))
def bit_cast(call: Call, x: np.ndarray[Any, Any], *, to: int) -> Tensor:
    """The same bits, read as a dtype of the same width."""
    dtype = dtype_named(to)
    width, wanted = _width(x.dtype), _width(dtype)
    if width != wanted:
        raise EngineError(f"{x.dtype} has {width} bits and {dtype} has {wanted}")
    if width >= 8:
        return np.ascontiguousarray(x).reshape(x.shape).view(dtype)
    bits = np.ascontiguousarray(x).reshape(x.shape).view(np.uint8) & (2**width - 1)
    if not dtype.name.startswith("int"):
        return bits.view(dtype)
    sign = 2 ** (width - 1)
    return ((bits ^ sign).astype(np.int8) - sign).astype(dtype)


def _width(dtype: np.dtype[Any]) -> int:
    return _BITS.get(dtype.name, 8 * dtype.itemsize)


def _converted(
    call: Call, x: Tensor, dtype: np.dtype[Any] | None, saturate: int, round_mode: str
) -> Tensor:
    """``x`` in ``dtype``, or as texts where that is ``None``."""
    xp = call.xp
    source = xp.dtype_of(x)
    if dtype is None:
        return x if source.kind == "O" else np.vectorize(_text, otypes=[object])(x)
    if source == dtype:
        return x
    if source.kind == "O":
        return _from_objects(x, dtype)
    if dtype == _E8M0 and is_floating(source):
        return xp.cast(_power_of_two(call, xp.cast(x, FLOAT32), saturate, round_mode), dtype)
    if saturate and dtype in _FLOAT8 and is_floating(source):
        most = _most(dtype)
        if most <= _most(source):
            x = xp.minimum(xp.maximum(x, xp.scalar(-most, x)), xp.scalar(most, x))
    return xp.cast(x, dtype)


def _most(dtype: np.dtype[Any]) -> float:
    return float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]


def _from_objects(x: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Texts as numbers; sizes that are not known yet stay as they are among the integers."""
    if any(isinstance(one, str) for one in x.reshape(-1)[:1]):
        wide = _integer if is_integer(dtype) else float
        kind = FLOAT64 if wide is float else np.dtype(np.int64 if is_signed(dtype) else np.uint64)
        return np.asarray(np.vectorize(wide, otypes=[kind])(x)).astype(dtype)
    if dtype == np.int64:
        return x
    raise TypeError(f"sizes that are not known yet cannot be {dtype}")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return int(float(text))


def _text(value: Any) -> str:
    """As Python writes it, with ONNX's names for what is no number."""
    written = str(value)
    return {"nan": "NaN", "inf": "INF", "-inf": "-INF"}.get(written, written)


def _power_of_two(call: Call, x: Tensor, saturate: int, round_mode: str) -> Tensor:
    """``x`` rounded to a power of two, whose exponent is all that an e8m0 has."""
    xp = call.xp
    least, most = _E8M0_RANGE
    inside = xp.where((x >= least) & (x <= most), x, xp.scalar(1, x))
    below = xp.scalar(2, x) ** xp.floor(xp.log2(inside))
    # The logarithm rounds, and may name a power on the wrong side.
    below = xp.where(below > inside, below / 2, below)
    below = xp.where(below * 2 <= inside, below * 2, below)
    above = {"up": below < inside, "nearest": inside >= 1.5 * below, "down": inside < 0}
    if round_mode not in above:
        raise EngineError(f"round_mode is one of {sorted(above)}, not {round_mode!r}")
    rounded = xp.where(above[round_mode], below * 2, below)
    outer = [xp.scalar(least, x), xp.scalar(most, x)]
    if not saturate:
        outer = [xp.scalar(float("nan"), x)] * 2
    rounded = xp.where(x < least, outer[0], rounded)
    rounded = xp.where(x > most, outer[1], rounded)
    return xp.where(xp.isnan(x), x, rounded)
