"""The reference: the table run with NumPy behind an engine's door."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.reference import Reference
from lepton_ai.errors import EngineError, EngineUnavailableError

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def value(name, dtype=TensorProto.FLOAT, shape=("n", 4)):
    return helper.make_tensor_value_info(name, dtype, shape)


@pytest.fixture
def load(tmp_path):
    """An executable for a graph of these parts."""

    def loaded(nodes, inputs, outputs, weights=(), domains=()):
        graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
        opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(d, 1) for d in domains)]
        onnx.save(
            helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "g.onnx"
        )
        return Reference().load(tmp_path / "g.onnx", EnginePlan())

    return loaded


@pytest.fixture
def scaled(load):
    weights = [numpy_helper.from_array(np.full(4, 2, np.float32), "w")]
    return load(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        [value("x"), value("w", shape=[4])],
        [value("y")],
        weights,
    )


def test_outputs_come_by_name_in_the_graph_s_order(load):
    nodes = [helper.make_node("Neg", ["x"], ["b"]), helper.make_node("Abs", ["b"], ["a"])]
    answer = load(nodes, [value("x")], [value("b"), value("a")]).run({"x": X})
    assert list(answer) == ["b", "a"]
    assert np.array_equal(answer["b"], -X)
    assert np.array_equal(answer["a"], X)


def test_an_input_with_a_value_of_its_own_may_be_left_out(scaled):
    assert np.array_equal(scaled.run({"x": X})["y"], 2 * X)
    assert np.array_equal(scaled.run({"x": X, "w": np.ones(4, np.float32)})["y"], X)


@pytest.mark.parametrize(
    ("feed", "complaint"),
    [
        ({}, "input 'x' is missing"),
        ({"x": X, "z": X}, "no input is called 'z'"),
        ({"x": X.astype(np.float64)}, "input 'x' wants float32, and float64 came"),
        ({"x": X[:, :3]}, r"input 'x' wants the shape \[any, 4\], not \[3, 3\]"),
        ({"x": X[0]}, r"input 'x' wants the shape \[any, 4\], not \[4\]"),
        ({"x": X.tolist()}, "input 'x' wants a NumPy array"),
    ],
)
def test_inputs_that_do_not_fit_are_named(scaled, feed, complaint):
    with pytest.raises(EngineError, match=complaint):
        scaled.run(feed)


def test_what_fails_on_the_way_is_named(load):
    inputs = [value("x", shape=None), value("z", shape=None)]
    sums = load([helper.make_node("Add", ["x", "z"], ["y"], name="sum")], inputs, [value("y")])
    with pytest.raises(EngineError, match=r"reference failed: Add node 'sum'.*broadcast"):
        sums.run({"x": X, "z": X[:, :3]})


def test_an_unknown_operator_is_refused_when_it_is_loaded(load):
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="odd", domain="org.example")
    with pytest.raises(EngineError, match=r"refuses the graph: Frobnicate node 'odd'.*org.example"):
        load([node], [value("x")], [value("y")], domains=["org.example"])


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"\xff nothing of the kind")
    with pytest.raises(EngineError, match="reference refuses the graph"):
        Reference().load(tmp_path / "g.onnx", EnginePlan())


def test_answers_share_no_memory_with_inputs_or_weights(load):
    weights = [numpy_helper.from_array(np.ones(4, np.float32), "w")]
    nodes = [
        helper.make_node("Identity", ["x"], ["y"]),
        helper.make_node("Identity", ["w"], ["z"]),
    ]
    same = load(nodes, [value("x")], [value("y"), value("z", shape=[4])], weights)
    x = X.copy()
    first = same.run({"x": x})
    first["y"][:] = first["z"][:] = -1
    assert np.array_equal(x, X)
    assert np.array_equal(same.run({"x": x})["z"], np.ones(4))


def test_what_is_no_tensor_is_left_out(load):
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "x"], ["s"]),
        helper.make_node("SequenceLength", ["s"], ["n"]),
    ]
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    answer = load(nodes, [value("x")], [sequence, value("n", TensorProto.INT64, [])]).run({"x": X})
    assert list(answer) == ["n"]
    assert answer["n"] == 2


@pytest.mark.parametrize("texts", [np.array(["a", "bc"]), np.array(["a", "bc"], dtype=object)])
def test_texts_of_any_width_come_back_as_objects(load, texts):
    inputs = [value("x", TensorProto.STRING, ["n"])]
    outputs = [value("y", TensorProto.STRING, ["n"])]
    answer = load([helper.make_node("Identity", ["x"], ["y"])], inputs, outputs).run({"x": texts})
    assert answer["y"].dtype == object
    assert answer["y"].tolist() == ["a", "bc"]


def test_without_onnx_ir_it_says_what_to_install(monkeypatch, tmp_path):
    from importlib import util

    monkeypatch.setattr(
        "lepton_ai.engines.reference.find_spec",
        lambda name: None if name == "onnx_ir" else util.find_spec(name),
    )
    found = Reference().available()
    assert not found.ok
    assert found.remedy == "pip install 'lepton-ai[optimize]'"
    monkeypatch.setitem(sys.modules, "lepton_ai.operators.evaluation", None)
    with pytest.raises(EngineUnavailableError, match=r"not installed.*lepton-ai\[optimize\]"):
        Reference().load(tmp_path / "g.onnx", EnginePlan())
