"""The command line as a whole, by the real command: help, versions, and how failures are told."""

import os
from pathlib import Path
from typing import Any

import pytest

#: A plug-in's commands, each failing in a way of its own, entered by the plug-ins' own door.
PLUGIN = '''
"""Commands that fail."""
from lepton_ai.errors import DataError, EngineError

def mistake(json: bool = False):
    """Fail by the caller's mistake."""
    raise DataError("wanted 3 columns,\\n  and 2 came")

def breakage():
    """Fail by an engine."""
    raise EngineError("the engine refuses the graph")

def full():
    """Find the disk full."""
    import errno
    raise OSError(errno.ENOSPC, "No space left on device")

def crash():
    """Fail by a bug."""
    raise ZeroDivisionError("division by zero")

def interrupt():
    """Be interrupted."""
    raise KeyboardInterrupt

def absent():
    """Need a package that is not there."""
    import no_such_package.inside

def missed():
    """End with a code of its own."""
    import typer
    raise typer.Exit(3)
'''
NAMES = ("mistake", "breakage", "full", "crash", "interrupt", "absent", "missed")


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    """A folder for ``PYTHONPATH`` that holds an installed plug-in."""
    folder = tmp_path / "plugin"
    record = folder / "failing-1.0.dist-info"
    record.mkdir(parents=True)
    (folder / "failing.py").write_text(PLUGIN)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: failing\nVersion: 1.0\n")
    points = "\n".join(f"{name} = failing:{name}" for name in NAMES)
    (record / "entry_points.txt").write_text(f"[lepton_ai.commands]\n{points}\n")
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))


def test_version(lepton: Any) -> None:
    from lepton_ai import __version__

    done = lepton("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"lepton {__version__}")


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_every_command(lepton: Any, words: tuple[str, ...]) -> None:
    from lepton_ai.cli import commands

    done = lepton(*words)
    assert [name for name in commands.names() if name not in done.stdout + done.stderr] == []
    assert done.returncode == (0 if words else 2)


def test_every_command_has_help(lepton: Any) -> None:
    from lepton_ai.cli import commands

    for name in commands.names():
        done = lepton(name, "--help")
        assert done.returncode == 0, done.stderr
        assert f"lepton {name}" in done.stdout


@pytest.mark.parametrize("words", [("optimise",), ("doctor", "--jsn"), ("doctor", "surplus")])
def test_bad_usage_exits_with_2(lepton: Any, words: tuple[str, ...]) -> None:
    done = lepton(*words)
    assert done.returncode == 2
    assert words[-1] in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("mistake", 2, "lepton: wanted 3 columns, and 2 came\n"),
        ("breakage", 1, "lepton: the engine refuses the graph\n"),
        ("missed", 3, ""),
        (
            "full",
            1,
            "lepton: [Errno 28] No space left on device; free some space, and run the same "
            "command again\n",
        ),
    ],
)
def test_failure_is_one_sentence(
    lepton: Any, plugin: str, name: str, code: int, sentence: str
) -> None:
    done = lepton(name, PYTHONPATH=plugin)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", sentence)


def test_interrupt_exits_with_130(lepton: Any, plugin: str) -> None:
    done = lepton("interrupt", PYTHONPATH=plugin)
    assert (done.returncode, done.stderr) == (130, "lepton: interrupted\n")


def test_failure_with_json_prints_nothing_else(lepton: Any, plugin: str) -> None:
    done = lepton("mistake", "--json", PYTHONPATH=plugin)
    assert (done.returncode, done.stdout) == (2, "")


def test_bug_is_called_a_bug(lepton: Any, plugin: str) -> None:
    done = lepton("crash", PYTHONPATH=plugin)
    assert done.returncode == 1
    assert "a bug in Lepton (ZeroDivisionError: division by zero)" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_debug_shows_where_it_was(lepton: Any, plugin: str) -> None:
    done = lepton("crash", PYTHONPATH=plugin, LEPTON_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "in crash" in done.stderr


def test_missing_package_names_the_command_that_adds_it(lepton: Any, plugin: str) -> None:
    done = lepton("absent", PYTHONPATH=plugin)
    assert done.returncode == 2
    assert "no_such_package is needed" in done.stderr
    assert "pip install 'lepton-ai[all]'" in done.stderr


def test_plugin_commands_are_listed(lepton: Any, plugin: str) -> None:
    done = lepton("--help", PYTHONPATH=plugin)
    assert "Fail by the caller's mistake." in done.stdout
