"""The plans that engines propose for a graph, and what they do with them."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from lepton_ai.engines.engine import EnginePlan, default_engines, engines
from lepton_ai.engines.onnxruntime import OnnxRuntime
from lepton_ai.engines.onnxruntime_session import ARENA, EVERYTHING, SPINNING
from lepton_ai.engines.openvino import OpenVino
from lepton_ai.engines.processor import usable_cores
from lepton_ai.errors import EngineError

TOWERS = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 32] x) => (float[n, 32] y)
{
    a = MatMul (x, v)  b = Relu (a)  c = MatMul (b, v)
    d = MatMul (x, w)  e = Tanh (d)  f = MatMul (e, w)
    y = Add (c, f)
}
"""
CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 32] x) => (float[n, 32] y)
{ a = MatMul (x, v)  b = Relu (a)  y = MatMul (b, w) }
"""


def graph(folder: Path, text: str) -> Path:
    rng = np.random.default_rng(0)
    model = parser.parse_model(text)
    for name in "vw":
        values = rng.normal(size=(32, 32)).astype("f")
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


def test_branches_are_proposed_where_there_are_some(tmp_path):
    proposed = OnnxRuntime().plans(graph(tmp_path, TOWERS), EnginePlan(threads=2))
    assert EnginePlan(threads=1, branches=2) in proposed
    proposed = OnnxRuntime().plans(graph(tmp_path, CHAIN), EnginePlan(threads=2))
    assert all(plan.branches == 1 for plan in proposed)


@pytest.mark.parametrize("plan", [EnginePlan(branches=2), EnginePlan(without=(EVERYTHING,))])
def test_the_answers_are_those_of_any_other_plan(tmp_path, plan):
    path = graph(tmp_path, TOWERS)
    call = {"x": np.ones((3, 32), np.float32)}
    plain = OnnxRuntime().load(path, EnginePlan()).run(call)
    np.testing.assert_allclose(
        OnnxRuntime().load(path, plan).run(call)["y"], plain["y"], rtol=1e-5, atol=1e-5
    )


def test_an_engine_that_schedules_by_itself_says_so(tmp_path):
    with pytest.raises(EngineError, match="decides by itself"):
        OpenVino().load(graph(tmp_path, CHAIN), EnginePlan(branches=2))


def test_a_plan_survives_being_written_down():
    plan = EnginePlan(branches=2, streams=3, batch=4, pinning=False, device="cuda", without=("a",))
    assert EnginePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    older = {"threads": 1, "precision": "fp32", "without": [], "branches": 1}
    assert EnginePlan.from_json(older) == EnginePlan()


def test_a_plan_in_words_leaves_out_what_is_as_always():
    assert EnginePlan().words == ("1 thread",)
    plan = EnginePlan(threads=2, streams=2, batch=8, pinning=True, device="cuda", without=("a",))
    assert " ".join(plan.words) == "on cuda 2 threads 2 streams batch 8 pinned without a"


def test_a_plan_from_a_larger_machine_is_made_to_fit():
    plan = EnginePlan(threads=4, branches=2, streams=8)
    assert plan.within(64) == plan
    assert plan.within(16) == EnginePlan(threads=4, branches=2, streams=2)
    assert plan.within(4) == EnginePlan(threads=4)
    assert EnginePlan(streams=64).within(6) == EnginePlan(streams=6)


@pytest.mark.parametrize("name", [engine.name for engine in default_engines()])
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"threads": usable_cores() + 1}, "there are .* cores; ask for fewer"),
        ({"streams": usable_cores(), "branches": 2}, "there are .* cores; ask for fewer"),
        ({"threads": 0}, "threads wants a whole number from 1 on, and 0 came"),
        ({"batch": 1.5}, r"batch wants a whole number from 1 on, and 1\.5 came"),
        ({"pinning": "yes"}, "pinning wants true, false or null"),
        ({"device": "abacus"}, "abacus"),
        ({"precision": "int3"}, "int3"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(tmp_path, name, wrong, sentence):
    path = graph(tmp_path, CHAIN)
    with pytest.raises(EngineError, match=sentence):
        engines.get(name)().load(path, EnginePlan(**wrong))


def test_throughput_comes_from_calls_side_by_side_and_stacked(tmp_path):
    path = graph(tmp_path, CHAIN)
    plan = EnginePlan(threads=8)
    found = OnnxRuntime().throughput_plans(path, plan)
    assert EnginePlan(threads=1, streams=8) in found
    assert EnginePlan(threads=1, streams=8, batch=16) in found
    assert EnginePlan(threads=8, batch=4) in found
    assert plan not in found
    assert all(each.cores == 8 for each in found)
    assert len(set(found)) == len(found)


def test_a_fixed_batch_is_not_stacked(tmp_path):
    path = graph(tmp_path, CHAIN.replace("float[n, 32]", "float[1, 32]"))
    assert all(p.batch == 1 for p in OpenVino().throughput_plans(path, EnginePlan(threads=4)))


def test_an_engine_that_runs_one_call_at_a_time_proposes_no_streams(tmp_path):
    class Alone(OnnxRuntime):
        parallel = False

    found = Alone().throughput_plans(graph(tmp_path, CHAIN), EnginePlan(threads=4))
    assert {plan.streams for plan in found} == {1}


@pytest.mark.skipif(usable_cores() < 2, reason="one core runs one call at a time")
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_two_streams_run_two_calls_at_once(tmp_path, name):
    """Whoever runs first waits for the other: with one at a time, neither would end."""
    executable = engines.get(name)().load(graph(tmp_path, CHAIN), EnginePlan(streams=2))
    turns = executable._turns
    held = [turns.take(), turns.take()]
    for one in held:
        turns.give(one)
    both = threading.Barrier(2, timeout=20)
    take = turns.take

    def together():
        thing = take()
        both.wait()
        return thing

    turns.take = together
    calls = [np.full((2, 32), value, np.float32) for value in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda x: executable.run({"x": x})["y"], calls))
    turns.take = take
    for x, answer in zip(calls, answers, strict=True):
        np.testing.assert_array_equal(executable.run({"x": x})["y"], answer)
    assert not np.array_equal(*answers)


FIRST_CALLS = """
import sys, threading
import numpy as np
from pathlib import Path
from lepton_ai.engines.engine import EnginePlan, engines

sys.setswitchinterval(1e-6)
executable = engines.get(sys.argv[1])().load(Path(sys.argv[2]), EnginePlan(streams=2))
both = threading.Barrier(2)

def call():
    both.wait()
    executable.run({"x": np.ones((2, 32), np.float32)})

threads = [threading.Thread(target=call) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.skipif(usable_cores() < 2, reason="one core runs one call at a time")
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_the_first_two_calls_of_a_process_may_come_at_once(tmp_path, name):
    """OpenVINO's bindings make a table in the first call; two first calls locked each other out."""
    words = [sys.executable, "-c", FIRST_CALLS, name, str(graph(tmp_path, CHAIN))]
    for _ in range(4):
        subprocess.run(words, check=True, timeout=60)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_what_was_closed_refuses(tmp_path, name):
    executable = engines.get(name)().load(graph(tmp_path, CHAIN), EnginePlan())
    executable.run({"x": np.ones((1, 32), np.float32)})
    executable.close()
    executable.close()
    with pytest.raises(EngineError, match="was closed"):
        executable.run({"x": np.ones((1, 32), np.float32)})


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("onnxruntime", EnginePlan(threads=min(2, usable_cores()), pinning=True)),
        ("onnxruntime", EnginePlan(without=(ARENA, SPINNING))),
        ("openvino", EnginePlan(pinning=True)),
        ("openvino", EnginePlan(pinning=False)),
    ],
)
def test_how_threads_and_memory_are_kept_does_not_change_answers(tmp_path, name, plan):
    path, engine = graph(tmp_path, TOWERS), engines.get(name)()
    call = {"x": np.ones((3, 32), np.float32)}
    plain = engine.load(path, EnginePlan()).run(call)["y"]
    np.testing.assert_allclose(engine.load(path, plan).run(call)["y"], plain, rtol=1e-5)
