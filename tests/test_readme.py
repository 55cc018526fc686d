"""Every code block of the README, the guide for contributors and the docs does what it says."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/rewriting.md", "docs/advising.md")
PATIENCE = 280
START_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced code block."""

    document: str
    line: int
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What a reader would type, without the prompts."""
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]


def blocks() -> Iterator[Block]:
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            yield Block(document=document, line=line, language=match[1], text=match[2])


BLOCKS = list(blocks())
CONSOLE = [block for block in BLOCKS if block.language in ("console", "bash")]
PYTHON = [block for block in BLOCKS if block.language == "python"]


def quicker(text: str) -> str:
    """The same commands with fewer minutes: those that are left over go to thinner networks."""
    return re.sub(r"(--minutes |minutes=)5\b", r"\g<1>1.5", text)


def name(block: Block) -> str:
    return f"{block.document}:{block.line}"


@pytest.fixture
def folder(digits: Path, tmp_path: Path) -> Path:
    """Where the reader stands: a model and data under the names that the README uses."""
    shutil.copytree(digits, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def variables(lepton_command: Path) -> dict[str, str]:
    path = os.pathsep.join([str(lepton_command.parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "COLUMNS": "100"}


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert {block.document for block in BLOCKS} == set(DOCUMENTS)
    assert [name(block) for block in BLOCKS if block not in CONSOLE + PYTHON] == []
    for block in CONSOLE:
        assert len(block.commands) == len(block.text.splitlines()), name(block)


@pytest.mark.parametrize("block", CONSOLE, ids=name)
def test_console(
    block: Block,
    folder: Path,
    variables: dict[str, str],
    digits_bundle: Path,
) -> None:
    if not any("lepton optimize" in command for command in block.commands):
        shutil.copytree(digits_bundle, folder / "model.lepton")
    port = free_port()
    with ExitStack() as running:
        for line in block.commands:
            command = quicker(line).replace("8000", str(port))
            if command.startswith("make "):
                check_make(command)
            elif command.endswith("&"):
                running.enter_context(background(command[:-1], folder, variables, port))
            else:
                run(command, folder, variables)


@pytest.mark.parametrize("block", PYTHON, ids=name)
def test_python(block: Block, folder: Path, variables: dict[str, str]) -> None:
    words = [sys.executable, "-c", quicker(block.text)]
    done = subprocess.run(
        words, cwd=folder, env=variables, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "MET" in done.stdout or "optimize" not in block.text


def test_install_commands_name_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    installs = re.findall(r"pip install '?\.(?:\[([\w,]+)\])?'?`", text)
    assert len(installs) == text.count("pip install")
    for extras in filter(None, installs):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_links_lead_somewhere() -> None:
    for document in (*DOCUMENTS, "docs/architecture.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", text):
            assert ((ROOT / document).parent / target).exists(), f"{document}: {target}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_demo_ends_well(variables: dict[str, str], tmp_path: Path) -> None:
    """The command behind ``make demo``, from weights and data to an answer over HTTP."""
    done = subprocess.run(
        ["lepton", "demo"], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=850
    )
    assert done.returncode == 0, done.stderr


def check_make(command: str) -> None:
    """``make`` knows the verb; running it from a test would run this test again."""
    done = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def run(command: str, folder: Path, variables: dict[str, str]) -> None:
    done = subprocess.run(
        shlex.split(command),
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"


@contextmanager
def background(
    command: str, folder: Path, variables: dict[str, str], port: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that goes on until the block ends; it must then end well when it is interrupted."""
    process = subprocess.Popen(shlex.split(command), cwd=folder, env=variables)
    try:
        wait_until_ready(process, port)
        yield process
        process.terminate()
        assert process.wait(30) in (0, -15)
    finally:
        process.kill()
        process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended before it was ready"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"nothing answers on port {port} after {START_SECONDS} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
