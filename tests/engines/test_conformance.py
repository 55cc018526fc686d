"""Every registered engine over small real graphs: the same answers, and kind refusals."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import zoo
from lepton_ai.engines.conformance import RELOADS, check_engine
from lepton_ai.engines.conformance_graphs import REQUIRED
from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable, engines
from lepton_ai.errors import EngineError

#: Their compilers take seconds for a graph that others take in milliseconds; the first, minutes.
SLOWEST_COMPILER = "inductor"
SLOW_COMPILERS = (SLOWEST_COMPILER, "xla")
#: Those that run graphs; an engine of another form is held to what can be asked of it in its tests.
NAMES = [name for name, kind in engines.items() if kind.form == "graph"]
#: In every test run; exporting the others takes a minute.
QUICK = ("mobilenet_v2", "if_and_loop", "dlrm", "lstm")
X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
WEIGHT = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)


def save(path, nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture
def dense(tmp_path):
    """``y = softmax(x @ w)`` with a free batch size, and an integer output beside it."""
    return save(
        tmp_path / "dense.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Softmax", ["h"], ["y"], axis=-1),
            helper.make_node("ArgMax", ["h"], ["k"], axis=-1, keepdims=0),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5]),
            helper.make_tensor_value_info("k", TensorProto.INT64, ["n"]),
        ],
        [numpy_helper.from_array(WEIGHT, "w")],
    )


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.slow if name == SLOWEST_COMPILER else ())
        for name in NAMES
    ]
)
def engine(request):
    return available(request.param)


def available(name):
    found = engines.get(name)()
    assert found.available().ok, found.available()
    return found


def wanted(x):
    hidden = x @ WEIGHT
    powers = np.exp(hidden - hidden.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True), hidden.argmax(-1)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_right_for_any_batch(name, dense):
    executable = available(name).load(dense, EnginePlan(threads=1))
    for count in (1, 3):
        check_dense(executable, count)


def check_dense(executable, count):
    answer = executable.run({"x": X[:count]})
    probabilities, classes = wanted(X[:count])
    assert list(answer) == ["y", "k"]
    np.testing.assert_allclose(answer["y"], probabilities, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(answer["k"], classes)
    assert answer["k"].dtype == np.int64


def test_inputs_are_not_changed_and_need_not_be_contiguous(engine, dense):
    wide = np.repeat(X, 2, axis=1)
    strided = wide[:, ::2]
    before = wide.copy()
    answer = engine.load(dense, EnginePlan(threads=1)).run({"x": strided})
    np.testing.assert_allclose(answer["y"], wanted(X)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(wide, before)


def test_an_answer_is_not_overwritten_by_the_next(engine, dense):
    executable = engine.load(dense, EnginePlan(threads=1))
    first = executable.run({"x": X})
    kept = first["y"].copy()
    executable.run({"x": -X})
    np.testing.assert_array_equal(first["y"], kept)


def test_eight_threads_get_the_answers_of_one(engine, dense):
    executable = engine.load(dense, EnginePlan(threads=1))
    inputs = [X * scale for scale in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda x: executable.run({"x": x})["y"], inputs))
    for x, answer in zip(inputs, answers, strict=True):
        np.testing.assert_allclose(answer, wanted(x)[0], rtol=1e-5, atol=1e-6)


def test_a_scalar_input_stays_a_scalar(engine, tmp_path):
    path = save(
        tmp_path / "scale.onnx",
        [helper.make_node("Mul", ["x", "s"], ["y"])],
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    answer = engine.load(path, EnginePlan(threads=1)).run({"x": X, "s": np.array(2.0, "f4")})
    np.testing.assert_allclose(answer["y"], 2 * X, rtol=1e-6)


def test_outputs_keep_their_names_where_operators_between_are_folded_away(engine, tmp_path):
    path = save(
        tmp_path / "identities.onnx",
        [
            helper.make_node("Relu", ["x"], ["a_hidden"]),
            helper.make_node("Identity", ["a_hidden"], ["y"]),
            helper.make_node("Identity", ["a_hidden"], ["z"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "yz"],
    )
    answer = engine.load(path, EnginePlan(threads=1)).run({"x": X})
    assert list(answer) == ["y", "z"]
    assert np.array_equal(answer["y"], np.maximum(X, 0))
    assert np.array_equal(answer["z"], np.maximum(X, 0))


def test_an_operator_that_nobody_has_is_refused_in_a_sentence(engine, tmp_path):
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="org.example")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("org.example", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(EngineError, match=r"(?i)frobnicate|org.example"):
        engine.load(tmp_path / "odd.onnx", EnginePlan(threads=1)).run({"x": X})


def test_a_precision_that_it_does_not_have_is_refused(engine, dense):
    with pytest.raises(EngineError, match="int3"):
        engine.load(dense, EnginePlan(threads=1, precision="int3"))


def test_inputs_that_do_not_fit_are_an_engine_error(engine, dense):
    with pytest.raises(EngineError):
        engine.load(dense, EnginePlan(threads=1)).run({"x": X[:, :3]})


def test_fp32_comes_first(engine):
    assert engine.precisions()[0] == "fp32"


def test_openvino_bf16_is_close_where_the_processor_has_it(dense):
    engine = engines.get("openvino")()
    if "bf16" not in engine.precisions():
        pytest.skip("this processor does not compute bf16")
    answer = engine.load(dense, EnginePlan(threads=1, precision="bf16")).run({"x": X})
    np.testing.assert_allclose(answer["y"], wanted(X)[0], atol=3e-2)


def test_gathering_along_a_long_axis(tmp_path):
    path = save(
        tmp_path / "gather.onnx",
        [helper.make_node("GatherElements", ["x", "i"], ["y"], axis=1)],
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 100]),
            helper.make_tensor_value_info("i", TensorProto.INT64, [1, 3]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    x = np.arange(200, dtype=np.float32).reshape(2, 100)
    index = np.array([[99, 0, -1]])
    answer = engines.get("reference")().load(path, EnginePlan()).run({"x": x, "i": index})
    np.testing.assert_array_equal(answer["y"], [[99, 0, 99]])


# --- check_engine ------------------------------------------------------------------------------


def promises(engine, *, reloads):
    return check_engine(engine, reloads=reloads).check()


@pytest.mark.timeout(1800)
def test_every_promise_is_kept(engine):
    report = promises(engine, reloads=12)
    graphs = {check.graph for check in report.checks if check.graph}
    assert len(graphs) >= 10
    assert REQUIRED not in report.refused


def test_every_promise_is_kept_by_what_is_compiled_for_one_number_of_samples():
    report = check_engine(engines.get("openvino")(), plan=EnginePlan(fixed_batch=True), reloads=20)
    assert len(report.check().refused) < 4, report.refused


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_loads_leave_nothing_behind(engine):
    promises(engine, reloads=RELOADS)


@pytest.fixture(scope="session")
def zoo_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("zoo")


def zoo_cases():
    """Every engine with every architecture; those that take long, in the long run only."""
    for name in NAMES:
        for architecture in zoo.architectures():
            quick = architecture in QUICK and name not in SLOW_COMPILERS
            marks = () if quick else pytest.mark.slow
            yield pytest.param(name, architecture, marks=marks)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "architecture"), zoo_cases())
def test_the_zoo_is_answered_as_by_the_reference(name, architecture, zoo_folder):
    path = zoo.export(architecture, zoo_folder, small=True)
    report = check_engine(available(name), [path], built_in=False).check()
    if report.refused:
        assert name not in ("reference", "onnxruntime")


# --- and it finds what it is there to find ------------------------------------------------------


class Faulty(Engine):
    """ONNX Runtime with one fault: ``run`` takes the executable and the inputs."""

    name = "faulty"

    def __init__(self, run=None, *, load=None):
        self._inner = engines.get("onnxruntime")()
        self._run = run or (lambda executable, inputs: executable.run(inputs))
        self._load = load

    def available(self):
        return Availability(ok=True, reason="faulty")

    def precisions(self):
        return ("fp32",)

    def load(self, path, plan, cache=None):
        if self._load is not None:
            self._load(path, plan)
        return FaultyExecutable(self._inner.load(path, plan), self._run)


class FaultyExecutable(Executable):
    def __init__(self, inner, run):
        self._inner = inner
        self._run = run

    def run(self, inputs):
        return self._run(self._inner, inputs)


def a_little_more(executable, inputs):
    answer = executable.run(inputs)
    return {n: v * 1.01 if v.dtype == np.float32 else v for n, v in answer.items()}


def wider(executable, inputs):
    answer = executable.run(inputs)
    return {n: v.astype(np.float64) if v.dtype == np.float32 else v for n, v in answer.items()}


def renamed(executable, inputs):
    return {f"my_{name}": value for name, value in executable.run(inputs).items()}


def harmful(executable, inputs):
    answer = executable.run(inputs)
    for value in inputs.values():
        value[...] = 0
    return answer


class OneBuffer:
    """Answers of one size share their memory."""

    def __init__(self):
        self._kept = {}

    def __call__(self, executable, inputs):
        answer = executable.run(inputs)
        for name, value in answer.items():
            kept = self._kept.setdefault((id(executable), name, value.shape), value)
            kept[...] = value
            answer[name] = kept
        return answer


class OneAtATime:
    """Takes what another thread has left in place of its own."""

    def __init__(self):
        self._inputs = None

    def __call__(self, executable, inputs):
        self._inputs = inputs
        time.sleep(0.001)
        return executable.run(self._inputs)


def as_it_lies_in_memory(executable, inputs):
    def plain(array):
        base = array if array.base is None else array.base
        return base.reshape(-1)[: array.size].reshape(array.shape)

    return executable.run({name: plain(array) for name, array in inputs.items()})


def crashing_on_nothing(executable, inputs):
    if any(not array.size for array in inputs.values()):
        raise ZeroDivisionError("no rows")
    return executable.run(inputs)


def nameless(executable, inputs):
    try:
        return executable.run(inputs)
    except EngineError:
        raise EngineError("that does not fit") from None


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (a_little_more, {"parity"}),
        (wider, {"parity"}),
        (renamed, {"parity"}),
        (harmful, {"unharmed inputs"}),
        (OneBuffer(), {"kept answers"}),
        (OneAtATime(), {"threads"}),
        (as_it_lies_in_memory, {"layout"}),
        (crashing_on_nothing, {"empty batch"}),
        (nameless, {"missing input", "unknown input", "wrong dtype", "unknown operator"}),
    ],
)
def test_a_fault_is_found(fault, found):
    report = check_engine(Faulty(fault), reloads=0)
    assert found & {check.name for check in report.failed}
    with pytest.raises(EngineError, match="faulty fails"):
        report.check()


def test_a_leak_is_found():
    kept = []
    leaking = Faulty(load=lambda path, plan: kept.append(np.ones(1 << 17)))
    [check] = [c for c in check_engine(leaking, reloads=20).checks if c.name == "memory"]
    assert not check.ok


def test_a_call_that_never_ends_is_found(monkeypatch):
    monkeypatch.setattr("lepton_ai.engines.conformance_checks.PATIENCE_SECONDS", 0.2)

    def waiting(executable, inputs):
        if any(not array.size for array in inputs.values()):
            time.sleep(2)
        return executable.run(inputs)

    report = check_engine(Faulty(waiting), reloads=0)
    assert "empty batch" in {check.name for check in report.failed}


def test_refusing_everything_is_found():
    def refuse(path, plan):
        raise EngineError("not today")

    report = check_engine(Faulty(load=refuse), reloads=0)
    assert [check.graph for check in report.failed if check.name == "loads"] == [REQUIRED]


def test_an_engine_that_is_not_here_says_so():
    class Absent(Faulty):
        def available(self):
            return Availability(ok=False, reason="not installed", remedy="pip install it")

    with pytest.raises(EngineError, match="not installed; to have it: pip install it"):
        check_engine(Absent()).check()


def test_an_engine_of_another_form_is_not_asked():
    with pytest.raises(EngineError, match="ctranslate2 loads huggingface folders"):
        check_engine(engines.get("ctranslate2")())


def test_a_report_is_plain_json():
    report = check_engine(engines.get("reference")(), reloads=0)
    record = json.loads(json.dumps(report.to_json()))
    assert record["ok"]
    assert record["deterministic"]
    assert all(check["sentence"] for check in record["checks"])
