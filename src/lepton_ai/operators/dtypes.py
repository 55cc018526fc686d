"""Questions about dtypes that NumPy answers for its own only, and arithmetic wide enough for them.

``bfloat16``, the floats of 8 bits and fewer, and the integers of 4 and 2 bits come from
``ml_dtypes``; NumPy calls all of them "void".
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
INT64 = np.dtype(np.int64)
BOOL = np.dtype(np.bool_)


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` holds floating-point numbers, of whatever width."""
    return dtype.name.startswith(("float", "bfloat"))


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` holds integers, of whatever width."""
    return dtype.name.startswith(("int", "uint"))


def is_signed(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` can hold a negative number."""
    return not dtype.name.startswith(("uint", "bool"))


def is_narrow(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` is a float of 16 bits or fewer."""
    return is_floating(dtype) and dtype.itemsize <= 2


def in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute in float32 where the inputs are narrow floats; the answer has their dtype again.

    For meanings of several steps, each of which would round.
    """

    @wraps(function)
    def widened(call: Call, x: Tensor, *others: Tensor, **attributes: Any) -> Tensor:
        dtype = call.xp.dtype_of(x)
        if not is_narrow(dtype):
            return function(call, x, *others, **attributes)
        wide = [
            call.xp.cast(one, FLOAT32) if _is_narrow_tensor(call, one) else one
            for one in (x, *others)
        ]
        return call.xp.cast(function(call, *wide, **attributes), dtype)

    return widened


def _is_narrow_tensor(call: Call, value: Any) -> bool:
    return value is not None and call.xp.owns(value) and is_narrow(call.xp.dtype_of(value))
