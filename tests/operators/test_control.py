"""Branches and loops, run eagerly and while they are being traced."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_ai.errors import EngineError
from lepton_ai.operators.evaluation import Evaluation
from lepton_ai.operators.namespaces.numpy import NumpyNamespace

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def value(name, dtype=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, **weights):
    given = [numpy_helper.from_array(np.asarray(one), name) for name, one in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, [value(name) for name in outputs], given)
    opsets = [helper.make_opsetid("", 18)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def doubling(with_rows=True):
    """Adds the state to itself, as long as it is below a limit, and gives each state."""
    nodes = [
        helper.make_node("Add", ["s", "s"], ["t"]),
        helper.make_node("ReduceMax", ["t"], ["most"], keepdims=0),
        helper.make_node("Less", ["most", "limit"], ["going"]),
        helper.make_node("Identity", ["t"], ["row"]),
    ]
    outputs = ["going", "t", *(["row"] if with_rows else [])]
    inputs = [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("s")]
    return helper.make_graph(nodes, "body", inputs, [value(name) for name in outputs])


def loop(**options):
    outputs = ["last", "rows"] if options.get("with_rows", True) else ["last"]
    node = helper.make_node("Loop", ["", "", "x"], outputs, body=doubling(**options))
    return model([node], [value("x", shape=[2, 3]), value("limit", shape=[])], outputs)


def test_a_loop_ends_when_its_body_says_so():
    feed = {"x": X, "limit": np.asarray(30, np.float32)}
    found = Evaluation(loop(), NumpyNamespace()).run(feed)
    assert np.array_equal(found["last"], 8 * X)
    assert np.array_equal(found["rows"], np.stack([2 * X, 4 * X, 8 * X]))


def test_a_loop_that_never_runs_stacks_nothing():
    node = helper.make_node("Loop", ["n", "", "x"], ["last", "rows"], body=doubling())
    graph = model([node], [value("x"), value("limit")], ["last", "rows"], n=np.array(0))
    found = Evaluation(graph, NumpyNamespace()).run({"x": X, "limit": np.asarray(9, np.float32)})
    assert np.array_equal(found["last"], X)
    assert found["rows"].shape[0] == 0


def counted():
    """Three rounds, in which the number of the round is known and reaches into a reshape."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["i", "one"], ["n"]),
            helper.make_node("Reshape", ["n", "row"], ["size"]),
            helper.make_node("Expand", ["bias", "size"], ["wide"]),
            helper.make_node("ReduceSum", ["wide"], ["total"], keepdims=0),
            helper.make_node("Add", ["s", "total"], ["t"]),
            helper.make_node("Identity", ["c"], ["going"]),
            helper.make_node("Identity", ["t"], ["step"]),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("s")],
        [value("going", TensorProto.BOOL), value("t"), value("step")],
    )
    node = helper.make_node("Loop", ["rounds", "", "x"], ["last", "steps"], body=body)
    weights = {"rounds": np.array(3), "one": np.array(1), "row": np.array([1])}
    return model([node], [value("x"), value("bias")], ["last", "steps"], **weights)


def test_what_is_known_stays_known_in_a_body(namespace):
    feed = {"x": namespace.from_host(X), "bias": namespace.from_host(np.ones(1, np.float32))}
    found = Evaluation(counted(), namespace).run(feed)
    assert np.array_equal(namespace.to_host(found["last"]), X + 6)
    assert namespace.to_host(found["steps"]).shape == (3, 2, 3)


def branches():
    def branch(name, operator):
        nodes = [helper.make_node(operator, ["x", "one"], [name])]
        return helper.make_graph(nodes, name, [], [value(name)])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "limit"], ["much"]),
        helper.make_node(
            "If", ["much"], ["y"], then_branch=branch("t", "Sub"), else_branch=branch("e", "Add")
        ),
    ]
    weights = {"limit": np.float32(10), "one": np.float32(1)}
    return model(nodes, [value("x", shape=[2, 3])], ["y"], **weights)


def running_sum(**attributes):
    body = helper.make_graph(
        [
            helper.make_node("Add", ["s", "row"], ["t"]),
            helper.make_node("Identity", ["t"], ["out"]),
        ],
        "body",
        [value("s"), value("row")],
        [value("t"), value("out")],
    )
    node = helper.make_node(
        "Scan", ["s0", "x"], ["last", "sums"], body=body, num_scan_inputs=1, **attributes
    )
    return model([node], [value("s0"), value("x")], ["last", "sums"])


ROWS = np.arange(20, dtype=np.float32).reshape(10, 2)


def test_a_scan_runs_along_any_axis_in_either_direction(namespace):
    options = {"scan_input_axes": [1], "scan_input_directions": [1]}
    outputs = {"scan_output_axes": [1], "scan_output_directions": [1]}
    feed = {"s0": namespace.from_host(np.zeros(2, np.float32)), "x": namespace.from_host(ROWS.T)}
    found = Evaluation(running_sum(**options, **outputs), namespace).run(feed)
    backwards = np.cumsum(ROWS[::-1], axis=0)
    assert np.array_equal(namespace.to_host(found["last"]), backwards[-1])
    assert np.array_equal(namespace.to_host(found["sums"]), backwards[::-1].T)


def traced(graph, **feed):
    """The outputs by a function that JAX compiles, so that nothing can be looked at meanwhile."""
    jax = pytest.importorskip("jax")
    from lepton_ai.operators.namespace import namespaces

    evaluation = Evaluation(graph, namespaces.get("jax")())
    return {name: np.asarray(one) for name, one in jax.jit(evaluation.run)(feed).items()}


def test_a_branch_is_chosen_later_where_it_is_traced():
    assert np.array_equal(traced(branches(), x=X)["y"], X - 1)
    assert np.array_equal(traced(branches(), x=-X)["y"], -X + 1)


def test_a_loop_without_rows_is_traced_and_one_with_them_refused():
    limit = np.float32(30)
    assert np.array_equal(traced(loop(with_rows=False), x=X, limit=limit)["last"], 8 * X)
    with pytest.raises(EngineError, match=r"Loop node .*known only from data"):
        traced(loop(), x=X, limit=limit)


def test_a_scan_is_traced():
    found = traced(running_sum(), s0=np.zeros(2, np.float32), x=ROWS)
    assert np.array_equal(found["sums"], np.cumsum(ROWS, axis=0))
