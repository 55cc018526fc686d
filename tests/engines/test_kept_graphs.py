"""What ONNX Runtime and OpenVINO keep of a graph, and load again."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from lepton_ai.engines import onnxruntime_session, openvino
from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.errors import EngineError

KEEPERS = ["onnxruntime", "openvino"]
X = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 64] x) => (float[n, 64] y, int64[n] k)
{ a = MatMul (x, v) b = Relu (a) y = MatMul (b, w) k = ArgMax <axis = 1, keepdims = 0> (y) }
"""


@pytest.fixture(params=KEEPERS)
def engine(request):
    return engines.get(request.param)()


@pytest.fixture(params=["inside", "beside"])
def graph(request, tmp_path) -> Path:
    """A graph with its weights inside it, or in a file beside it."""
    model = parser.parse_model(TEXT)
    for seed, name in enumerate("vw"):
        values = np.random.default_rng(seed).normal(size=(64, 64)).astype("f")
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    path = tmp_path / "net.onnx"
    beside = {"save_as_external_data": True, "location": "net.data", "size_threshold": 0}
    onnx.save(model, path, **(beside if request.param == "beside" else {}))
    return path


def uncompiled(monkeypatch) -> None:
    """From here on, compiling a graph from its file fails the test."""

    def fail(*_: object, **__: object) -> None:
        pytest.fail("the graph is compiled")

    plain = onnxruntime_session.open_session

    def kept_only(source, plan, ask=None):
        return plain(source, plan, ask) if "graph.onnx" in str(source) else fail()

    monkeypatch.setattr(openvino, "_compile", fail)
    monkeypatch.setattr(onnxruntime_session, "open_session", kept_only)


def test_what_was_kept_answers_to_the_bit(engine, graph, tmp_path, monkeypatch):
    plan = EnginePlan()
    fresh = engine.load(graph, plan).run({"x": X})
    first = engine.load(graph, plan, tmp_path / "cache").run({"x": X})
    uncompiled(monkeypatch)
    again = engine.load(graph, plan, tmp_path / "cache").run({"x": X})
    for answer in (first, again):
        assert list(answer) == ["y", "k"]
        for name, value in fresh.items():
            np.testing.assert_array_equal(answer[name], value)


def test_what_was_kept_does_not_need_the_original_weights_again(engine, graph, tmp_path):
    held = engine.load(graph, EnginePlan(), tmp_path / "cache")
    again = engine.load(graph, EnginePlan(), tmp_path / "cache")
    wanted = held.run({"x": X})["y"]
    for file in (tmp_path / "cache").rglob("*"):
        if file.is_file():
            file.unlink()  # as when others tidy up: what is mapped stays
    np.testing.assert_array_equal(again.run({"x": X})["y"], wanted)


def test_rubbish_in_its_place_is_not_loaded(engine, graph, tmp_path):
    wanted = engine.load(graph, EnginePlan(), tmp_path / "cache").run({"x": X})["y"]
    kept = [file for file in (tmp_path / "cache").glob("*/*/*") if file.name != "entry.json"]
    assert kept
    for file in kept:
        file.write_bytes(b"rubbish")
    again = engine.load(graph, EnginePlan(), tmp_path / "cache")
    np.testing.assert_array_equal(again.run({"x": X})["y"], wanted)


def test_a_cache_in_the_way_of_nothing(engine, graph, tmp_path):
    (tmp_path / "file").write_text("no folder")
    executable = engine.load(graph, EnginePlan(), tmp_path / "file" / "cache")
    assert executable.run({"x": X})["y"].shape == (3, 64)


def test_a_refusal_is_the_same_with_a_cache(engine, tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph at all")
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(EngineError, match=f"{engine.name} refuses the graph"):
            engine.load(path, EnginePlan(), cache)
        with pytest.raises(EngineError, match=f"{engine.name} refuses the graph"):
            engine.load(tmp_path / "nothing.onnx", EnginePlan(), cache)


MEMORY = """
import sys, psutil
from pathlib import Path
import numpy as np
from lepton_ai.engines.engine import EnginePlan, engines
resident = psutil.Process().memory_info
engine = engines.get(sys.argv[1])()
def once():
    executable = engine.load(Path(sys.argv[2]), EnginePlan())
    executable.run({"x": np.ones((1, 2048), np.float32)})
    held = resident().rss
    executable.close()
    return held - resident().rss
once()  # libraries stay
print(once())
"""


@pytest.mark.parametrize("name", KEEPERS)
def test_closing_gives_the_weights_back(name, large_graph):
    command = [sys.executable, "-c", MEMORY, name, str(large_graph)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert int(done.stdout) > 0.9 * (4 * 2048 * 2048), done.stderr
