"""What several rooms stand on in tests: the command line, and a small real model with data."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

#: Seconds after which a command that should have ended is taken to hang.
PATIENCE = 280


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the whole run and for nothing else: a search is done once, and really done."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def lepton_command() -> Path:
    """The console script of the environment that runs the tests."""
    command = Path(sys.executable).parent / "lepton"
    assert command.exists(), f"lepton-ai is not installed beside {sys.executable}"
    return command


@pytest.fixture
def lepton(lepton_command: Path, tmp_path: Path) -> Run:
    """Run the real command line in ``tmp_path``: ``lepton("verify", bundle, OPTION="1")``."""

    def run(*words: Any, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(lepton_command), *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "100", **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    return run


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model.onnx``, a network trained on handwritten digits, and ``val.npz``.

    The model maps ``x`` float32 [batch, 64] to ``scores`` [batch, 10]; the data are 900 digits
    that it was not trained on.
    """
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    folder = tmp_path_factory.mktemp("digits")
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(pixels))
    seen, unseen = order[900:], order[:900]
    network = MLPClassifier((64,), learning_rate_init=0.01, max_iter=25, random_state=0)
    with warnings.catch_warnings(), threadpool_limits(1):  # so small that threads only wait
        warnings.simplefilter("ignore")  # that it could be trained for longer
        network.fit(pixels[seen], labels[seen])
    _write_onnx(folder / "model.onnx", network.coefs_, network.intercepts_)
    np.savez(folder / "val.npz", x=pixels[unseen], labels=labels[unseen])
    return folder


def _write_onnx(path: Path, weights: list[Any], biases: list[Any]) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, current = [], [], "x"
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        constants.append(numpy_helper.from_array(weight.astype(np.float32), f"weight_{layer}"))
        constants.append(numpy_helper.from_array(bias.astype(np.float32), f"bias_{layer}"))
        last = layer == len(weights) - 1
        result = "scores" if last else f"hidden_{layer}"
        operands = [current, f"weight_{layer}", f"bias_{layer}"]
        nodes.append(helper.make_node("Gemm", operands, [result], name=f"layer_{layer}"))
        current = result
        if not last:
            nodes.append(helper.make_node("Relu", [result], [f"active_{layer}"], name=f"r{layer}"))
            current = f"active_{layer}"
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@pytest.fixture(scope="session")
def digits_bundle(
    digits: Path, lepton_command: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The digits model as ``lepton optimize`` ships it; copy it before changing it."""
    bundle = tmp_path_factory.mktemp("shipped") / "digits.lepton"
    words = ["optimize", "model.onnx", "--data", "val.npz", "--minutes", "1.5", "-o", str(bundle)]
    done = subprocess.run(
        [str(lepton_command), *words], cwd=digits, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return bundle
