"""A graph compiled for one number of samples, and for any other when one comes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.onnxruntime import OnnxRuntime
from lepton_ai.engines.openvino import OpenVino
from lepton_ai.engines.processor import usable_cores
from lepton_ai.errors import EngineError

CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[SAMPLES, 32] x) => (float[SAMPLES, 32] y)
{ a = MatMul (x, v)  b = Relu (a)  y = MatMul (b, v) }
"""


def graph(folder: Path, samples: str = "n", seed: int = 0) -> Path:
    model = parser.parse_model(CHAIN.replace("SAMPLES", samples))
    weights = np.random.default_rng(seed).normal(size=(32, 32)).astype("f")
    model.graph.initializer.append(numpy_helper.from_array(weights, "v"))
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("cached", [False, True])
def test_a_graph_for_one_number_of_samples_answers_any_other_too(tmp_path, cached):
    path = graph(tmp_path)
    cache = tmp_path / "cache" if cached else None
    general = OpenVino().load(path, EnginePlan())
    for _ in range(1 + cached):
        fixed = OpenVino().load(path, EnginePlan(batch=2, fixed_batch=True), cache)
        for samples in (2, 1, 2, 5):
            call = {"x": np.random.default_rng(samples).normal(size=(samples, 32)).astype("f")}
            answer = fixed.run(call)["y"]
            np.testing.assert_allclose(answer, general.run(call)["y"], rtol=1e-5, atol=1e-6)
        fixed.close()
        with pytest.raises(EngineError, match="was closed"):
            fixed.run(call)


@pytest.mark.skipif(usable_cores() < 2, reason="one core runs one call at a time")
def test_calls_of_all_sizes_at_once_compile_the_others_once(tmp_path):
    executable = OpenVino().load(graph(tmp_path), EnginePlan(streams=2, fixed_batch=True))
    made, compile_general = [], executable._compile_general
    executable._compile_general = lambda: made.append(compile_general()) or made[-1]
    calls = [{"x": np.full((1 + n % 3, 32), n, np.float32)} for n in range(60)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(executable.run, calls))
    assert len(made) == 1
    plain = OpenVino().load(graph(tmp_path), EnginePlan())
    for call, answer in zip(calls, answers, strict=True):
        np.testing.assert_allclose(answer["y"], plain.run(call)["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({}, "'x' is missing"),
        ({"x": 3}, "'x' wants a NumPy array"),
        ({"x": np.ones((1, 31), "f")}, "'x' wants the shape"),
        ({"x": np.ones((3, 31), "f")}, "'x' wants the shape"),
        ({"x": np.ones((1, 32))}, "'x' wants float32"),
        ({"x": np.ones((0, 32), "f")}, "'x' has no samples"),
    ],
)
def test_a_graph_for_one_number_of_samples_tells_what_does_not_fit(tmp_path, call, why):
    executable = OpenVino().load(graph(tmp_path), EnginePlan(fixed_batch=True))
    with pytest.raises(EngineError, match=why):
        executable.run(call)


def test_a_fixed_number_of_samples_is_refused_where_there_is_none(tmp_path):
    with pytest.raises(EngineError, match="has no fixed_batch; leave it out"):
        OnnxRuntime().load(graph(tmp_path), EnginePlan(fixed_batch=True))
    with pytest.raises(EngineError, match="a free number of samples to fix"):
        OpenVino().load(graph(tmp_path, "4"), EnginePlan(fixed_batch=True))


def test_a_graph_that_was_exchanged_in_the_meantime_is_not_mixed_with_the_one_that_was_loaded(
    tmp_path,
):
    executable = OpenVino().load(graph(tmp_path), EnginePlan(fixed_batch=True))
    graph(tmp_path, seed=1)
    one, three = ({"x": np.ones((samples, 32), np.float32)} for samples in (1, 3))
    executable.run(one)
    with pytest.raises(EngineError, match="no longer the graph that was loaded"):
        executable.run(three)


def test_a_plan_says_true_or_false(tmp_path):
    with pytest.raises(EngineError, match="fixed_batch wants true or false, and 'no' came"):
        OpenVino().load(graph(tmp_path), EnginePlan(fixed_batch="no"))
