"""What a search has learnt so far, on disk, so that a killed search goes on where it was.

One SQLite file per content key: model, data, metric, code and machine. A row is written when a
trial ends, in one transaction, so a kill loses at most the trial in flight.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lepton_ai
from lepton_ai.errors import OutputError

_LOCK_PATIENCE_SECONDS = 30.0
#: What makes graphs; the engines' versions are part of the machine's key.
_LIBRARIES = ("nncf", "numpy", "onnx", "onnx-ir", "onnxscript", "torch", "transformers")
_TABLES = """
CREATE TABLE IF NOT EXISTS trials (key TEXT PRIMARY KEY, record TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, record TEXT NOT NULL, at REAL NOT NULL);
"""


def cache_folder() -> Path:
    """Where Lepton keeps what it can make again: ``LEPTON_CACHE`` or ``~/.cache/lepton-ai``."""
    return Path(os.environ.get("LEPTON_CACHE") or Path.home() / ".cache" / "lepton-ai")


def content_key(parts: Iterable[str]) -> str:
    """One key for a search: every part, and the code that searches."""
    whole = hashlib.sha256(_code_key().encode())
    for part in parts:
        whole.update(b"\0" + part.encode())
    return whole.hexdigest()[:24]


def _code_key() -> str:
    whole = hashlib.sha256()
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            whole.update(f"{name} {version(name)};".encode())
    for file in sorted(Path(lepton_ai.__file__).parent.rglob("*.py")):
        whole.update(file.read_bytes())
    return whole.hexdigest()


class Journal:
    """The trials and finished results of one content key, in a folder with their files.

    Raises:
        OutputError: the cache folder cannot be written.
    """

    def __init__(self, key: str) -> None:
        self.folder = cache_folder() / "searches" / key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.executescript(_TABLES)
        except (OSError, sqlite3.OperationalError) as failure:
            raise OutputError(
                f"the cache folder {self.folder} cannot be written ({failure}); "
                "set LEPTON_CACHE to one that can"
            ) from failure
        except sqlite3.DatabaseError as failure:
            raise OutputError(
                f"the journal in {self.folder} is damaged ({failure}); delete that folder"
            ) from failure

    def trial(self, key: str) -> dict[str, Any] | None:
        """The record of a trial that has ended, if there is one."""
        return self._get("trials", key)

    def record_trial(self, key: str, record: dict[str, Any]) -> None:
        """Keep a trial's record."""
        self._put("trials", key, record)

    def result(self, key: str) -> dict[str, Any] | None:
        """The record of a finished search, if there is one."""
        return self._get("results", key)

    def record_result(self, key: str, record: dict[str, Any]) -> None:
        """Keep a finished search's record."""
        self._put("results", key, record)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "journal.sqlite", timeout=_LOCK_PATIENCE_SECONDS)

    def _get(self, table: str, key: str) -> dict[str, Any] | None:
        with closing(self._connect()) as connection:
            row = connection.execute(f"SELECT record FROM {table} WHERE key = ?", (key,)).fetchone()
        record: dict[str, Any] | None = json.loads(row[0]) if row else None
        return record

    def _put(self, table: str, key: str, record: dict[str, Any]) -> None:
        row = (key, json.dumps(record), time.time())
        with closing(self._connect()) as connection, connection:
            connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", row)
