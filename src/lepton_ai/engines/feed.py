"""What a graph takes, and in a sentence what is wrong with a call that does not fit.

Engines tell a wrong call in words of their own, some without the input's name, and some not at all:
they convert, or compute on what the last call left behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.model.signature import Arrays

#: The dtype of an input of texts, which NumPy has several for.
TEXT = np.dtype(object)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One input; a size that is free is ``None``, and so is what is not known.

    What has neither a dtype nor a shape need not be an array: a sequence, or nothing at all.
    """

    name: str
    dtype: np.dtype[Any] | None = None
    shape: tuple[int | None, ...] | None = None
    optional: bool = False


class Feed:
    """The inputs of a graph in an engine."""

    def __init__(self, engine: str, wanted: Sequence[Wanted]) -> None:
        self._engine = engine
        self._wanted = {one.name: one for one in wanted}
        self._batched = [one.name for one in wanted if one.shape and one.shape[0] is None]

    def refuse_empty(self, inputs: Arrays) -> None:
        """Raise :class:`EngineError` for a batch of nothing, where the size of a batch is free."""
        for name in self._batched:
            if name in inputs and not inputs[name].shape[0]:
                raise EngineError(
                    f"input {name!r} has no samples (shape {inputs[name].shape}), and a call of "
                    f"{self._engine} wants at least one"
                )

    def check(self, inputs: Arrays) -> None:
        """Raise :class:`EngineError` for the first thing that does not fit, by name."""
        for name, wanted in self._wanted.items():
            if name not in inputs and not wanted.optional:
                raise EngineError(f"input {name!r} is missing; there came {list(inputs)}")
        for name, value in inputs.items():
            if name not in self._wanted:
                raise EngineError(f"no input is called {name!r}; there are {list(self._wanted)}")
            _check_one(self._wanted[name], value)
        self.refuse_empty(inputs)


def _check_one(wanted: Wanted, value: Any) -> None:
    name = wanted.name
    if wanted.dtype is None and wanted.shape is None:
        return
    if not isinstance(value, np.ndarray):
        raise EngineError(f"input {name!r} wants a NumPy array, and a {type(value).__name__} came")
    if wanted.dtype is not None and not _is_of(wanted.dtype, value):
        kind = "texts" if wanted.dtype == TEXT else wanted.dtype
        raise EngineError(f"input {name!r} wants {kind}, and {value.dtype} came")
    if wanted.shape is not None and not _fits(wanted.shape, value.shape):
        sizes = ", ".join("any" if size is None else str(size) for size in wanted.shape)
        raise EngineError(f"input {name!r} wants the shape [{sizes}], not {list(value.shape)}")


def _is_of(dtype: np.dtype[Any], value: "np.ndarray[Any, Any]") -> bool:
    return value.dtype.kind in "USO" if dtype == TEXT else value.dtype == dtype


def _fits(wanted: Sequence[int | None], came: Sequence[int]) -> bool:
    pairs = zip(wanted, came, strict=False)
    return len(wanted) == len(came) and all(size in (None, other) for size, other in pairs)
