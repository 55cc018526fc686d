"""Tensors out of nothing: constants, ranges, diagonals, and one side of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import is_narrow
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, dtype_named, integers, operator

Host = np.ndarray[Any, Any]


@operator("Constant")
def constant(
    call: Call,
    *,
    value: Host | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
    value_string: str | None = None,
    value_strings: Sequence[str] | None = None,
) -> Host:
    """The one value that is given."""
    if value is not None:
        return value
    kinds = (
        (np.float32, value_float, value_floats),
        (np.int64, value_int, value_ints),
        (object, value_string, value_strings),
    )
    for dtype, one, many in kinds:
        if one is not None or many is not None:
            return np.array(many if one is None else one, dtype=dtype)
    raise EngineError("a constant without a value, or with one that is sparse")


@operator("ConstantOfShape", host=("target",))
def constant_of_shape(call: Call, target: Host, *, value: Host | None = None) -> Tensor:
    """One value all over the shape; zero, in float32, if none is given."""
    filling = np.zeros((), np.float32) if value is None else value.reshape(-1)[0:1].reshape(())
    return call.xp.broadcast_to(call.xp.from_host(filling), tuple(integers(target)))


@operator("Range", host=("start", "limit", "delta"))
def arange(
    call: Call, start: Host, limit: Host, delta: Host, *, stash_type: int = int(ir.DataType.FLOAT)
) -> Tensor:
    """The numbers from ``start`` on, by ``delta``, short of ``limit``; ``stash_type`` counts."""
    xp = call.xp
    if any(one.dtype.kind == "O" for one in (start, limit, delta)):
        first, last, step = (integers(one)[0] for one in (start, limit, delta))
        return xp.positions(-((first - last) // step)) * step + first
    dtype = start.dtype
    first, last, step = (
        one.reshape(()).astype(dtype_named(stash_type)) if is_narrow(dtype) else one.reshape(())
        for one in (start, limit, delta)
    )
    if dtype.kind in "iu":
        count = max(-((int(first) - int(last)) // int(step)), 0)
    else:
        count = max(math.ceil((float(last) - float(first)) / float(step)), 0)
    steps = np.arange(count).astype(first.dtype)
    return xp.from_host((first + steps * step).astype(dtype))


@operator("EyeLike")
def eye_like(call: Call, x: Tensor, *, k: int = 0, dtype: int | None = None) -> Tensor:
    """Ones on the ``k``-th diagonal of a matrix of the same shape."""
    ones = _columns(call, x) == _rows(call, x) + k
    return call.xp.cast(ones, call.xp.dtype_of(x) if dtype is None else dtype_named(dtype))


@operator("Trilu", host=("k",))
def one_triangle(call: Call, x: Tensor, k: Host | None = None, *, upper: int = 1) -> Tensor:
    """What is on and above the ``k``-th diagonal, or on and below it; zeros elsewhere."""
    edge = _rows(call, x) + (0 if k is None else integers(k)[0])
    columns = _columns(call, x)
    kept = columns >= edge if upper else columns <= edge
    return call.xp.where(kept, x, call.xp.scalar(0, x))


def _rows(call: Call, x: Tensor) -> Tensor:
    return call.xp.reshape(call.xp.positions(x.shape[-2]), (-1, 1))


def _columns(call: Call, x: Tensor) -> Tensor:
    return call.xp.positions(x.shape[-1])
