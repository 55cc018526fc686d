"""Samples from a table: one column of texts and, where there are labels, one of labels."""

import codecs
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.data.raw import RawData
from lepton_ai.data.source import Source
from lepton_ai.errors import DataError, MissingExtraError
from lepton_ai.model.signature import Array

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_PARQUET = (".parquet", ".pq")
#: UTF-8, with a byte order mark or without; whatever is not UTF-8 can be read as Latin-1.
_ENCODINGS = ("utf-8-sig", "latin-1")
#: What Excel calls "Unicode text"; Latin-1 would decode it too, to rubbish.
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Table(Source):
    """A CSV, TSV or parquet file, or a pandas ``DataFrame``."""

    name = "table"
    has_columns = True
    takes = "a .csv, .tsv or .parquet file with a column of texts"

    def accepts(self, source: Any) -> bool:
        """Whether ``source`` is a path with a table's suffix, or looks like a ``DataFrame``."""
        if isinstance(source, Path):
            return source.is_file() and source.suffix.lower() in (*_SEPARATORS, *_PARQUET)
        return hasattr(source, "columns") and hasattr(source, "iloc")

    def read(self, source: Any, *, text: str | None, label: str | None) -> RawData:
        """The named columns; see :meth:`Source.read`."""
        name = source.name if isinstance(source, Path) else "the table"
        wanted = [one for one in (text, label) if one is not None]
        frame = _open(source, wanted if text is not None else [])
        columns = [str(column) for column in frame.columns]
        if text is None:
            raise DataError(
                f"say which column of {name} holds the texts (--text COLUMN, or text=); "
                f"its columns are {columns}"
            )
        for column in wanted:
            if column not in columns:
                raise DataError(f"{name} has no column {column!r}; its columns are {columns}")
        labels = None if label is None else _labels(frame[label])
        return RawData(name=name, items=_texts(frame[text], name, text), labels=labels)


def _open(source: Any, wanted: list[str]) -> Any:
    """The wanted columns, or the header alone where one of them is not there."""
    if not isinstance(source, Path):
        return source
    try:
        import pandas  # type: ignore[import-untyped]  # imported here because listing the sources must stay light
    except ModuleNotFoundError as failure:
        raise MissingExtraError("pandas", "optimize") from failure
    try:
        if source.suffix.lower() in _PARQUET:
            return _open_parquet(source, wanted)
        return _open_csv(pandas, source, wanted)
    except (OSError, ValueError, pandas.errors.ParserError) as failure:
        reason = " ".join(str(failure).split())
        raise DataError(f"{source} cannot be read as a table: {reason}") from failure


def _open_csv(pandas: Any, path: Path, wanted: list[str]) -> Any:
    # Everything is read as text: a label called "NA" or "007" stays what it is.
    with path.open("rb") as file:
        marked = file.read(2) in _UTF_16_MARKS
    for encoding in ("utf-16", *_ENCODINGS) if marked else _ENCODINGS:
        settings = {
            "sep": _SEPARATORS[path.suffix.lower()],
            "dtype": str,
            "keep_default_na": False,
            "encoding": encoding,
        }
        try:
            header = pandas.read_csv(path, nrows=0, **settings)
            if not wanted or not set(wanted) <= set(header.columns):
                return header
            # Every column is read: with some left out, pandas cuts long rows short in silence.
            frame = pandas.read_csv(path, **settings)
            if not isinstance(frame.index, pandas.RangeIndex):
                raise ValueError(f"its rows have more fields than its header, {list(header)}")
            return frame
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes every byte")


def _open_parquet(path: Path, wanted: list[str]) -> Any:
    try:
        from pyarrow import parquet  # type: ignore[import-untyped]
    except ModuleNotFoundError as failure:
        raise MissingExtraError("pyarrow", "optimize") from failure
    schema = parquet.read_schema(path)
    if not wanted or not set(wanted) <= set(schema.names):
        return schema.empty_table().to_pandas()
    return parquet.read_table(path, columns=list(dict.fromkeys(wanted))).to_pandas()


def _texts(column: Any, name: str, called: str) -> list[str]:
    texts: list[str] = column.tolist()
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"column {called!r} of {name} must hold texts, and sample {index} is {text!r}"
            )
        if not text:
            raise DataError(f"column {called!r} of {name} has an empty text in sample {index}")
    return texts


def _labels(column: Any) -> Array:
    missing = np.asarray(column.isna())
    if missing.any():
        index = int(np.argmax(missing))
        raise DataError(f"the label of sample {index} is missing; fill it in or drop the sample")
    values = np.asarray(column.to_numpy())
    if values.dtype != object or not all(isinstance(value, str) for value in values):
        return values
    return values.astype(str)
