"""Samples from a NumPy ``.npz`` file: one array per input under its name, and ``labels``."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.data.raw import RawData
from lepton_ai.data.source import Source
from lepton_ai.errors import DataError, UnsafeFileError
from lepton_ai.model.signature import Array

#: Every pickle of protocol 2 or later begins with this byte.
_PICKLE = b"\x80"


class Npz(Source):
    """Arrays in one file; pickled objects in it are refused."""

    name = "npz"
    takes = "an .npz file with one array per input and, where there are labels, 'labels'"

    def accepts(self, source: Any) -> bool:
        """Whether ``source`` is a path that ends in ``.npz``."""
        return isinstance(source, Path) and source.is_file() and source.suffix.lower() == ".npz"

    def read(self, source: Any, *, text: str | None, label: str | None) -> RawData:
        """The arrays of the file; see :meth:`Source.read`."""
        path: Path = source
        _check_archive(path)
        arrays: dict[str, Array] = {}
        try:
            with np.load(path, allow_pickle=False) as archive:
                for name in archive.files:
                    arrays[name] = archive[name]
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as failure:
            raise _broken(path, failure) from failure
        except ValueError as failure:
            if "allow_pickle" in str(failure):
                raise _pickled(path) from failure
            raise _broken(path, failure) from failure
        foreign = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
        if foreign:
            raise DataError(f"{path} holds {foreign}, which are not NumPy arrays")
        labels = arrays.pop("labels", None)
        if not arrays:
            raise DataError(f"{path} holds no arrays; put one in for each input of the model")
        return RawData(name=path.name, arrays=arrays, labels=labels)


def _check_archive(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(1)
    except OSError as failure:
        raise _broken(path, failure) from failure
    if start == _PICKLE:
        raise _pickled(path)
    if not zipfile.is_zipfile(path):
        what = "is empty" if not start else "is not an .npz archive, or was cut short"
        raise DataError(f"{path} {what}; write it again with numpy.savez")


def _pickled(path: Path) -> UnsafeFileError:
    return UnsafeFileError(
        f"{path} holds pickled Python objects, which can run code when they are read and are "
        "refused; save plain arrays with numpy.savez"
    )


def _broken(path: Path, failure: Exception) -> DataError:
    return DataError(f"{path} cannot be read ({failure}); write it again with numpy.savez")
