"""The samples that a network is taught with, on disk, read in batches of one shape.

Samples of unlike shapes (texts of other lengths) are kept apart, so that a batch needs no padding,
whose meaning would be the network's own. Arrays are mapped and not read, so that memory holds one
batch however many samples there are.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.errors import DataError
from lepton_ai.model.signature import Array, Arrays

_INDEX = "index.json"
#: A shape, by its number, and the calls of that shape that make a batch.
Pick = tuple[int, Array]


class Lessons:
    """Calls of a network by the shapes of their inputs, each array one file of ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._groups: list[dict[str, Array]] = []
        for number, group in enumerate(json.loads((folder / _INDEX).read_text(encoding="utf-8"))):
            self._groups.append(
                {
                    name: np.memmap(
                        _file(folder, number, place),
                        dtype=dtype,
                        mode="r",
                        shape=(group["calls"], *shape),
                    )
                    for place, (name, dtype, shape) in enumerate(group["inputs"])
                }
            )
        self._labels = [
            np.memmap(path, dtype=np.int64, mode="r")
            for number in range(len(self._groups))
            if (path := _labels_file(folder, number)).exists()
        ]
        self._counts = np.array([len(next(iter(group.values()))) for group in self._groups])

    @classmethod
    def write(
        cls, folder: Path, calls: Iterable[Arrays], labels: Iterable[int] | None = None
    ) -> "Lessons":
        """Keep ``calls`` in a new ``folder``, one in memory at a time; each with its class, if any.

        Raises:
            DataError: there are none, or an input is text, which no gradient goes through.
        """
        folder.mkdir(parents=True)
        numbers: dict[str, int] = {}
        groups: list[dict[str, object]] = []
        given = (
            ((feed, None) for feed in calls) if labels is None else zip(calls, labels, strict=True)
        )
        for feed, label in given:
            inputs = [(name, array.dtype.str, list(array.shape)) for name, array in feed.items()]
            if any(array.dtype.kind in "OSUT" for array in feed.values()):
                raise DataError("a network that reads texts itself cannot be taught here")
            key = json.dumps(inputs)
            if key not in numbers:
                numbers[key] = len(groups)
                groups.append({"inputs": inputs, "calls": 0})
            number = numbers[key]
            groups[number]["calls"] += 1  # type: ignore[operator]
            for place, array in enumerate(feed.values()):
                _append(_file(folder, number, place), array)
            if label is not None:
                _append(_labels_file(folder, number), np.int64(label))
        if not groups:
            raise DataError("there are no samples to teach with")
        (folder / _INDEX).write_text(json.dumps(groups), encoding="utf-8")
        return cls(folder)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def batches(self, size: int, *, seed: int, joined: bool = True) -> Iterator[Arrays]:
        """Batches without end: ``size`` calls of one shape joined along the first axis.

        Each pass takes every call once, in an order that follows from ``seed``, but for those left
        over of each shape. Not ``joined``, each is one call.
        """
        return map(self.read, self.order(size, seed=seed, joined=joined))

    def order(self, size: int, *, seed: int, joined: bool = True) -> Iterator[Pick]:
        """What :meth:`batches` reads, one after the other, unread: :meth:`read` reads one."""
        random = np.random.default_rng(seed)
        while True:
            yield from self._pass(size if joined else 1, random)

    def read(self, pick: Pick) -> Arrays:
        """The calls of one batch, joined along the first axis."""
        number, rows = pick
        return {name: _joined(array, rows) for name, array in self._groups[number].items()}

    def whole(self, size: int, most: int) -> Iterator[Pick]:
        """The first ``most`` calls, each once, ``size`` of one shape at a time."""
        for number, count in enumerate(self._counts):
            end = min(int(count), most)
            most -= end
            for start in range(0, end, size):
                yield number, np.arange(start, min(start + size, end))

    def labels(self, pick: Pick) -> Array | None:
        """The classes of the calls of one batch; nothing where they are not known."""
        number, rows = pick
        return np.array(self._labels[number][rows]) if self._labels else None

    @property
    def classes(self) -> Array | None:
        """The class of every call, in no order that matters; nothing where they are not known."""
        return np.concatenate(self._labels) if self._labels else None

    def example(self, calls: int) -> Arrays:
        """The first ``calls`` calls of the shape that most have, joined along the first axis."""
        most = int(self._counts.argmax())
        return self.read((most, np.arange(min(calls, int(self._counts[most])))))

    def _pass(self, size: int, random: np.random.Generator) -> Iterator[Pick]:
        chosen: list[Pick] = []
        for number, count in enumerate(self._counts):
            rows = random.permutation(int(count))
            whole = max(1, len(rows) // size)
            chosen += [(number, rows[size * one : size * (one + 1)]) for one in range(whole)]
        for place in random.permutation(len(chosen)):
            yield chosen[place]


def _joined(array: Array, rows: Iterable[int]) -> Array:
    """Calls of one input along its first axis; an input without axes is the same for all."""
    if array.ndim == 1:
        return np.array(array[next(iter(rows))])
    return np.concatenate([array[row] for row in rows])


def _append(path: Path, array: Any) -> None:
    with path.open("ab") as file:
        file.write(np.ascontiguousarray(array).tobytes())


def _labels_file(folder: Path, group: int) -> Path:
    return folder / f"{group:04d}-labels.raw"


def _file(folder: Path, group: int, place: int) -> Path:
    return folder / f"{group:04d}-{place}.raw"
