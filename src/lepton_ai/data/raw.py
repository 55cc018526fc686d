"""What a source holds before it is bound to a network, and the checks that need no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ai.errors import DataError
from lepton_ai.model.signature import Array, Arrays

#: The name under which an array stands that came without one; it binds to a network's only input.
UNNAMED = ""
#: Fewer samples than this cannot be split into calibrate, tune and certify and still say anything.
MINIMUM_SAMPLES = 10
#: Finite checks walk arrays in pieces of about this many elements, so that memory stays flat.
_PIECE = 1 << 22


@dataclass(frozen=True, kw_only=True)
class RawData:
    """Named arrays or raw items, with labels where there are any; first axis: samples.

    ``arrays`` are tensors under the names of a network's inputs (or one under :data:`UNNAMED`);
    ``items`` are texts, image paths or images that a processing turns into inputs. One of the two
    is ``None``. ``labels`` are as they came: class numbers, class names, or targets of any shape.
    ``label_names`` are all class names in the source's own order, where the source knows them.
    """

    name: str
    arrays: Arrays | None = None
    items: Sequence[Any] | None = None
    labels: Array | None = None
    label_names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        if self.items is not None:
            return len(self.items)
        return len(next(iter(self.arrays.values()))) if self.arrays else 0


def check_raw(raw: RawData) -> RawData:
    """``raw``, if its parts fit each other.

    Raises:
        DataError: there is nothing in it or too little, first axes differ, a float is NaN or
            infinite, or a label is missing; the message names the array and the sample.
    """
    arrays = raw.arrays or {}
    for name, array in arrays.items():
        if array.ndim == 0:
            raise DataError(
                f"{_called(name)} in {raw.name} is one value; its first axis must be samples"
            )
    counts = {_called(name): len(array) for name, array in arrays.items()}
    if raw.items is not None:
        counts["the list of samples"] = len(raw.items)
    if raw.labels is not None:
        if raw.labels.ndim == 0:
            raise DataError(
                f"labels in {raw.name} is one value, and one label per sample is needed"
            )
        counts["labels"] = len(raw.labels)
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise DataError(f"all arrays in {raw.name} need the same number of samples, and {told}")
    if not len(raw):
        raise DataError(f"{raw.name} holds no samples")
    for name, array in arrays.items():
        check_finite(_called(name), array)
    if raw.labels is not None:
        _check_labels_present(raw.labels)
    return raw


def check_enough(count: int, name: str) -> None:
    """Raise :class:`DataError` when ``count`` samples are too few to split."""
    if count < MINIMUM_SAMPLES:
        came = "no samples" if count == 0 else "1 sample" if count == 1 else f"{count} samples"
        raise DataError(
            f"{name} holds {came}, and at least {MINIMUM_SAMPLES} are needed "
            "(some to calibrate with, some to choose by, some to certify on)"
        )


def check_finite(called: str, array: Array) -> None:
    """Raise :class:`DataError` naming the first sample of a float array that is NaN or infinite."""
    has_nan = array.dtype.kind in "fc" or array.dtype.name == "bfloat16"
    if not has_nan or array.size == 0:
        return
    step = max(1, _PIECE * len(array) // array.size)
    for start in range(0, len(array), step):
        piece = array[start : start + step]
        finite = np.isfinite(piece)
        if not finite.all():
            row = int(np.argmin(finite.reshape(len(piece), -1).all(axis=1)))
            value = "NaN" if np.isnan(piece[row]).any() else "an infinite value"
            raise DataError(f"{called} holds {value} in sample {start + row}; remove or repair it")


def _check_labels_present(labels: Array) -> None:
    check_finite("labels", labels)
    if labels.dtype.kind not in "OU":
        return
    for index, value in enumerate(labels.reshape(len(labels), -1)):
        if any(_is_missing(one) for one in value):
            raise DataError(
                f"the label of sample {index} is missing; fill it in or drop the sample"
            )


def _is_missing(value: Any) -> bool:
    empty = isinstance(value, str) and not value
    return value is None or empty or (isinstance(value, float) and value != value)


def _called(name: str) -> str:
    return f"array {name!r}" if name != UNNAMED else "the array"
