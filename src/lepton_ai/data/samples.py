"""Countable, repeatable access to samples, one model call at a time.

A *call* is what the network takes at once: one sample, or ``per_call`` of them where the graph has
a fixed batch size above one. Lepton measures and scores call by call, exactly as a client would
ask, because a batch can change an answer (dynamic quantisation takes its scale over the batch).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from lepton_ai.model.signature import Array, Arrays


class Samples(ABC):
    """Samples that have been bound to a network: each index gives the inputs of that sample."""

    #: How many samples one call of the network holds.
    per_call: int = 1
    #: One label per sample (first axis), or ``None`` where there are none.
    labels: Array | None = None
    #: Whether the network's tensors have a batch axis; without, a call is one bare sample.
    has_batch_axis: bool = True

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    @abstractmethod
    def feed(self, indices: Sequence[int]) -> Arrays:
        """The inputs of one call that holds the samples ``indices``."""

    @abstractmethod
    def digest(self, index: int) -> bytes:
        """A hash of one sample's content, label excluded; equal samples have equal digests."""

    def calls(self, indices: Sequence[int]) -> Iterator[Arrays]:
        """One feed per call; a last call that is not full repeats its last sample."""
        for start in range(0, len(indices), self.per_call):
            group = list(indices[start : start + self.per_call])
            yield self.feed(group + group[-1:] * (self.per_call - len(group)))

    def content_key(self) -> str:
        """A hash over every sample and label, in order."""
        whole = hashlib.sha256()
        for index in range(len(self)):
            whole.update(self.digest(index))
        if self.labels is not None:
            whole.update(repr((self.labels.dtype.str, self.labels.shape)).encode())
            whole.update(np.ascontiguousarray(self.labels).tobytes())
        return whole.hexdigest()


def gather(answers: Sequence[Arrays], samples: Samples, count: int) -> Arrays:
    """The outputs of many calls as one array per output, first axis the samples.

    Answers of unequal shape (a detector's boxes) become an object array of arrays, one per sample.
    """
    names = answers[0].keys() if answers else ()
    return {name: _gather_one([a[name] for a in answers], samples, count) for name in names}


def is_ragged(outputs: Array) -> bool:
    """Whether ``outputs`` are arrays of unequal shape, one per sample, as :func:`gather` makes."""
    return (
        outputs.dtype == object
        and outputs.ndim == 1
        and any(isinstance(row, np.ndarray) for row in outputs)
    )


def _gather_one(parts: list[Array], samples: Samples, count: int) -> Array:
    batched = samples.has_batch_axis and all(
        part.ndim > 0 and part.shape[0] == samples.per_call for part in parts
    )
    rows = [row for part in parts for row in part] if batched else parts
    rows = rows[:count]
    if all(np.shape(row) == np.shape(rows[0]) for row in rows):
        return np.stack([np.asarray(row) for row in rows])
    ragged = np.empty(len(rows), dtype=object)
    ragged[:] = rows
    return ragged
