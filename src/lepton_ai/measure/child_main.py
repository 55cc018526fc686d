"""What runs in a child process: calls come in over a pipe, answers go back; see ``child.py``."""

import ctypes
import signal
import sys
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from lepton_ai.errors import first_line

_PR_SET_PDEATHSIG = 1


def main(descriptor: int) -> None:
    """Serve calls on the pipe ``descriptor`` until the parent closes it."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    connection: Connection[Any, Any] = Connection(descriptor)
    while True:
        try:
            target, arguments = connection.recv()
        except EOFError:
            return
        connection.send(_answer(target, arguments))


def _answer(target: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    module, _, name = target.partition(":")
    try:
        return "returned", getattr(import_module(module), name)(*arguments)
    except MemoryError:
        return "WorkerError", "out of memory"
    except Exception as failure:  # the parent decides what it means
        return type(failure).__name__, first_line(failure)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
