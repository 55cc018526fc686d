"""Random graphs with planted redundancy: equal answers, and nothing planted is left."""

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lepton_ai.graph.gate import check_equal
from lepton_ai.graph.rewrite import rules_of
from lepton_ai.graph.rewriting import rewrite_graph

WIDTH = 6
UNARY = ("Relu", "Tanh", "Sigmoid", "Neg", "Abs", "Softplus")
BINARY = ("Add", "Sub", "Max")
PLANTS = (
    "duplicate",
    "identity",
    "cast",
    "reshape",
    "transposes",
    "add zero",
    "times one",
    "dead",
    "constant",
    "slice",
)
#: What only ever was planted; none of it may be left.
PLANTED = {"Identity", "Cast", "Reshape", "Transpose", "Slice", "Exp", "ConstantOfShape"}


class Grown:
    """A graph on its way: nodes, weights, and the values that can be read."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.values = ["x"]

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def weight(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = values
        return name

    def plant(self, kind: str, x: str) -> str:
        """Something redundant on top of ``x``; what is to be read in its place."""
        if kind == "identity":
            return self.node("Identity", x)
        if kind == "cast":
            return self.node("Cast", x, to=TensorProto.FLOAT)
        if kind == "reshape":
            return self.node("Reshape", x, self.weight(np.array([-1, WIDTH])))
        if kind == "transposes":
            return self.node("Transpose", self.node("Transpose", x, perm=[1, 0]), perm=[1, 0])
        if kind == "add zero":
            return self.node("Add", x, self.weight(np.zeros(WIDTH, np.float32)))
        if kind == "times one":
            return self.node("Mul", self.weight(np.ones((1, WIDTH), np.float32)), x)
        if kind == "dead":
            self.node("Exp", self.node("Neg", x))
            return x
        if kind == "constant":
            shape = self.weight(np.array([1, WIDTH]))
            ones = self.node("ConstantOfShape", shape, value=helper.make_tensor("", 1, [1], [2.0]))
            return self.node("Sub", x, ones)
        if kind == "slice":
            ends = self.weight(np.array([0])), self.weight(np.array([2**31]))
            return self.node("Slice", x, *ends, self.weight(np.array([1])))
        first, second = self.node("Tanh", x), self.node("Tanh", x)
        return self.node("Max", first, second)

    def model(self) -> onnx.ModelProto:
        last = self.values[-1]
        for value in self.values[:-1]:
            last = self.node("Add", last, value)
        self.nodes.append(helper.make_node("Mul", [last, self.weight(np.float32([2.0]))], ["y"]))
        graph = helper.make_graph(
            self.nodes,
            "grown",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDTH])],
            [numpy_helper.from_array(values, name) for name, values in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    grown = Grown()
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    matrices = [rng.normal(size=(WIDTH, WIDTH)).astype("f") / WIDTH for _ in range(2)]
    for _ in range(draw(st.integers(2, 7))):
        x = draw(st.sampled_from(grown.values))
        kind = draw(st.sampled_from(("unary", "binary", "product")))
        if kind == "unary":
            x = grown.node(draw(st.sampled_from(UNARY)), x)
        elif kind == "binary":
            other = draw(st.sampled_from(grown.values))
            x = grown.node(draw(st.sampled_from(BINARY)), x, other)
        else:  # a weight is stored anew each time: repeated weights are planted as well
            x = grown.node("MatMul", x, grown.weight(matrices[draw(st.integers(0, 1))]))
        for plant in draw(st.lists(st.sampled_from(PLANTS), max_size=3)):
            x = grown.plant(plant, x)
        grown.values.append(x)
    return grown.model()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(proto=graphs(), seed=st.integers(0, 2**16))
def test_equal_idempotent_and_nothing_planted_is_left(in_process, proto, seed):
    rng = np.random.default_rng(seed)
    calls = [{"x": rng.normal(size=(batch, WIDTH)).astype("f")} for batch in (1, 3)]
    answer = in_process(calls)
    model, done = rewrite_graph(ir.serde.deserialize_model(proto), rules_of("standard"))

    verdict = check_equal(answer(ir.serde.deserialize_model(proto)), answer(model))
    assert verdict.equal, (verdict.why, done.in_words())

    left = {node.op_type for node in model.graph}
    assert not left & PLANTED, (left & PLANTED, done.in_words())
    _no_repeats(model)
    _all_read(model)

    again, nothing = rewrite_graph(model, rules_of("standard"))
    assert nothing.fired == ()
    assert len(again.graph) == done.nodes_after


def _no_repeats(model: ir.Model) -> None:
    keys = [
        (node.op_type, tuple(node.inputs), repr(sorted(node.attributes.items())))
        for node in model.graph
    ]
    assert len(set(keys)) == len(keys)
    weights = [value.const_value for value in model.graph.initializers.values()]
    contents = [
        (str(w.dtype), tuple(w.shape.numpy()), w.tobytes()) for w in weights if w is not None
    ]
    assert len(set(contents)) == len(contents)


def _all_read(model: ir.Model) -> None:
    for node in model.graph:
        assert any(value.uses() or value.is_graph_output() for value in node.outputs)
