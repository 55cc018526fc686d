"""Labels as they came to labels that a metric can compare: class names become class numbers."""

import re

import numpy as np

from lepton_ai.errors import DataError
from lepton_ai.model.signature import Array

#: Names that stand in a configuration where nobody named the classes: they bind nothing.
_PLACEHOLDER = re.compile(r"label_\d+", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d+")
#: How many names an error message lists.
_SHOWN = 8


def encode_labels(
    labels: Array, *, source_names: tuple[str, ...] | None, model_names: tuple[str, ...]
) -> Array:
    """Class names as numbers, by the first rule that fits; other labels come back as they are.

    1. The model names its classes: a label is the position of its name there (case is ignored
       where it makes no difference between two names).
    2. Every label is a whole number written as text: it is that number.
    3. Every label is a number written as text: it is that number (a target of a regression).
    4. A label is the position of its name among all names of the source, else among all that
       occur, sorted.

    Raises:
        DataError: the model names its classes and a label is not among them, or the labels are of
            mixed types.
    """
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    if labels.dtype.kind == "O":
        labels = _one_type(labels)
    if labels.dtype.kind != "U":
        return labels
    came, positions = np.unique(labels, return_inverse=True)
    names = [str(name) for name in came]
    known = () if all(_PLACEHOLDER.fullmatch(name) for name in model_names) else model_names
    return _values(names, source_names, known)[positions.reshape(labels.shape)]


def _values(
    names: list[str], source_names: tuple[str, ...] | None, model_names: tuple[str, ...]
) -> Array:
    by_name = _positions(names, model_names)
    if by_name is not None:
        return by_name
    if all(_INTEGER.fullmatch(name.strip()) for name in names):
        return np.asarray([int(name) for name in names], dtype=np.int64)
    if model_names:
        stray = [name for name in names if _positions([name], model_names) is None]
        raise DataError(
            f"the labels {_listed(stray)} are none of the model's classes {_listed(model_names)}; "
            "name them as the model does, or use the numbers of its classes"
        )
    try:
        numbers = np.asarray([float(name) for name in names])
    except ValueError:
        in_source = _positions(names, source_names or ())
        return np.arange(len(names)) if in_source is None else in_source
    if not np.isfinite(numbers).all():
        raise DataError(f"the labels hold {names[int(np.argmin(np.isfinite(numbers)))]!r}")
    return numbers


def _positions(names: list[str], among: tuple[str, ...]) -> Array | None:
    """Where each name stands, or ``None`` when one is not there."""
    exact = {name: position for position, name in enumerate(among)}
    if all(name in exact for name in names):
        return np.asarray([exact[name] for name in names], dtype=np.int64)
    folded = {name.strip().casefold(): position for position, name in enumerate(among)}
    if len(folded) == len(among) and all(name.strip().casefold() in folded for name in names):
        return np.asarray([folded[name.strip().casefold()] for name in names], dtype=np.int64)
    return None


def _one_type(labels: Array) -> Array:
    flat = labels.reshape(-1).tolist()
    if all(isinstance(value, str) for value in flat):
        return labels.astype(str)
    if all(isinstance(value, bool | int | float | np.number | np.bool_) for value in flat):
        numbers: Array = np.asarray(flat).reshape(labels.shape)
        return numbers
    kinds = sorted({type(value).__name__ for value in flat})
    raise DataError(f"labels must be all numbers or all names, and these types came: {kinds}")


def _listed(names: list[str] | tuple[str, ...]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return "[" + ", ".join(repr(name) for name in names[:_SHOWN]) + more + "]"
