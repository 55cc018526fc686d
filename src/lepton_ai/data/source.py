"""What a source of samples is, the registry they are found in, and the one door to all of them."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from lepton_ai.data.raw import RawData, check_raw
from lepton_ai.errors import DataError
from lepton_ai.registry import Registry


class Source(ABC):
    """One kind of place that samples come from."""

    name: ClassVar[str]
    #: Whether the samples stand in named columns, so that ``text`` and ``label`` choose some.
    has_columns: ClassVar[bool] = False
    #: What this source takes, in the words of an error message.
    takes: ClassVar[str]

    @abstractmethod
    def accepts(self, source: Any) -> bool:
        """Whether ``source`` (a :class:`~pathlib.Path` or a Python value) is of this kind."""

    @abstractmethod
    def read(self, source: Any, *, text: str | None, label: str | None) -> RawData:
        """What ``source`` holds.

        Raises:
            DataError: it cannot be read, or holds something that is not samples.
            UnsafeFileError: it holds pickled objects.
        """


sources: Registry[type[Source]] = Registry("sources", extra="optimize")
sources.register("npz", "lepton_ai.data.npz:Npz")
sources.register("table", "lepton_ai.data.table:Table")
sources.register("image-folder", "lepton_ai.data.image_folder:ImageFolder")
sources.register("memory", "lepton_ai.data.memory:Memory")


def read_data(source: Any, *, text: str | None = None, label: str | None = None) -> RawData:
    """Read samples from a path or a Python value, and check what can be checked with no network.

    ``text`` and ``label`` name columns of a table. See :mod:`lepton_ai.data.memory` for the Python
    values that are taken; a :class:`RawData` passes through.

    Raises:
        DataError: no source takes it, or what it holds does not fit together.
        UnsafeFileError: it holds pickled objects.
    """
    if isinstance(source, RawData):
        return check_raw(source)
    place: Any = Path(source) if isinstance(source, str) else source
    if isinstance(place, Path) and not place.exists():
        raise DataError(f"there is no data at {place}; give a path that exists")
    reader = _find(place)
    if (text is not None or label is not None) and not reader.has_columns:
        raise DataError(
            f"--text and --label name columns of a CSV, TSV or parquet file, and "
            f"{_told(place)} came"
        )
    return check_raw(reader.read(place, text=text, label=label))


def _find(place: Any) -> Source:
    readers = [kind() for _, kind in sources.items()]
    for reader in readers:
        if reader.accepts(place):
            return reader
    takes = "; ".join(reader.takes for reader in readers)
    raise DataError(f"{_told(place)} is not a source of samples; these are: {takes}")


def _told(place: Any) -> str:
    return str(place) if isinstance(place, Path) else f"a value of type {type(place).__name__}"
