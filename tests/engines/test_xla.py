"""The XLA engine beyond what conformance asks: refusals, threads, what it keeps and lets go."""

import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx_ir as ir
import pytest

jax = pytest.importorskip("jax")

from lepton_ai.engines import xla_executable  # noqa: E402
from lepton_ai.engines.engine import EnginePlan  # noqa: E402
from lepton_ai.engines.processor import usable_cores  # noqa: E402
from lepton_ai.engines.xla import Xla  # noqa: E402
from lepton_ai.errors import EngineError, EngineUnavailableError  # noqa: E402

HEAD = '<ir_version: 9, opset_import: ["" : 18]>'
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(32, 48)).astype(np.float32)
X = RNG.normal(size=(5, 32)).astype(np.float32)
PLAN = EnginePlan()


def save(path, text, **weights):
    tensors = [ir.tensor(array, name=name) for name, array in weights.items()]
    ir.save(ir.from_onnx_text(f"{HEAD} g {text}", initializers=tensors), path)
    return path


@pytest.fixture
def dense(tmp_path):
    text = """(float[n, 32] x) => (float[n, 48] y, int64[n] k) {
        h = MatMul (x, w)
        y = Relu (h)
        k = ArgMax <axis = -1, keepdims = 0> (h)
    }"""
    return save(tmp_path / "dense.onnx", text, w=WEIGHT)


def check_dense(executable, x=X):
    answer = executable.run({"x": x})
    hidden = x @ WEIGHT
    np.testing.assert_allclose(answer["y"], np.maximum(hidden, 0), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(answer["k"], hidden.argmax(-1))
    assert answer["k"].dtype == np.int64


def test_any_number_of_rows(dense):
    executable = Xla().load(dense, PLAN)
    for rows in (1, 5, 2, 5):
        check_dense(executable, X[:rows])
    assert executable.platforms() == ("cpu",)


def test_other_users_of_jax_keep_their_dtypes_and_settings(dense, tmp_path):
    before = {
        name: getattr(jax.config, name) for name in ("jax_enable_x64", "jax_compilation_cache_dir")
    }
    check_dense(Xla().load(dense, PLAN, tmp_path / "cache"))
    assert {name: getattr(jax.config, name) for name in before} == before
    assert jax.numpy.zeros(1).dtype == np.float32
    assert "PJRT_NPROC" not in os.environ


def test_answers_can_be_written_to_and_are_kept(dense):
    executable = Xla().load(dense, PLAN)
    first = executable.run({"x": X})
    first["y"][:] = 7
    check_dense(executable)
    assert (first["y"] == 7).all()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "x"),
        ({"x": X, "extra": X}, "extra"),
        ({"x": X.astype(np.float64)}, "'x' is float32, and float64 came"),
        ({"x": X[:, :31]}, r"x: float32\[n, 32\].*\(5, 31\)"),
        ({"x": X[0]}, "2 axes"),
        ({"x": X[:0]}, "'x' is empty"),
    ],
)
def test_inputs_that_do_not_fit_are_named(dense, inputs, message):
    with pytest.raises(EngineError, match=message):
        Xla().load(dense, PLAN).run(inputs)


def test_sizes_of_one_name_must_agree(tmp_path):
    text = "(float[n] a, float[n] b) => (float[n] y) { y = Add (a, b) }"
    executable = Xla().load(save(tmp_path / "add.onnx", text), PLAN)
    with pytest.raises(EngineError, match="share the size 'n', and 3 and 1 came"):
        executable.run({"a": np.zeros(3, np.float32), "b": np.zeros(1, np.float32)})


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (EnginePlan(precision="int3"), "int3"),
        (EnginePlan(without=("fusion",)), "fusion"),
        (EnginePlan(pinning=True), "pin"),
        (EnginePlan(device="abacus"), "abacus"),
    ],
)
def test_plans_that_it_cannot_follow_are_refused(dense, plan, message):
    with pytest.raises(EngineError, match=message):
        Xla().load(dense, plan)


RANDOM = "(float[n, 4] x) => (float[n, 4] y) { r = RandomNormalLike (x) y = Add (x, r) }"
DROPPING = "(float[n, 4] x) => (float[n, 4] y) { y, m = Dropout (x, ratio, on) }"
DATA = "(float[n, 4] x) => (int64[2, m] y) { y = NonZero (x) }"
SHAPED = "(float[n, 4] x, int64[2] s) => (float[a, b] y) { y = Reshape (x, s) }"


@pytest.mark.parametrize(
    ("text", "operator", "reason"),
    [
        (RANDOM, "RandomNormalLike", "random"),
        (DROPPING, "Dropout", "random"),
        (DATA, "NonZero", "depends on the data"),
        (SHAPED, "Reshape", "depends on the data"),
    ],
)
def test_what_it_refuses_is_named(tmp_path, text, operator, reason):
    weights = {"ratio": np.float32(0.5), "on": np.array(True)} if operator == "Dropout" else {}
    path = save(tmp_path / "odd.onnx", text, **{k: np.asarray(v) for k, v in weights.items()})
    model = ir.load(path)
    for node in model.graph:
        node.name = f"the {node.op_type}"
    ir.save(model, path)
    (refusal,) = Xla().refusals(path)
    assert (refusal.node, refusal.operator) == (f"the {operator}", operator)
    assert reason in refusal.reason
    given = {"x": np.ones((2, 4), np.float32), "s": np.array([4, 2])}
    names = [value.name for value in model.graph.inputs if value.name not in weights]
    feed = {name: given[name] for name in names}
    with pytest.raises(EngineError, match=f"{operator} node 'the {operator}'.*{reason}"):
        Xla().load(path, PLAN).run(feed)


def test_a_dropout_that_drops_nothing_is_taken(tmp_path):
    text = "(float[n, 4] x) => (float[n, 4] y) { y = Dropout (x) }"
    path = save(tmp_path / "idle.onnx", text)
    assert Xla().refusals(path) == ()
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(Xla().load(path, PLAN).run({"x": x})["y"], x)


def test_a_graph_that_it_takes_has_no_refusals(dense):
    assert Xla().refusals(dense) == ()


def test_one_compilation_for_each_set_of_sizes_whoever_asks(dense, monkeypatch):
    executable = Xla().load(dense, PLAN)
    compiled = []
    compile_ = executable._compile
    monkeypatch.setattr(
        executable, "_compile", lambda *given: compiled.append(given[1]) or compile_(*given)
    )
    xs = [X[: 1 + i % 3] * (i + 1) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda x: executable.run({"x": x})["y"], xs))
    for x, answer in zip(xs, answers, strict=True):
        np.testing.assert_allclose(answer, np.maximum(x @ WEIGHT, 0), rtol=1e-4, atol=1e-4)
    assert sorted(compiled) == [((1, 32),), ((2, 32),), ((3, 32),)]


def test_the_sizes_called_longest_ago_are_let_go(dense, monkeypatch):
    monkeypatch.setattr(xla_executable, "MOST_SIZES", 2)
    executable = Xla().load(dense, PLAN)
    for rows in (1, 2, 1, 3):
        check_dense(executable, X[:rows])
    assert list(executable._ready) == [((1, 32),), ((3, 32),)]


def test_a_closed_executable_says_so(dense):
    executable = Xla().load(dense, PLAN)
    executable.close()
    with pytest.raises(EngineError, match="closed"):
        executable.run({"x": X})


def test_a_second_load_takes_what_the_first_kept(dense, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    check_dense(Xla().load(dense, PLAN, cache))
    monkeypatch.setattr("lepton_ai.engines.xla.read_program", None)
    executable = Xla().load(dense, PLAN, cache)
    for rows in (5, 2):
        check_dense(executable, X[:rows])
    assert executable.platforms() == ("cpu", "cuda", "tpu")


def test_what_is_kept_holds_no_pickle_and_compiled_programs(dense, tmp_path):
    cache = tmp_path / "cache"
    check_dense(Xla().load(dense, PLAN, cache))
    (program,) = cache.rglob("program.json")
    assert json.loads(program.read_text())["platforms"] == ["cpu", "cuda", "tpu"]
    assert len([*program.parent.glob("compiled/*-cache")]) == 1
    assert (program.parent / "weights.bin").stat().st_size == WEIGHT.nbytes
    check_dense(Xla().load(dense, PLAN, cache), X[:3])
    assert len([*program.parent.glob("compiled/*-cache")]) == 2


def test_a_graph_of_one_size_is_compiled_when_loaded(tmp_path):
    text = "(float[3, 4] x) => (float[3, 4] y) { y = Relu (x) }"
    path = save(tmp_path / "static.onnx", text)
    executable = Xla().load(path, PLAN, tmp_path / "cache")
    assert len(executable._ready) == 1
    assert len([*tmp_path.rglob("compiled/*-cache")]) == 1
    x = RNG.normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(executable.run({"x": x})["y"], np.maximum(x, 0))


def test_sizes_that_decide_the_course_are_kept_by_what_was_compiled(tmp_path):
    """``n`` may not be compared with a number before it is known, so nothing goes without sizes."""
    text = """(float[n, 4] x) => (float[2, 4] y) {
        y = Resize <mode = "nearest"> (x, , , sizes)
    }"""
    path = save(tmp_path / "resize.onnx", text, sizes=np.array([2, 4]))
    for _ in range(2):
        executable = Xla().load(path, PLAN, tmp_path / "cache")
        x = np.arange(16, dtype=np.float32).reshape(4, 4)
        np.testing.assert_array_equal(executable.run({"x": x})["y"], x[[0, 2]])


def test_bf16_is_near_and_not_the_same(dense, tmp_path):
    for cache in (None, tmp_path / "cache"):
        executable = Xla().load(dense, EnginePlan(precision="bf16"), cache)
        answer = executable.run({"x": X})["y"]
        wanted = np.maximum(X @ WEIGHT, 0)
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, wanted, atol=0.05 * wanted.max())
        assert np.abs(answer - wanted).max() > 1e-3


def test_branches_and_loops(tmp_path):
    text = """(float[n, 4] x, int64 times) => (float[n, 4] y) {
        looped = Loop (times, on, x) <
            body = step (int64 i, bool go, float[n, 4] a) => (bool again, float[n, 4] b) {
                again = Identity (go)
                b = Add (a, x)
            }
        >
        sum = ReduceSum <keepdims = 0> (x)
        positive = Greater (sum, zero)
        y = If (positive) <
            then_branch = kept () => (float[n, 4] p) { p = Identity (looped) },
            else_branch = turned () => (float[n, 4] q) { q = Neg (looped) }
        >
    }"""
    path = save(tmp_path / "g.onnx", text, on=np.array(True), zero=np.array(0, np.float32))
    executable = Xla().load(path, PLAN)
    for times, sign in ((0, 1), (3, 1), (2, -1)):
        x = sign * np.abs(RNG.normal(size=(2, 4))).astype(np.float32)
        answer = executable.run({"x": x, "times": np.array(times)})["y"]
        np.testing.assert_allclose(answer, sign * (times + 1) * x, rtol=1e-5)


def in_a_process_of_its_own(code, *arguments):
    prelude = """
        import sys
        from pathlib import Path
        import numpy as np
        from lepton_ai.engines.engine import EnginePlan
        from lepton_ai.engines.xla import Xla
        from lepton_ai.errors import EngineError
    """
    text = textwrap.dedent(prelude) + textwrap.dedent(code)
    environment = {k: v for k, v in os.environ.items() if k not in ("PJRT_NPROC", "NPROC")}
    done = subprocess.run(
        [sys.executable, "-c", text, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_thread_does_the_work_of_a_plan_for_one(tmp_path):
    """Whatever other clients there are; and JAX's own is not started."""
    text = "(float[n, 1024] x) => (float[n, 1024] y) { y = MatMul (x, w) }"
    path = save(tmp_path / "heavy.onnx", text, w=np.zeros((1024, 1024), np.float32))
    out = in_a_process_of_its_own(
        """
        import time
        from jax._src import xla_bridge
        from lepton_ai.engines.xla_client import device_for

        x = np.zeros((1024, 1024), np.float32)
        device_for(EnginePlan(threads=2))  # another client, with threads that could help
        executable = Xla().load(Path(sys.argv[1]), EnginePlan(threads=1))
        executable.run({"x": x})
        worked, passed = time.process_time(), time.perf_counter()
        for _ in range(40):
            executable.run({"x": x})
        worked, passed = time.process_time() - worked, time.perf_counter() - passed
        assert worked > 0.2
        print(worked / passed, xla_bridge.backends_are_initialized())
        """,
        path,
    )
    busy, started = out.split()
    assert float(busy) < 1.5  # a second thread would make it two
    assert started == "False"


@pytest.mark.skipif(usable_cores() < 2, reason="one core")
def test_plans_of_several_numbers_of_threads_side_by_side(dense):
    executables = [Xla().load(dense, EnginePlan(threads=threads)) for threads in (2, 1)]
    for executable in executables:
        check_dense(executable)
    check_dense(Xla().load(dense, EnginePlan(streams=2)))


def test_loads_and_unloads_do_not_grow(tmp_path):
    text = "(float[n, 1024] x) => (float[n, 1024] y) { y = MatMul (x, w) }"
    path = save(tmp_path / "heavy.onnx", text, w=np.zeros((1024, 1024), np.float32))
    out = in_a_process_of_its_own(
        """
        import gc
        import psutil

        def memory():
            gc.collect()
            return psutil.Process().memory_info().rss / 2**20

        x = np.zeros((1, 1024), np.float32)
        for turn in range(60):
            executable = Xla().load(Path(sys.argv[1]), EnginePlan())
            executable.run({"x": x})
            executable.close()
            if turn == 29:
                before = memory()
        print(memory() - before)
        """,
        path,
    )
    assert float(out) < 30  # thirty loads of 4 MiB of weights


def test_availability_needs_jax_and_starts_nothing():
    out = in_a_process_of_its_own(
        """
        engine = Xla()
        assert engine.available().ok and "cpu" in engine.available().reason
        assert engine.by_default is False
        engine.precisions()
        print("jax" in sys.modules)
        """
    )
    assert out.strip() == "False"


def test_without_jax_there_is_a_remedy(dense, monkeypatch):
    monkeypatch.setattr("lepton_ai.engines.xla.find_spec", lambda name: None)
    availability = Xla().available()
    assert not availability.ok
    assert availability.remedy == "pip install 'lepton-ai[xla]'"
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(EngineUnavailableError, match="pip install"):
        Xla().load(dense, PLAN)
