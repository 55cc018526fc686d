"""A search that is killed at any moment goes on where it was, and leaves nothing half-written."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

PATIENCE = 200


@pytest.fixture
def search(digits, lepton_command, tmp_path):
    """Start ``lepton optimize`` on the digits with a cache of its own."""
    environment = {**os.environ, "LEPTON_CACHE": str(tmp_path / "cache")}
    words = ["optimize", str(digits / "model.onnx"), "--data", str(digits / "val.npz")]
    log = tmp_path / "progress.txt"

    def start() -> subprocess.Popen[bytes]:
        with log.open("wb") as sink:
            return subprocess.Popen(
                [str(lepton_command), *words, "--minutes", "1.5", "-o", "out/digits.lepton"],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=sink,
            )

    (tmp_path / "out").mkdir()
    return start, log


def kill_when(search, seen: Callable[[], bool]) -> None:
    process = search()
    deadline = time.monotonic() + PATIENCE
    while not seen():
        assert process.poll() is None, "the search ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def journalled(folder: Path) -> dict[str, float]:
    """When each trial was recorded, by its key."""
    found: dict[str, float] = {}
    for file in folder.glob("cache/searches/*/journal.sqlite"):
        with closing(sqlite3.connect(file)) as connection:
            try:
                found |= dict(connection.execute("SELECT key, at FROM trials").fetchall())
            except sqlite3.OperationalError:  # its tables are not there yet
                continue
    return found


def test_a_killed_search_goes_on_from_its_journal(search, tmp_path, lepton):
    start, log = search
    out = tmp_path / "out"
    kill_when(start, lambda: len(journalled(tmp_path)) >= 3)
    first = journalled(tmp_path)
    assert list(out.iterdir()) == []

    kill_when(start, lambda: b"last race" in log.read_bytes())
    second = journalled(tmp_path)
    assert first.items() <= second.items(), "a trial that had ended was done again"
    assert list(out.iterdir()) == []

    process = start()
    assert process.wait(PATIENCE) == 0, log.read_text()
    assert second.items() <= journalled(tmp_path).items(), "a trial that had ended was done again"
    assert [path.name for path in out.iterdir()] == ["digits.lepton"]
    assert lepton("verify", "out/digits.lepton").returncode == 0


def test_the_same_search_again_returns_at_once(search, tmp_path, lepton):
    start, log = search
    assert start().wait(PATIENCE) == 0, log.read_text()
    (tmp_path / "out" / "digits.lepton").rename(tmp_path / "out" / "first.lepton")
    began = time.monotonic()
    assert start().wait(PATIENCE) == 0, log.read_text()
    assert b"plain engines" not in log.read_bytes()
    assert time.monotonic() - began < 30
    assert lepton("verify", "out/digits.lepton").returncode == 0
