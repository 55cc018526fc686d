"""A bundle made here runs and is served where only the base install is: no torch, no compiler."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lepton_ai

#: What makes bundles, and must not be needed to run them.
NOT_IN_BASE = ("torch", "onnx", "onnx_ir", "onnxscript", "nncf", "transformers", "sklearn", "scipy")
INSTALL_SECONDS = 270


@pytest.fixture(scope="module")
def base(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of a fresh environment with the base install, at the locked versions."""
    folder = tmp_path_factory.mktemp("base")
    copy = folder / "project"  # a build writes beside what it builds
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(repository / "src", copy / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, copy)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    binaries = folder / "venv" / "bin"
    words = ["-m", "pip", "install", "--disable-pip-version-check", "--no-compile", "--quiet"]
    words += ["--constraint", str(repository / "requirements.lock"), str(copy)]
    done = subprocess.run(
        [binaries / "python", *words], capture_output=True, text=True, timeout=INSTALL_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return binaries


@pytest.fixture
def variables() -> dict[str, str]:
    """The environment of a process that must see nothing of this one's packages."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {key: value for key, value in os.environ.items() if key not in hidden}


@pytest.fixture
def inputs(digits: Path) -> Any:
    return np.load(digits / "val.npz")["x"][:3]


@pytest.fixture
def wanted(digits_bundle: Path, inputs: Any) -> Any:
    """What the bundle answers in the environment that made it."""
    with lepton_ai.load(digits_bundle) as net:
        return np.concatenate([net.run({"x": inputs[i : i + 1]})["scores"] for i in range(3)])


def test_what_makes_bundles_is_not_there(base: Path, variables: dict[str, str]) -> None:
    program = (
        "import json, sys; from importlib.util import find_spec\n"
        "print(json.dumps([name for name in sys.argv[1:] if find_spec(name)]))"
    )
    done = subprocess.run(
        [base / "python", "-c", program, *NOT_IN_BASE], env=variables, capture_output=True
    )
    assert json.loads(done.stdout) == []


def test_bundle_runs(
    base: Path, variables: dict[str, str], digits_bundle: Path, inputs: Any, wanted: Any
) -> None:
    program = (
        "import json, sys, warnings\n"
        "warnings.simplefilter('error')\n"
        "import numpy as np, lepton_ai as lepton\n"
        "assert 'project' not in lepton.__file__, lepton.__file__\n"
        "net = lepton.load(sys.argv[1])\n"
        "rows = [np.array([row], np.float32) for row in json.load(sys.stdin)]\n"
        "print(json.dumps([net.run({'x': row})['scores'][0].tolist() for row in rows]))"
    )
    done = subprocess.run(
        [base / "python", "-c", program, digits_bundle],
        env=variables,
        input=json.dumps(inputs.tolist()),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), wanted, rtol=1e-4, atol=1e-4)


def test_bundle_is_verified(base: Path, variables: dict[str, str], digits_bundle: Path) -> None:
    words = [base / "lepton", "verify", digits_bundle, "--json"]
    done = subprocess.run(words, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["replayed"] >= 1


@pytest.fixture
def address(base: Path, variables: dict[str, str], digits_bundle: Path) -> Iterator[str]:
    """Where ``lepton serve`` of the base install answers."""
    words = [base / "lepton", "serve", digits_bundle, "--port", "0"]
    server = subprocess.Popen(
        words, env={**variables, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        where = server.stdout.readline().rsplit(maxsplit=1)[-1]
        wait_until_ready(server, where)
        yield where
        server.terminate()
        assert server.wait(30) in (0, -15)
    finally:
        server.kill()
        server.wait()


def wait_until_ready(server: subprocess.Popen[str], address: str) -> None:
    for _ in range(100):
        assert server.poll() is None, "the server ended before it was ready"
        try:
            urllib.request.urlopen(f"{address}/v2/health/ready", timeout=5)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"nothing answers at {address}")


def test_bundle_is_served(address: str, inputs: Any, wanted: Any, digits_bundle: Path) -> None:
    name = json.loads((digits_bundle / "manifest.json").read_text())["name"]
    for row, scores in zip(inputs, wanted, strict=True):
        tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": row.tolist()}
        request = urllib.request.Request(
            f"{address}/v2/models/{name}/infer",
            data=json.dumps({"inputs": [tensor]}).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            outputs = {output["name"]: output for output in json.load(answer)["outputs"]}
        np.testing.assert_allclose(outputs["scores"]["data"], scores, rtol=1e-4, atol=1e-4)


def test_doctor_says_what_is_missing(base: Path, variables: dict[str, str]) -> None:
    words = [base / "lepton", "doctor", "--json"]
    done = subprocess.run(words, env=variables, capture_output=True, text=True)
    extras = {extra["name"]: extra for extra in json.loads(done.stdout)["extras"]}
    assert "torch" in extras["train"]["missing"]
    assert extras["optimize"]["remedy"] == "pip install 'lepton-ai[optimize]'"


def test_optimize_says_how_to_get_it(
    base: Path, variables: dict[str, str], digits: Path, tmp_path: Path
) -> None:
    words = [base / "lepton", "optimize", digits / "model.onnx", "--data", digits / "val.npz"]
    words += ["-o", tmp_path / "out.lepton"]
    done = subprocess.run(words, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "pip install 'lepton-ai[" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
