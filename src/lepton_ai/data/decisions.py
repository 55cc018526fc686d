"""From a network's outputs to the classes it decides for, comparable with labels one to one.

Which output is scored follows from the shapes of the labels and of the original's outputs, in this
order: class scores (``[n, C]`` for labels ``[n]``; ``[n, C, ...]`` or ``[n, ..., C]`` for labels
``[n, ...]``), then classes as they are (integers or texts of the labels' shape), then one score for
two classes (floats of the labels' shape).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lepton_ai.errors import DataError, MetricError
from lepton_ai.model.signature import Array, Arrays

#: Stands where an output is NaN and decides for no class at all.
NO_CLASS = np.iinfo(np.int64).min


@dataclass(frozen=True, kw_only=True)
class Decider:
    """Which output decides, and how: by the largest score, as it is, or by a threshold.

    ``axis`` is the axis of the class scores, or ``None`` where all axes after the first hold them.
    """

    output: str
    form: Literal["scores", "classes", "threshold"]
    axis: int | None = None
    classes: int | None = None
    threshold: float = 0.0

    def __str__(self) -> str:
        if self.form == "scores":
            return f"the class with the largest of {self.classes} scores in output {self.output!r}"
        if self.form == "classes":
            return f"the class in output {self.output!r}"
        return f"whether output {self.output!r} is above {self.threshold:g}"


def class_labels(labels: Array) -> Array:
    """Labels as ``int64`` or text, ``[n, 1]`` as ``[n]``.

    Raises:
        DataError: the labels are not whole numbers or names.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    kind = labels.dtype.kind
    if kind in "biu":
        return labels.astype(np.int64)
    if kind in "US" or (kind == "O" and _holds_text(labels)):
        return labels.astype(str)
    if kind == "f" and np.array_equal(labels, np.trunc(labels)):
        return labels.astype(np.int64)
    example = labels.reshape(-1)[int(np.argmax(labels != np.trunc(labels)))] if kind == "f" else ""
    raise DataError(
        f"class labels must be whole numbers or names, and {labels.dtype} came"
        + (f" ({example})" if kind == "f" else "")
        + "; for a regression use --metric agreement or a function of your own"
    )


def check_class_labels(labels: Array) -> None:
    """Raise :class:`DataError` unless the labels of all samples name two classes or more."""
    classes = class_labels(labels)
    if classes.size and (classes == classes.reshape(-1)[0]).all():
        raise DataError(
            f"all {len(labels)} labels are {classes.reshape(-1)[0]!s}, and a score on one class "
            "says nothing; give samples of two classes or more"
        )


def find_decider(labels: Array, reference: Arrays) -> Decider:
    """The output to score, chosen by the original's outputs.

    Raises:
        DataError: no output fits the labels, or a label is out of the range of its classes.
    """
    classes = class_labels(labels)
    for find in (_by_scores, _by_classes, _by_threshold):
        for name, array in reference.items():
            decider = find(name, array, classes)
            if decider is not None:
                check_range(classes, decider)
                return decider
    shapes = ", ".join(f"{name}: {array.dtype}{array.shape}" for name, array in reference.items())
    raise DataError(
        f"labels of shape {labels.shape} fit none of the model's outputs ({shapes}); give one "
        "class number per sample (or per position of a dense output), or use --metric agreement"
    )


def check_decided(decider: Decider, reference: Arrays) -> None:
    """Raise :class:`DataError` when the original's scores hold NaN."""
    scores = as_float(reference[decider.output])
    if scores.dtype.kind == "f" and np.isnan(scores).any():
        row = int(np.argmax(np.isnan(scores).reshape(len(scores), -1).any(axis=1)))
        raise DataError(
            f"the original model answers NaN in output {decider.output!r} for sample {row} of "
            "those scored; mend the model or remove what it cannot answer"
        )


def decide(decider: Decider, outputs: Arrays, shape: tuple[int, ...]) -> Array:
    """The classes decided for, ``int64`` or text of the labels' ``shape``; NaN decides nothing.

    Raises:
        MetricError: the output is not there or is of another shape than the original's.
    """
    array = outputs.get(decider.output)
    if array is None:
        raise MetricError(f"output {decider.output!r} is to be scored, and {list(outputs)} came")
    array = as_float(array)
    try:
        if decider.form == "scores":
            return _largest(decider, array).reshape(shape)
        if decider.form == "classes":
            chosen = array.astype(str if array.dtype.kind in "OUS" else np.int64)
            return chosen.reshape(shape)
        above = (array > decider.threshold).astype(np.int64)
        return np.where(np.isnan(array), NO_CLASS, above).reshape(shape)
    except (ValueError, TypeError) as failure:
        raise MetricError(
            f"output {decider.output!r} of {array.dtype}{array.shape} does not fit labels of shape "
            f"{shape}"
        ) from failure


def is_float(array: Array) -> bool:
    """Whether ``array`` holds floating-point numbers, bfloat16 included."""
    return array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat16", "float8"))


def as_float(array: Array) -> Array:
    """``array``, widened to float32 where NumPy does not know its kind of float (bfloat16)."""
    return array.astype(np.float32) if is_float(array) and array.dtype.kind != "f" else array


def _largest(decider: Decider, scores: Array) -> Array:
    if decider.axis is None:
        scores = scores.reshape(len(scores), decider.classes or -1)
    axis = 1 if decider.axis is None else decider.axis
    if scores.shape[axis] != decider.classes:
        raise ValueError(scores.shape)
    return np.where(np.isnan(scores).any(axis=axis), NO_CLASS, np.argmax(scores, axis=axis))


def _by_scores(name: str, array: Array, labels: Array) -> Decider | None:
    if labels.dtype.kind == "U" or not is_float(array) or array.ndim < 2:
        return None
    if len(array) != len(labels):
        return None
    dense = labels.shape[1:]
    axis, count = None, 0
    if not dense and max(array.shape[1:]) == np.prod(array.shape[1:]):
        count = max(array.shape[1:])
    elif dense and array.shape[2:] == dense:
        axis, count = 1, array.shape[1]
    elif dense and array.shape[1:-1] == dense:
        axis, count = array.ndim - 1, array.shape[-1]
    if count < 2:
        return None
    return Decider(output=name, form="scores", axis=axis, classes=count)


def _by_classes(name: str, array: Array, labels: Array) -> Decider | None:
    if labels.dtype.kind == "U":
        of_kind = array.dtype.kind in "US" or (array.dtype.kind == "O" and _holds_text(array))
    else:
        of_kind = array.dtype.kind in "biu"
    if not of_kind or not _same_positions(array, labels):
        return None
    return Decider(output=name, form="classes")


def _by_threshold(name: str, array: Array, labels: Array) -> Decider | None:
    if labels.dtype.kind == "U" or not is_float(array) or not _same_positions(array, labels):
        return None
    if labels.ndim == 2 and array.ndim == 2:
        return None  # one-hot labels or several labels per sample, not two classes
    values = as_float(array)
    probabilities = bool(((values >= 0) & (values <= 1)).all())
    threshold = 0.5 if probabilities else 0.0
    return Decider(output=name, form="threshold", classes=2, threshold=threshold)


def _same_positions(array: Array, labels: Array) -> bool:
    """Whether the shapes are equal but for axes of one element after the first."""
    ours, theirs = ([n for n in one.shape[1:] if n != 1] for one in (array, labels))
    return array.ndim > 0 and len(array) == len(labels) and ours == theirs


def _holds_text(array: Array) -> bool:
    return array.size > 0 and isinstance(array.reshape(-1)[0], str)


def check_range(labels: Array, decider: Decider) -> None:
    """Raise :class:`DataError` when a label is none of the decider's classes."""
    if decider.classes is None or labels.size == 0 or labels.dtype.kind == "U":
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= decider.classes:
        raise DataError(
            f"labels must be 0 to {decider.classes - 1}, the classes of output {decider.output!r}, "
            f"and {low if low < 0 else high} came; number the classes from 0"
        )
