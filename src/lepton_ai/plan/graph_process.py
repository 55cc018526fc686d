"""The functions that a child process runs to make a graph out of another."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.compress.compressor import compressors
from lepton_ai.errors import ModelError
from lepton_ai.graph.rewrite import rewrites
from lepton_ai.model.signature import Arrays


def rewrite(name: str, source: str, target: str) -> dict[str, Any]:
    """Apply a rewrite; what it did."""
    done = rewrites.get(name)().apply(Path(source), Path(target))
    return {
        "name": name,
        "nodes_before": done.nodes_before,
        "nodes_after": done.nodes_after,
        "fired": list(done.fired),
    }


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
