"""Single nodes out of a graph, each a graph that stands by itself."""

import numpy as np
import onnx
import pytest

from lepton_ai.engines.single_node import single_nodes


def probes(path, most=100, first=()):
    found = []
    for probe in single_nodes(path, most=most, first=first):
        model = None if probe.model is None else onnx.load_from_string(probe.model)
        if model is not None:
            onnx.checker.check_model(model, full_check=True)
        found.append((probe, model))
    return found


def operators(model):
    return [node.op_type for node in model.graph.node]


def test_nodes_that_are_alike_are_offered_once(write):
    path = write(
        "(float[n, 4] x) => (float[n, 4] y)",
        "[a] p = Exp (x) [b] q = Exp (p) [c] r = Sin (q) [d] y = Exp (r)",
    )
    found = {probe.operator: probe.nodes for probe, _ in probes(path)}
    assert found == {"Exp": ("a", "b", "d"), "Sin": ("c",)}


@pytest.mark.parametrize(
    "body",
    [
        "a = LeakyRelu <alpha = 0.1> (x) y = LeakyRelu <alpha = 0.2> (a)",
        "a = Transpose (x) y = Transpose <perm = [1, 0]> (a)",
        "a = Reshape (x, flat) y = Reshape (a, back)",
        "a = Cast <to = 11> (x) b = Exp (a) c = Exp (x) y = Cast <to = 1> (b)",
    ],
)
def test_attributes_constants_shapes_and_dtypes_tell_nodes_apart(write, body):
    path = write(
        "(float[2, 4] x) => (float[2, 4] y)", body, flat=np.array([8]), back=np.array([2, 4])
    )
    assert all(len(probe.nodes) == 1 for probe, _ in probes(path))


def test_constants_stay_constant_and_the_rest_is_given(write):
    path = write(
        "(float[n, 4] x) => (float[n, 2] y)",
        "a = Exp (x) b = Constant <value = int64[2] {1, 3}> () y = Slice (a, zero, two, one)",
        zero=np.array([0]),
        two=np.array([2]),
        one=np.array([1]),
    )
    probe, model = probes(path)[-1]
    assert probe.operator == "Slice"
    assert [value.name for value in model.graph.input] == ["a"]
    assert {tensor.name for tensor in model.graph.initializer} == {"zero", "two", "one"}


def test_arithmetic_on_sizes_comes_along(write):
    path = write(
        "(float[n, 4] x) => (float[m, 2] y)",
        """
        s = Shape (x) n = Gather (s, zero) m = Mul (n, two)
        shape = Concat <axis = 0> (m, two) a = Exp (x) [last] y = Reshape (a, shape)
        """,
        zero=np.array([0]),
        two=np.array([2]),
    )
    model = next(model for probe, model in probes(path) if probe.nodes == ("last",))
    assert operators(model) == ["Shape", "Gather", "Mul", "Concat", "Reshape"]
    assert {value.name for value in model.graph.input} == {"x", "a"}


def test_a_body_comes_with_what_it_reads_and_its_nodes_are_offered_too(write):
    path = write(
        "(float[2, 4] x, bool c) => (float[2, 4] y)",
        """
        e = Exp (x)
        [choice] y = If (c) <
            then_branch = one () => (float[2, 4] p) { [inner] p = Add (e, w) },
            else_branch = two () => (float[2, 4] q) { q = Identity (e) }
        >
        """,
        w=np.ones(4, np.float32),
    )
    found = {probe.nodes: (probe, model) for probe, model in probes(path)}
    probe, choice = found[("choice",)]
    assert probe.has_body
    assert {value.name for value in choice.graph.input} == {"c", "e"}
    inner, model = found[("inner",)]
    assert not inner.has_body
    assert operators(model) == ["Add"]


def test_those_that_are_named_come_first_and_no_more_than_asked(write):
    path = write("(float[n] x) => (float[n] y)", "[a] p = Exp (x) [b] q = Sin (p) [c] y = Cos (q)")
    assert [p.operator for p, _ in probes(path, first={"q"})] == ["Sin", "Exp", "Cos"]
    assert [p.operator for p, _ in probes(path, first={"Cos"}, most=1)] == ["Cos"]
    assert [p.operator for p, _ in probes(path, first={"b"}, most=2)] == ["Sin", "Exp"]


def test_what_reads_an_unknown_dtype_cannot_stand_alone(write):
    path = write(
        "(float[n] x) => (float[n] y)", "a = org.x.Odd (x) [b] y = Exp (a)", domains=', "org.x" : 1'
    )
    alone = {probe.nodes: probe.model for probe, _ in _unchecked(path)}
    assert alone[("b",)] is None


def _unchecked(path):
    return [(probe, None) for probe in single_nodes(path, most=9)]


def test_weights_beside_the_graph_are_taken_along(write):
    path = write(
        "(float[n, 64] x) => (float[n, 64] y)",
        "y = MatMul (x, w)",
        w=np.full((64, 64), 3, np.float32),
    )
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="beside", size_threshold=0
    )
    ((_, model),) = probes(path)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(model.graph.initializer[0]), 3)
