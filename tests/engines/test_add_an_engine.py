"""``docs/add-an-engine.md`` followed to the letter: its files written, its commands typed."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE = 280
#: A file's name in backquotes on a line of its own, and the block that is in it.
FILE = re.compile(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "add-an-engine.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def commands(page: str) -> list[str]:
    blocks = [text for language, text in BLOCK.findall(page) if language == "console"]
    return [line.removeprefix("$ ") for text in blocks for line in text.splitlines()]


@pytest.fixture(scope="module")
def files(page: str) -> dict[str, str]:
    return dict(FILE.findall(page))


@pytest.fixture(scope="module")
def project(
    files: dict[str, str], commands: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The page's files in a folder, installed as the page says into a folder of their own."""
    folder = tmp_path_factory.mktemp("abacus")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    [install] = [command for command in commands if "pip install" in command]
    # Offline, and without touching the environment that runs the tests.
    offline = "--quiet --no-deps --no-build-isolation --disable-pip-version-check --target packages"
    typed(install.replace("pip install", f"pip install {offline}"), folder)
    return folder


def typed(command: str, folder: Path) -> str:
    """What ``command`` prints in ``folder``, with what was installed there in sight."""
    beside = Path(sys.executable).parent
    path = os.pathsep.join([str(beside), os.environ["PATH"]])
    words = shlex.split(command)
    if words[0] == "python":
        words[0] = sys.executable
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(folder / "packages"), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_every_block_is_a_file_or_commands(page: str, files: dict[str, str]) -> None:
    blocks = [text for language, text in BLOCK.findall(page) if language != "console"]
    assert blocks == list(files.values())
    assert list(files) == ["lepton_abacus.py", "pyproject.toml", "test_abacus.py"]


def test_the_doctor_lists_it(project: Path, commands: list[str]) -> None:
    [command] = [command for command in commands if command.startswith("lepton doctor")]
    assert "abacus" in typed(command, project)
    engines = json.loads(typed(f"{command} --json", project))["engines"]
    [found] = [engine for engine in engines if engine["name"] == "abacus"]
    assert found["available"]
    assert found["precisions"] == ["fp32"]


def test_it_passes_its_test(project: Path, commands: list[str]) -> None:
    [command] = [command for command in commands if "pytest" in command]
    assert "1 passed" in typed(command, project)


def test_a_lapse_would_be_found(project: Path) -> None:
    """The same engine, had it been careless: the page's test is one that can fail."""
    careless = project / "careless"
    careless.mkdir()
    source = (project / "lepton_abacus.py").read_text(encoding="utf-8")
    assert "self._feed.check(inputs)" in source
    source = source.replace("self._feed.check(inputs)", "inputs['x'] *= 1")
    (careless / "lepton_abacus.py").write_text(source, encoding="utf-8")
    program = (
        "import sys; sys.path.insert(0, 'careless')\n"
        "from lepton_abacus import Abacus\n"
        "from lepton_ai.engines.conformance import check_engine\n"
        "print(*sorted({check.name for check in check_engine(Abacus(), reloads=0).failed}))"
    )
    found = typed(f"python -c {shlex.quote(program)}", project).split()
    assert {"missing", "wrong", "unknown"} <= set(found)


def test_it_is_used_by_its_name(project: Path, commands: list[str]) -> None:
    [command] = [command for command in commands if "--engine" in command]
    write_network(project / "model.onnx")
    step = json.loads(typed(f"{command} --json", project))["steps"][0]
    assert set(step["before"]) == {"abacus"}
    assert (project / "faster.onnx").exists()


def write_network(path: Path) -> None:
    """A network of operators that the page's engine has, one of them in vain."""
    import onnx
    from onnx import parser

    text = """<ir_version: 9, opset_import: ["" : 18]>
        net (float[n, 64] x) => (float[n, 64] y) <float[1] two = {2.0}, float[1] none = {0.0}>
        { a = Relu (x) b = Add (a, none) c = Mul (b, two) y = Softmax <axis = -1> (c) }"""
    onnx.save(parser.parse_model(text), path)
