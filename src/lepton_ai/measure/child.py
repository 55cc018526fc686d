"""A child process that does the work that may crash, hang, leak, or disturb another's clock.

Thread pools of two engines in one process slow each other down, quantisers print, and a compiled
graph can end its process. So each candidate lives in a process of its own, which calls functions by
name and keeps what they return alive between calls. On Linux the child dies with its parent;
elsewhere it ends after the call that it is in.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lepton_ai import errors
from lepton_ai.errors import LeptonError, WorkerError

_PATIENCE_SECONDS = 5.0
_LAST_WORDS_BYTES = 1 << 16


class Child:
    """One child process, started at once; use as a context manager.

    ``environment`` adds to the environment that it has of its parent.
    """

    def __init__(
        self, log: Path, *, title: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.title = title
        self._log = log
        ours, theirs = Pipe()
        module = "lepton_ai.measure.child_main"
        with log.open("ab") as sink:
            self._log_begins = sink.tell()
            self._process = subprocess.Popen(
                # -P: a file in the working folder must not pass for a library.
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**_environment(), **(environment or {})},
            )
        theirs.close()
        self._connection: Connection[Any, Any] = ours

    def call(self, target: str, *arguments: Any, timeout: float) -> Any:
        """Run ``"module:function"`` with ``arguments`` in the child and return what it returns.

        Raises:
            LeptonError: the same kind that the function raised, with the same sentence.
            WorkerError: the child died, took longer than ``timeout`` seconds, or raised
                anything else.
        """
        try:
            self._connection.send((target, arguments))
            if not self._connection.poll(timeout):
                self.kill()
                raise WorkerError(f"{self.title} took longer than {timeout:.0f} s and was stopped")
            kind, value = self._connection.recv()
        except (EOFError, ConnectionError) as failure:
            raise WorkerError(f"{self.title} died: {self._epitaph()}") from failure
        if kind == "returned":
            return value
        raise _rebuild(kind, value)

    def kill(self) -> None:
        """End the child at once."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let the child go; end it when it does not leave by itself."""
        self._connection.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _epitaph(self) -> str:
        try:
            code = self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return "it stopped answering"
        if code < 0:
            return f"signal {signal.Signals(-code).name}"
        lines = self._last_words().strip().splitlines()
        return f"exit code {code}" + (f" ({lines[-1]})" if lines else "")

    def _last_words(self) -> str:
        """The end of what was printed since this child began; others write to the log as well."""
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_begins, size - _LAST_WORDS_BYTES))
            return log.read().decode(errors="replace")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}


def _rebuild(kind: str, sentence: str) -> LeptonError:
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, LeptonError):
        failure = known.__new__(known)
        Exception.__init__(failure, sentence)
        return failure
    return WorkerError(f"{kind}: {sentence}")
