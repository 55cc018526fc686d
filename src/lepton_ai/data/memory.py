"""Samples from Python values: arrays, tensors, lists of texts or images.

Taken are a mapping of arrays under the names of the inputs (with ``labels`` where there are any),
a tuple ``(X, y)`` of such a mapping, one array or a list, with its labels, and ``X`` alone. Tensors
of torch and TensorFlow count as arrays; they are known by their ``numpy`` method.
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from lepton_ai.data.raw import UNNAMED, RawData
from lepton_ai.data.source import Source
from lepton_ai.errors import DataError
from lepton_ai.model.signature import Array

_NAME = "the data"


class Memory(Source):
    """What is in memory already; arrays are not copied."""

    name = "memory"
    takes = "in Python, a mapping of arrays, a tuple (X, y), an array or a list"

    def accepts(self, source: Any) -> bool:
        """Whether ``source`` is a mapping, tuple, list, array or tensor."""
        return isinstance(source, Mapping | tuple | list) or _is_tensor(source)

    def read(self, source: Any, *, text: str | None, label: str | None) -> RawData:
        """The arrays or items; see :meth:`Source.read`."""
        if isinstance(source, tuple):
            if len(source) != 2:
                raise DataError(f"a tuple of data is (X, y), and one of {len(source)} came")
            x, y = source
            held = _inputs(x)
            if y is None:
                return held
            if held.labels is not None:
                raise DataError("labels came twice: in the mapping and as the second of the tuple")
            return RawData(
                name=held.name, arrays=held.arrays, items=held.items, labels=_array("labels", y)
            )
        return _inputs(source)


def _inputs(value: Any) -> RawData:
    if isinstance(value, Mapping):
        arrays = {str(name): _array(f"array {name!r}", array) for name, array in value.items()}
        labels = arrays.pop("labels", None)
        if not arrays:
            raise DataError("the mapping holds no arrays; put one in for each input of the model")
        return RawData(name=_NAME, arrays=arrays, labels=labels)
    if isinstance(value, list) and value and _is_item(value[0]):
        return RawData(name=_NAME, items=value)
    array = _array("X", value)
    if array.ndim == 1 and array.dtype.kind in "UO" and len(array) and _is_item(array[0]):
        return RawData(name=_NAME, items=array.tolist())
    return RawData(name=_NAME, arrays={UNNAMED: array})


def _is_item(value: Any) -> bool:
    looks_like_an_image = hasattr(value, "mode") and hasattr(value, "getbands")
    return isinstance(value, str | bytes | PurePath) or looks_like_an_image


def _is_tensor(value: Any) -> bool:
    return isinstance(value, np.ndarray) or callable(getattr(value, "numpy", None))


def _array(called: str, value: Any) -> Array:
    try:
        if callable(getattr(value, "detach", None)):
            value = value.detach().cpu()
        if callable(getattr(value, "numpy", None)):
            value = value.numpy()
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as failure:
        reason = " ".join(str(failure).split())
        raise DataError(f"{called} cannot be read as one array: {reason}") from failure
