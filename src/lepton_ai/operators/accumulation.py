"""Where sums are formed, NumPy is made to form them in wide enough a dtype.

The other libraries sum up narrow floats in float32 by themselves; NumPy rounds after every step.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from lepton_ai.operators.dtypes import FLOAT32, FLOAT64, is_narrow
from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.operator import Call

INT32 = np.dtype(np.int32)


def accumulated(meaning: Callable[..., Any]) -> Callable[..., Any]:
    """With NumPy, compute in float32 where an input is a narrow float, and hand that dtype back.

    Every float32 output then has the dtype of the first narrow input.
    """

    @wraps(meaning)
    def wide(call: Call, *inputs: Any, **attributes: Any) -> Any:
        narrow = [one.dtype for one in inputs if _is_narrow(one)]
        if call.xp.name != "numpy" or not narrow:
            return meaning(call, *inputs, **attributes)
        widened = [one.astype(FLOAT32) if _is_narrow(one) else one for one in inputs]
        result = meaning(call, *widened, **attributes)
        if isinstance(result, tuple):
            return tuple(_narrowed(one, narrow[0]) for one in result)
        return _narrowed(result, narrow[0])

    return wide


def _is_narrow(value: Any) -> bool:
    return isinstance(value, np.ndarray) and is_narrow(value.dtype)


def _narrowed(value: Any, dtype: np.dtype[Any]) -> Any:
    if value is not None and value.dtype == FLOAT32:
        return np.asarray(value).astype(dtype)
    return value


def whole(xp: Namespace, x: Tensor, zero_point: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Integers of eight bits less their zero point, in a dtype that sums up products exactly.

    NumPy has fast products for floats alone, and those of 64 bits hold every sum that 32 bits do.
    """
    dtype = FLOAT64 if xp.name == "numpy" else INT32
    x = xp.cast(x, dtype)
    return x if zero_point is None else x - xp.reshape(xp.cast(zero_point, dtype), shape)
