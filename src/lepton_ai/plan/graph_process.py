"""The functions that a child process runs to make a graph out of another."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.compress.compressor import compressors
from lepton_ai.errors import ModelError
from lepton_ai.model.signature import Arrays
from lepton_ai.plan.rewriting import rewrite_file

#: The gate after each rule runs this many real calls; the trials compare hundreds afterwards.
_CALLS_COMPARED = 8


def rewrite(name: str, source: str, target: str, original: str, calibration: str) -> dict[str, Any]:
    """Apply a rewrite, proven on some of the calibration calls; what it did."""
    calls = list(islice(CalibrationFolder(Path(calibration)), _CALLS_COMPARED))
    done = rewrite_file(name, Path(source), Path(target), original=Path(original), calls=calls)
    return {"name": name, "words": list(done.in_words()), **done.to_json()}


def compress(name: str, source: str, target: str, calibration: str) -> None:
    """Apply a compressor, with the calibration calls kept in a folder."""
    compressor = compressors.get(name)()
    availability = compressor.available()
    if not availability.ok:
        raise ModelError(f"{name} cannot run here: {availability.reason}; {availability.remedy}")
    compressor.compress(Path(source), Path(target), CalibrationFolder(Path(calibration)))


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
