"""The calls that a search calibrates with, kept where its child processes find them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lepton_ai.model.signature import Arrays


class CalibrationFolder:
    """Calls kept one per file, read again each time they are iterated, one in memory at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, calls: Iterator[Arrays]) -> None:
        """Keep ``calls``, in order."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for number, feed in enumerate(calls):
            plain = {name: a.astype(str) if a.dtype == object else a for name, a in feed.items()}
            with (self._folder / f"{number:06d}.npz").open("wb") as file:
                np.savez(file, **plain)  # type: ignore[arg-type]  # input names are any text

    def __iter__(self) -> Iterator[Arrays]:
        for file in sorted(self._folder.glob("*.npz")):
            with np.load(file, allow_pickle=False) as arrays:
                yield {name: arrays[name] for name in arrays.files}
