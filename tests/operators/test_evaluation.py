"""How graphs are walked: what is known beforehand, scopes, functions, names in complaints."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_ai.errors import EngineError
from lepton_ai.operators.evaluation import Evaluation
from lepton_ai.operators.namespaces.numpy import NumpyNamespace
from lepton_ai.operators.operator import meanings

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def value(name, dtype=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, weights=(), functions=(), opset=18, domains=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(one, 1) for one in domains)]
    proto = helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)
    return ir.from_proto(proto)


def answer(*arguments, feed, **options):
    return Evaluation(model(*arguments, **options), NumpyNamespace()).run(feed)


class Box:
    """An array of a library that is not NumPy: the two do not mix."""

    def __init__(self, array):
        assert type(array) is np.ndarray
        self.array = array
        self.shape, self.ndim = array.shape, array.ndim

    def __add__(self, other):
        return Box(self.array + other.array)


class Recorded(NumpyNamespace):
    """A library that keeps account of what is moved to it."""

    name = "recorded"

    def __init__(self):
        self.moved = []

    def owns(self, value):
        return isinstance(value, Box)

    def from_host(self, array):
        self.moved.append(array)
        return Box(array)

    def reshape(self, x, shape):
        return Box(x.array.reshape(shape))


def test_every_family_is_there_and_no_operator_twice():
    table = meanings()
    assert ("", "Add") in table
    assert all(meaning.name == name for (_, name), meaning in table.items())


def test_a_weight_stands_in_for_an_initialiser():
    graph = model(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [value("x")],
        [value("y")],
        [numpy_helper.from_array(np.ones(4, np.float32), "w")],
    )
    own = Evaluation(graph, NumpyNamespace()).run({"x": X})
    other = Evaluation(graph, NumpyNamespace(), {"w": np.full(4, 2, np.float32)}).run({"x": X})
    assert np.array_equal(own["y"], X + 1)
    assert np.array_equal(other["y"], X + 2)


def test_an_input_with_an_initialiser_has_that_as_its_default():
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    weights = [numpy_helper.from_array(np.ones(4, np.float32), "w")]
    inputs = [value("x"), value("w")]
    assert np.array_equal(answer(nodes, inputs, [value("y")], weights, feed={"x": X})["y"], X + 1)
    feed = {"x": X, "w": np.zeros(4, np.float32)}
    assert np.array_equal(answer(nodes, inputs, [value("y")], weights, feed=feed)["y"], X)


def test_a_function_gets_its_caller_s_attributes_and_its_own_defaults():
    function = helper.make_function(
        "org.example",
        "Bent",
        ["a"],
        ["b"],
        [
            helper.make_node("LeakyRelu", ["a"], ["h"]),
            helper.make_node("Elu", ["h"], ["b"]),
        ],
        [helper.make_opsetid("", 18)],
        attributes=["slope"],
        attribute_protos=[helper.make_attribute("scale", 3.0)],
    )
    for node, inner, outer in zip(
        function.node, ("alpha", "alpha"), ("slope", "scale"), strict=True
    ):
        reference = node.attribute.add()
        reference.name, reference.ref_attr_name = inner, outer
        reference.type = onnx.AttributeProto.FLOAT
    nodes = [helper.make_node("Bent", ["x"], ["y"], domain="org.example", slope=0.5)]
    feed = {"x": -X}
    found = answer(
        nodes, [value("x")], [value("y")], functions=[function], domains=["org.example"], feed=feed
    )
    np.testing.assert_allclose(found["y"], 3 * np.expm1(-X / 2), rtol=1e-6)


def test_a_subgraph_reads_what_is_around_it_and_what_is_read_there_is_kept():
    def branch(name, operator):
        node = helper.make_node(operator, ["h", "x"], [name])
        return helper.make_graph([node], name, [], [value(name)])

    nodes = [
        helper.make_node("Neg", ["x"], ["h"]),
        helper.make_node("Abs", ["h"], ["unused"]),
        helper.make_node(
            "If", ["c"], ["y"], then_branch=branch("t", "Add"), else_branch=branch("e", "Sub")
        ),
    ]
    inputs = [value("x"), value("c", TensorProto.BOOL, [])]
    for condition, wanted in ((True, X - X), (False, -2 * X)):
        feed = {"x": X, "c": np.array(condition)}
        assert np.array_equal(answer(nodes, inputs, [value("y")], feed=feed)["y"], wanted)


def test_shapes_are_known_beforehand_and_never_move_to_the_library():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "first"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
    ]
    weights = [
        numpy_helper.from_array(np.array([0]), "first"),
        numpy_helper.from_array(np.array([2, -1]), "rest"),
    ]
    library = Recorded()
    graph = model(nodes, [value("x")], [value("y")], weights)
    found = Evaluation(graph, library).run({"x": Box(X)})
    assert found["y"].shape == (3, 2, 2)
    assert library.owns(found["y"])
    assert library.moved == []


def test_constants_move_to_the_library_where_they_meet_its_arrays():
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    weights = [numpy_helper.from_array(np.ones(4, np.float32), "w")]
    library = Recorded()
    graph = model(nodes, [value("x")], [value("y")], weights)
    found = Evaluation(graph, library).run({"x": Box(X)})
    assert library.owns(found["y"])
    assert len(library.moved) == 1


class Size:
    """A size that is not known yet: arithmetic makes a longer text of it."""

    def __init__(self, text):
        self.text = text

    def __add__(self, other):
        return Size(f"({self} + {other})")

    def __mul__(self, other):
        return Size(f"({self} * {other})")

    __radd__, __rmul__ = __add__, __mul__

    def __floordiv__(self, other):
        return Size(f"({self} // {other})")

    def __str__(self):
        return self.text


class Traced(Recorded):
    """A library whose shapes hold sizes that are not known yet."""

    def broadcast_to(self, x, shape):
        self.asked = [str(size) for size in shape]
        return x


def test_sizes_that_are_not_known_go_through_the_arithmetic_of_shapes():
    table, xp = meanings(), NumpyNamespace()
    sizes = np.array([Size("n"), 4], dtype=object)

    def call(name, *inputs, **attributes):
        nodes = [helper.make_node(name, [f"i{k}" for k in range(len(inputs))], ["o"], **attributes)]
        graph = model(nodes, [value(f"i{k}") for k in range(len(inputs))], [value("o")])
        return Evaluation(graph, xp).run({f"i{k}": one for k, one in enumerate(inputs)})["o"]

    assert table
    two = np.array([2])
    assert [str(one) for one in call("Mul", sizes, two)] == ["(n * 2)", "8"]
    assert [str(one) for one in call("Div", sizes, two)] == ["(n // 2)", "2"]
    assert [str(one) for one in call("Concat", sizes, two, axis=0)] == ["n", "4", "2"]
    assert [str(one) for one in call("Slice", sizes, two - 2, two - 1)] == ["n"]
    assert call("Cast", sizes, to=TensorProto.INT64)[0] is sizes[0]
    # What is all known again is made of integers again.
    assert call("Gather", sizes, np.array([1])).dtype == np.int64
    assert call("Unsqueeze", call("Gather", sizes, np.array(0)), np.array([0])).shape == (1,)


def test_a_tensor_of_a_size_that_is_not_known_is_the_library_s():
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["y"])]
    library = Traced()
    graph = model(nodes, [value("s", TensorProto.INT64, [2])], [value("y")])
    found = Evaluation(graph, library).run({"s": np.array([Size("n"), 4], dtype=object)})
    assert library.asked == ["n", "4"]
    assert library.owns(found["y"])


def test_an_operator_that_nobody_knows_is_refused_with_its_node():
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="odd", domain="org.example")
    graph = model([node], [value("x")], [value("y")], domains=["org.example"])
    with pytest.raises(EngineError, match=r"Frobnicate node 'odd'.*org.example"):
        Evaluation(graph, NumpyNamespace())


def test_an_attribute_that_nobody_knows_is_refused_with_its_node():
    node = helper.make_node("Relu", ["x"], ["y"], name="odd", slope=0.1)
    with pytest.raises(EngineError, match=r"Relu node 'odd'.*slope"):
        Evaluation(model([node], [value("x")], [value("y")]), NumpyNamespace())


def test_a_node_that_fails_is_named():
    node = helper.make_node("Add", ["x", "z"], ["y"], name="sum")
    graph = model([node], [value("x"), value("z")], [value("y")])
    with pytest.raises(EngineError, match=r"Add node 'sum'.*broadcast"):
        Evaluation(graph, NumpyNamespace()).run({"x": X, "z": X[:, :3]})


def test_an_output_that_is_a_weight_or_an_input():
    weights = [numpy_helper.from_array(np.ones(4, np.float32), "w")]
    found = answer([], [value("x")], [value("x"), value("w")], weights, feed={"x": X})
    assert np.array_equal(found["x"], X)
    assert np.array_equal(found["w"], np.ones(4))


@pytest.mark.parametrize("opset", [1, 6])
def test_old_operators_line_their_inputs_up_from_an_axis(opset):
    nodes = [helper.make_node("Add", ["x", "b"], ["y"], axis=0, broadcast=1)]
    b = np.array([10, 20, 30], np.float32)
    found = answer(
        nodes, [value("x"), value("b")], [value("y")], opset=opset, feed={"x": X, "b": b}
    )
    assert np.array_equal(found["y"], X + b[:, None])


def test_an_attribute_of_old_that_means_nothing_is_passed_over():
    nodes = [helper.make_node("Relu", ["x"], ["y"], consumed_inputs=[0])]
    found = answer(nodes, [value("x")], [value("y")], opset=1, feed={"x": -X})
    assert not found["y"].any()


def test_softmax_of_old_folds_everything_from_its_axis_on():
    nodes = [helper.make_node("Softmax", ["x"], ["y"])]
    x = X.reshape(3, 2, 2)
    found = answer(nodes, [value("x")], [value("y")], opset=11, feed={"x": x})["y"]
    powers = np.exp(X - X.max(1, keepdims=True))
    np.testing.assert_allclose(found.reshape(3, 4), powers / powers.sum(1, keepdims=True), 1e-6)
