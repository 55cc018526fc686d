import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lepton_ai.errors import DataError, EngineError, WorkerError
from lepton_ai.measure.child import Child


@pytest.fixture
def child(tmp_path):
    with Child(tmp_path / "log.txt", title="the child") as started:
        yield started


def test_it_returns_what_the_function_returns(child):
    assert child.call("math:sqrt", 9.0, timeout=30) == 3.0


def test_it_keeps_state_between_calls(child):
    assert child.call("os:getpid", timeout=30) == child.call("os:getpid", timeout=30) != os.getpid()


def test_a_failure_comes_back_as_the_same_kind(child):
    with pytest.raises(EngineError, match="precision"):
        child.call(
            "lepton_ai.measure.bench_process:load",
            "onnxruntime",
            "nowhere.onnx",
            {"threads": 1, "precision": "the precision"},
            timeout=60,
        )


def test_any_other_failure_is_a_worker_error_with_its_kind(child):
    with pytest.raises(WorkerError, match="ValueError: "):
        child.call("math:sqrt", -1.0, timeout=30)
    assert child.call("math:sqrt", 4.0, timeout=30) == 2.0


def test_a_crash_names_its_signal(child):
    with pytest.raises(WorkerError, match="the child died: signal SIGSEGV"):
        child.call("os:kill", child.call("os:getpid", timeout=30), int(signal.SIGSEGV), timeout=30)


def test_a_hang_is_stopped(child):
    start = time.monotonic()
    with pytest.raises(WorkerError, match="took longer than 1 s"):
        child.call("time:sleep", 60, timeout=1)
    assert time.monotonic() - start < 20


def test_what_it_prints_goes_to_the_log(child, tmp_path, capfd):
    child.call("builtins:print", "hello from below", timeout=30)
    assert capfd.readouterr().out == ""
    assert "hello from below" in (tmp_path / "log.txt").read_text()


def test_a_file_in_the_working_folder_does_not_pass_for_a_library(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    with Child(tmp_path / "log.txt", title="the child") as started:
        assert started.call("numpy:sqrt", 9.0, timeout=30) == 3.0


def test_its_last_words_are_its_own(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("somebody else's words\n")
    with (
        Child(log, title="the child") as silent,
        pytest.raises(WorkerError, match=r"died: exit code 3$"),
    ):
        silent.call("os:_exit", 3, timeout=30)
    with Child(log, title="the child") as talker:
        talker.call("builtins:print", "its own", timeout=30)
        with pytest.raises(WorkerError, match=r"exit code 3 \(its own\)"):
            talker.call("os:_exit", 3, timeout=30)


def test_errors_of_two_kinds_are_rebuilt_without_their_own_arguments(tmp_path):
    from lepton_ai.measure.child import _rebuild

    failure = _rebuild("MissingExtraError", "pip install it")
    assert str(failure) == "pip install it"
    assert isinstance(_rebuild("DataError", "no"), DataError)
    assert isinstance(_rebuild("NoSuchError", "no"), WorkerError)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is told on Linux alone")
def test_it_dies_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from lepton_ai.measure.child import Child;"
        f"c = Child(Path({str(tmp_path / 'log.txt')!r}), title='c');"
        "print(c.call('os:getpid', timeout=30), flush=True);"
        "c.call('time:sleep', 100, timeout=200)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
