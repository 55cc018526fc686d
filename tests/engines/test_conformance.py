"""Every registered engine over small real graphs: the same answers, and kind refusals."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.errors import EngineError

NAMES = list(engines.names())
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


@pytest.fixture(params=NAMES)
def engine(request):
    found = engines.get(request.param)()
    assert found.available().ok, found.available()
    return found


def wanted(x):
    hidden = x @ WEIGHT
    powers = np.exp(hidden - hidden.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True), hidden.argmax(-1)


@pytest.mark.parametrize("count", [1, 3])
def test_answers_are_right_for_any_batch(engine, dense, count):
    answer = engine.load(dense, EnginePlan(threads=1)).run({"x": X[:count]})
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
