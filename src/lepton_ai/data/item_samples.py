"""Samples that are texts or images, turned into inputs by a processing when asked for."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from lepton_ai.data.samples import Samples
from lepton_ai.errors import DataError
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Array, Arrays, Signature

#: Processed inputs that are kept. What no longer fits is processed anew each time, rather than
#: driving out what is kept: samples are read in the same order again and again.
_CACHE_BYTES = 256 * 10**6


class ItemSamples(Samples):
    """Raw items with the processing that feeds them to a network."""

    def __init__(
        self,
        items: Sequence[Any],
        *,
        processing: Processing,
        signature: Signature,
        per_call: int,
        labels: Array | None,
    ) -> None:
        self.items = items
        self.processing = processing
        self.signature = signature
        self.per_call = per_call
        self.labels = labels
        self._fed: dict[tuple[int, ...], Arrays] = {}
        self._fed_bytes = 0
        self._digests: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.items)

    def feed(self, indices: Sequence[int]) -> Arrays:
        """The inputs of one call; see :meth:`Samples.feed`.

        Raises:
            DataError: a sample cannot be processed or does not fit; the message names it.
        """
        key = tuple(int(index) for index in indices)
        kept = self._fed.get(key)
        if kept is not None:
            return dict(kept)
        try:
            raws = [self.items[index] for index in key]
            fed = self.signature.check(self.processing.feed(raws))
        except DataError as failure:
            raise DataError(f"{self._told(key)}: {failure}") from failure
        size = sum(array.nbytes for array in fed.values())
        if self._fed_bytes + size <= _CACHE_BYTES:
            self._fed[key] = fed
            self._fed_bytes += size
        return dict(fed)

    def digest(self, index: int) -> bytes:
        """A hash of one item's content, a file's bytes rather than its name.

        Raises:
            DataError: the file cannot be read.
        """
        if index not in self._digests:
            self._digests[index] = hashlib.sha256(_content(self.items[index])).digest()
        return self._digests[index]

    def _told(self, indices: tuple[int, ...]) -> str:
        of_one = f"sample {indices[0]}" if len(set(indices)) == 1 else f"samples {list(indices)}"
        paths = [str(item) for item in (self.items[i] for i in indices) if _is_path(item)]
        return f"{of_one} ({', '.join(paths)})" if paths else of_one


def _is_path(item: Any) -> bool:
    return isinstance(item, PurePath)


def _content(item: Any) -> bytes:
    if isinstance(item, PurePath):
        try:
            with open(item, "rb") as file:  # noqa: PTH123  a pure path has no open
                return b"file\0" + file.read()
        except OSError as failure:
            raise DataError(f"{item} cannot be read: {failure.strerror}") from failure
    if isinstance(item, str):
        return b"text\0" + item.encode("utf-8", "surrogatepass")
    if isinstance(item, bytes):
        return b"file\0" + item
    if hasattr(item, "getbands"):
        pixels: bytes = item.tobytes()
        return f"image\0{item.mode}\0{item.size}\0".encode() + pixels
    array = np.asarray(item)
    return f"array\0{array.dtype.str}\0{array.shape}\0".encode() + array.tobytes()
