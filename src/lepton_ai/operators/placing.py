"""Values known beforehand and values of the graph's library, side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ai.operators.namespace import Namespace, Tensor


def placed(xp: Namespace, value: Any) -> Tensor:
    """``value`` as an array of ``xp``."""
    return value if xp.owns(value) else xp.from_host(np.asarray(value))


def known(value: Any) -> bool:
    """Whether ``value`` is known without running the network."""
    return isinstance(value, np.ndarray | np.generic | bool | int | float)


def looked_at(xp: Namespace, value: Any) -> np.ndarray[Any, Any] | None:
    """``value`` as a NumPy array, or ``None`` where it is being traced."""
    if known(value):
        return np.asarray(value)
    try:
        return xp.to_host(value)
    except ValueError:
        return None


def stacked(xp: Namespace, values: Sequence[Any], axis: int = 0) -> Any:
    """The values along a new axis; known beforehand if all of them are."""
    if all(known(value) for value in values):
        return np.stack([np.asarray(value) for value in values], axis=axis)
    return xp.stack([placed(xp, value) for value in values], axis=axis)
