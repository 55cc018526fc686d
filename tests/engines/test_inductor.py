"""AOTInductor: what its packages are for, what is kept of them, and what it refuses.

Compiling takes seconds a graph, so that the fast tests share two packages.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from lepton_ai.engines import inductor as module
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.inductor import Inductor
from lepton_ai.engines.inductor_sizes import Sizes
from lepton_ai.errors import EngineError, EngineUnavailableError

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(4, 5)).astype(np.float32)
PLAN = EnginePlan(threads=1)


def dense_file(write):
    return write(
        "(float[n, 4] x, int64[n] row) => (float[n, 5] y, int64[n] k, float[n, 4] same)",
        """h = MatMul (x, w)
           y = Softmax <axis = -1> (h)
           top = ArgMax <axis = -1, keepdims = 0> (h)
           k = Add (top, row)
           same = Identity (x)""",
        w=WEIGHT,
    )


def feed(count):
    return {
        "x": RNG.normal(size=(count, 4)).astype(np.float32),
        "row": np.arange(count),
    }


def wanted(x, row):
    hidden = x @ WEIGHT
    powers = np.exp(hidden - hidden.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True), hidden.argmax(-1) + row


@pytest.fixture(scope="module")
def engine():
    engine = Inductor()
    if not engine.available().ok:
        pytest.skip(engine.available().reason)
    return engine


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def dense(engine, cache, write):
    executable = engine.load(dense_file(write), PLAN, cache)
    yield executable
    executable.close()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_one_package_takes_every_batch(dense, count):
    inputs = feed(count)
    answer = dense.run(inputs)
    probabilities, classes = wanted(**inputs)
    assert list(answer) == ["y", "k", "same"]
    np.testing.assert_allclose(answer["y"], probabilities, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(answer["k"], classes)
    np.testing.assert_array_equal(answer["same"], inputs["x"])


def test_the_second_load_neither_traces_nor_compiles(engine, cache, write, dense, monkeypatch):
    def never(*_):
        raise AssertionError("it was compiled again")

    monkeypatch.setattr(module, "read_source", never)
    executable = engine.load(dense_file(write), PLAN, cache)
    inputs = feed(3)
    np.testing.assert_allclose(executable.run(inputs)["y"], wanted(**inputs)[0], rtol=1e-5)


def test_arrays_in_any_layout_are_taken_and_left_alone(dense):
    wide = RNG.normal(size=(3, 8)).astype(np.float32)
    before = wide.copy()
    inputs = {"x": wide[:, ::2], "row": np.arange(6)[::-2]}
    inputs["x"].flags.writeable = False
    answer = dense.run(inputs)
    np.testing.assert_allclose(answer["y"], wanted(**inputs)[0], rtol=1e-5)
    answer["same"][:] = 0
    np.testing.assert_array_equal(wide, before)


def test_an_output_that_is_an_input_has_memory_of_its_own(dense):
    inputs = feed(2)
    before = inputs["x"].copy()
    dense.run(inputs)["same"][:] = 0
    np.testing.assert_array_equal(inputs["x"], before)


def test_an_answer_is_not_overwritten_by_the_next(dense):
    first = dense.run(feed(3))
    kept = {name: value.copy() for name, value in first.items()}
    dense.run(feed(3))
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])


def test_eight_threads_get_the_answers_of_one(dense):
    inputs = [feed(count % 3 + 1) for count in range(64)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(dense.run, inputs))
    for one, answer in zip(inputs, answers, strict=True):
        np.testing.assert_allclose(answer["y"], wanted(**one)[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(answer["k"], wanted(**one)[1])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"x": None}, "'x'"),
        ({"stranger": np.zeros(1)}, "'stranger'"),
        ({"x": np.zeros((2, 4))}, "'x'"),
        ({"x": np.zeros((2, 3), np.float32)}, "'x'"),
        ({"x": np.zeros(4, np.float32)}, "'x'"),
        ({"row": np.arange(3)}, "'n'"),
        ({"x": np.zeros((0, 4), np.float32), "row": np.arange(0)}, "'x'"),
        ({"x": [[1.0] * 4] * 2}, "'x'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(dense, change, word):
    inputs = {name: value for name, value in {**feed(2), **change}.items() if value is not None}
    with pytest.raises(EngineError, match=word):
        dense.run(inputs)


def test_a_plan_sets_the_number_of_threads_for_each_call(dense):
    torch.set_num_threads(2)
    dense.run(feed(2))
    assert torch.get_num_threads() == 1


def test_a_closed_executable_says_so(engine, cache, write, dense):
    executable = engine.load(dense_file(write), PLAN, cache)
    executable.close()
    with pytest.raises(EngineError, match="closed"):
        executable.run(feed(2))


def test_a_graph_is_refused_by_its_nodes_without_compiling(engine, write, monkeypatch):
    def never(*_):
        raise AssertionError("it was compiled")

    monkeypatch.setattr(module, "compile_into", never)
    path = write(
        "(float[n, 4] x) => (float[n, 4] y)",
        "h = org.example.Frobnicate (x)  y = org.example.Grok (h)",
        domains=', "org.example" : 1',
    )
    assert [one.operator for one in engine.refusals(path)] == [
        "org.example.Frobnicate",
        "org.example.Grok",
    ]
    path = write(
        "(float[n, 4] x, int64[k] shape) => (float[a, b] y)", "y = Reshape (x, shape)", name="data"
    )
    (refusal,) = engine.refusals(path)
    assert refusal.operator == "Reshape"
    assert "data" in refusal.reason
    assert engine.refusals(dense_file(write)) == ()


@pytest.mark.parametrize(
    ("plan", "word"),
    [
        (EnginePlan(precision="int3"), "int3"),
        (EnginePlan(without=("fusion",)), "fusion"),
        (EnginePlan(branches=2), "branch"),
    ],
)
def test_plans_that_it_has_not_are_refused(engine, write, plan, word):
    with pytest.raises(EngineError, match=word):
        engine.load(dense_file(write), plan)


def test_without_a_compiler_it_says_how_to_get_one(write, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    available = Inductor().available()
    assert not available.ok
    assert "compiler" in available.reason
    assert "g++" in available.remedy or "gcc-c++" in available.remedy
    with pytest.raises(EngineUnavailableError, match="compiler"):
        Inductor().load(dense_file(write), PLAN)


def test_sizes_are_checked_as_the_trace_found_them():
    sizes = Sizes(
        shapes=(("s0", 4), ("2*s0", "s1")),
        ranges={"s0": (2, None), "s1": (5, 9)},
        conditions=("s1 % 2 == 1", "max(1, s0) < 100 and not s0 == 7"),
    )
    assert Sizes.from_json(sizes.to_json()) == sizes
    assert sizes.fit(((1, 4), (2, 7)))
    assert sizes.fit(((3, 4), (6, 9)))
    for wrong in (
        ((3, 5), (6, 9)),
        ((3, 4), (5, 9)),
        ((3, 4), (6, 8)),
        ((3, 4), (6, 11)),
        ((3, 4), (6, 3)),
        ((7, 4), (14, 9)),
        ((3, 4),),
        ((3, 4), (6,)),
    ):
        assert not sizes.fit(wrong), wrong


@pytest.mark.parametrize(
    "code", ["__import__('os')", "s0.real", "[s0]", "s1", "s0 if 1 else 2", "("]
)
def test_a_condition_that_is_no_arithmetic_fits_nothing(code):
    sizes = Sizes(shapes=(("s0",),), ranges={"s0": (0, None)}, conditions=(code,))
    assert not sizes.fit(((3,),))


@pytest.fixture
def compiled(monkeypatch):
    """What was compiled: one entry each time."""
    done = []
    original = module.compile_into
    monkeypatch.setattr(
        module, "compile_into", lambda *given: done.append(given) or original(*given)
    )
    return done


@pytest.mark.slow
def test_one_package_takes_every_length_of_a_recurrent_layer(engine, write, compiled):
    weights = {
        "w": RNG.normal(size=(1, 12, 2)).astype(np.float32),
        "r": RNG.normal(size=(1, 12, 3)).astype(np.float32),
    }
    path = write(
        "(float[t, n, 2] x) => (float[t, d, n, 3] y, float[d, n, 3] last)",
        "y, last = LSTM <hidden_size = 3> (x, w, r)",
        **weights,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    executable = engine.load(path, PLAN)
    for steps, count in ((6, 2), (1, 1), (30, 1), (9, 5)):
        x = RNG.normal(size=(steps, count, 2)).astype(np.float32)
        answer = executable.run({"x": x})
        for name, value in zip(("y", "last"), session.run(None, {"x": x}), strict=True):
            np.testing.assert_allclose(answer[name], value, rtol=1e-4, atol=1e-5)
    assert len(compiled) == 1


@pytest.mark.slow
def test_a_size_that_the_trace_fixes_leaves_the_others_free(engine, cache, write, compiled):
    path = write(
        "(float[n, t] x) => (float[n, t] y)", "y = Add (x, w)", w=np.arange(5.0, dtype="f4")
    )
    executable = engine.load(path, PLAN, cache)
    assert not compiled
    for count in (3, 1):
        x = RNG.normal(size=(count, 5)).astype(np.float32)
        answer = executable.run({"x": x})["y"]
        np.testing.assert_allclose(answer, x + np.arange(5), rtol=1e-6)
    assert len(compiled) == 1
    engine.load(path, PLAN, cache).run({"x": x})
    assert len(compiled) == 1
    with pytest.raises(EngineError, match="Add"):
        executable.run({"x": np.zeros((3, 4), np.float32)})


@pytest.mark.slow
def test_what_cannot_be_traced_for_all_sizes_is_compiled_for_those_that_come(
    engine, cache, write, compiled
):
    path = write(
        "(float[t, 2] x) => (float[t, 2] y)",
        """length = Shape <end = 1> (x)
           times = Squeeze (length)
           last, y = Loop (times, on, start) <
               body = step (int64 i, bool go, float[2] a) =>
                   (bool again, float[2] b, float[2] kept) {
                   again = Identity (go)
                   now = Gather <axis = 0> (x, i)
                   b = Add (a, now)
                   kept = Identity (b)
               }
           >""",
        on=np.array(True),
        start=np.zeros(2, np.float32),
    )
    executable = engine.load(path, PLAN, cache)
    assert not compiled
    for number, steps in enumerate((3, 2, 3), 1):
        x = RNG.normal(size=(steps, 2)).astype(np.float32)
        np.testing.assert_allclose(executable.run({"x": x})["y"], x.cumsum(0), rtol=1e-5)
        assert len(compiled) == min(number, 2)


@pytest.mark.slow
def test_branches_and_loops_that_hang_on_data_are_compiled(engine, write):
    path = write(
        "(float[n, 4] x, int64 times) => (float[n, 4] y)",
        """sum = ReduceSum <keepdims = 0> (x)
           positive = Greater (sum, zero)
           h = If (positive) <
               then_branch = up () => (float[n, 4] a) { a = Mul (x, rate) },
               else_branch = down () => (float[n, 4] b) { b = Neg (x) }
           >
           y = Loop (times, on, h) <
               body = step (int64 i, bool go, float[n, 4] c) => (bool again, float[n, 4] d) {
                   again = Identity (go)
                   half = Mul (c, rate)
                   d = Add (half, x)
               }
           >""",
        zero=np.array(0, np.float32),
        on=np.array(True),
        rate=np.array(0.5, np.float32),
    )
    executable = engine.load(path, PLAN)
    for count, times, sign in ((1, 3, 1), (2, 0, -1), (5, 4, -1)):
        x = sign * np.abs(RNG.normal(size=(count, 4))).astype(np.float32)
        y = x * np.float32(0.5) if sign > 0 else -x
        for _ in range(times):
            y = y * np.float32(0.5) + x
        answer = executable.run({"x": x, "times": np.array(times)})["y"]
        np.testing.assert_allclose(answer, y, rtol=1e-5)


@pytest.mark.slow
def test_bf16_is_close_and_answers_in_float32(engine, write):
    if "bf16" not in engine.precisions():
        pytest.skip("this processor does not multiply bf16")
    executable = engine.load(dense_file(write), EnginePlan(threads=1, precision="bf16"))
    inputs = feed(6)
    answer = executable.run(inputs)["y"]
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, wanted(**inputs)[0], atol=2e-2)
    assert not np.array_equal(answer, wanted(**inputs)[0])


def test_cuda_runs_the_same_package(engine, write):
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no CUDA device here")
    executable = engine.load(dense_file(write), EnginePlan(threads=1, device="cuda"))
    inputs = feed(6)
    np.testing.assert_allclose(executable.run(inputs)["y"], wanted(**inputs)[0], rtol=1e-3)
