"""Samples that are arrays already, one per input of the network."""

import hashlib
from collections.abc import Sequence

import numpy as np

from lepton_ai.data.samples import Samples
from lepton_ai.errors import DataError
from lepton_ai.model.signature import Array, Arrays


class ArraySamples(Samples):
    """Arrays with the first axis samples; a call is a slice of each, not a copy.

    ``batched`` names the inputs whose tensor has a batch axis: a call of those takes rows
    ``[k, ...]``, and a call of the others one bare sample ``[...]``.
    """

    def __init__(
        self, arrays: Arrays, *, batched: frozenset[str], per_call: int, labels: Array | None
    ) -> None:
        self.arrays = arrays
        self.batched = batched
        self.per_call = per_call
        self.labels = labels
        self.has_batch_axis = bool(batched)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def feed(self, indices: Sequence[int]) -> Arrays:
        """The inputs of one call; see :meth:`Samples.feed`.

        Raises:
            DataError: more than one sample for an input that has no batch axis.
        """
        if len(indices) != 1 and len(self.batched) < len(self.arrays):
            bare = sorted(self.arrays.keys() - self.batched)
            raise DataError(
                f"the inputs {bare} have no batch axis, and {len(indices)} samples came"
            )
        return {
            name: _rows(array, indices) if name in self.batched else _bare(array, indices[0])
            for name, array in self.arrays.items()
        }

    def digest(self, index: int) -> bytes:
        """A hash of one sample's arrays; see :meth:`Samples.digest`."""
        whole = hashlib.sha256()
        for name, array in self.arrays.items():
            row = _bare(array, index)
            whole.update(f"{name}\0{row.dtype.str}\0{row.shape}\0".encode())
            whole.update(repr(row.tolist()).encode() if row.dtype == object else row.tobytes())
        return whole.digest()


def _rows(array: Array, indices: Sequence[int]) -> Array:
    first, count = indices[0], len(indices)
    if all(index == first + offset for offset, index in enumerate(indices)):
        return np.asarray(array[first : first + count], order="C")
    return np.asarray(array[list(indices)], order="C")


def _bare(array: Array, index: int) -> Array:
    return np.asarray(array[index], dtype=array.dtype, order="C")
