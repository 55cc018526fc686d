"""Operators used as they cannot be: named with the node, and refused by ONNX Runtime as well."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper as h
from onnx import numpy_helper, parser

from lepton_ai.errors import ModelError
from lepton_ai.formats.read import read

HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1, "my" : 1]>'


@pytest.fixture
def load(tmp_path):
    def write_and_read(proto):
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        path = tmp_path / "net.onnx"
        onnx.save(proto, path)
        return read(path, folder)

    return write_and_read


def named(text, *names):
    """A parsed model whose nodes are called ``names``."""
    model = parser.parse_model(f"{HEAD} {text}")
    for node, name in zip(model.graph.node, names, strict=False):
        node.name = name
    return model


def start(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "g (int64[n, 4] x, int64[4, 4] w) => (int64[n, 4] y) { a = Elu (x) y = Abs (a) }",
            "Elu node 'first' reads 'x', which is int64, as its input 'X', which may be double, "
            "float, float16",
        ),
        (
            "g (float[n] x, int64[n] z) => (float[n] y) { a = Abs (x) y = Add (a, z) }",
            "Add node 'second' reads 'a', which is float, and 'z', which is int64, and wants them "
            "alike",
        ),
        (
            "g (float[n] x) => (float[n] y) { a = Cast <to = 7> (x) y = Softmax (a) }",
            "Softmax node 'second' reads 'a', which is int64",
        ),
        (
            "g (float[n] x) => (int64[n] y) { a = Abs (x) y = Abs (a) }",
            "output 'y' is declared int64, and Abs node 'second' makes it float",
        ),
        (
            "g (float[n] x) => (float[n] y) { y = MatMul (x) }",
            "MatMul node 'first' has 1 inputs, and 2 are wanted",
        ),
        (
            "g (float[n] x) => (float[n] y) { y = Concat <axis = 0> () }",
            "Concat node 'first' has 0 inputs, and at least 1 are wanted",
        ),
        (
            "g (float[n] x) => (float[n] y) { y = Slice (x, x) }",
            "Slice node 'first' has 2 inputs, and 3 to 5 are wanted",
        ),
        (
            "g (float[n] x) => (float[n] y) { y = Cast (x) }",
            "Cast node 'first' lacks its attribute 'to'",
        ),
        (
            "g (float[n, m] x) => (float[n, m] y) { y = Softmax <axis = 1.5> (x) }",
            "attribute 'axis' of Softmax node 'first' is of type float, and int is wanted",
        ),
    ],
)
def test_wrong_uses_are_named(load, text, complaint):
    model = named(text, "first", "second")
    with pytest.raises(ModelError) as caught:
        load(model)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(Exception, match=r"."):
        start(model)


def test_a_needed_input_that_is_left_out(load):
    model = named("g (float[n, 4] x) => (float[n, 4] y) { y = MatMul (x, x) }", "product")
    model.graph.node[0].input[1] = ""
    with pytest.raises(ModelError, match="MatMul node 'product' is not given its input 'B'"):
        load(model)


def test_a_wrong_dtype_inside_a_branch_and_from_outside_it(load):
    text = """g (bool c, float[n] x, int64[n] z) => (float[n] y) {
        y = If (c) <
            then_branch = t () => (float[n] u) { u = Add (x, z) },
            else_branch = e () => (float[n] v) { v = Neg (x) }
        >
    }"""
    with pytest.raises(ModelError, match="Add node without a name reads 'x', which is float, and"):
        load(named(text))


@pytest.mark.parametrize(
    "text",
    [
        # a homogeneous list, optional inputs left out, and constants that tell a dtype
        "g (float[n, 4] x) => (float[m, 4] y) { y = Concat <axis = 0> (x, x, x) }",
        "g (float[n, 4] x) => (float[n, 4] y) <float six = {6.0}> { y = Clip (x, , six) }",
        "g (float[n, 4] x, int64[k] i) => (float[k, 4] y) { y = Gather (x, i) }",
        "g (float[n, 4] x) => (float[n, 4] y) { y = com.microsoft.FastGelu (x) }",
        "g (float[n, 4] x, bool[n, 4] c) => (float[n, 4] y) { y = Where (c, x, x) }",
    ],
)
def test_what_onnx_runtime_runs_is_taken(load, text):
    model = named(text)
    start(model)
    assert load(model).signature.input_names


def test_dtypes_of_a_function_are_those_of_each_call(load):
    body = [h.make_node("Add", ["a", "a"], ["b"])]
    twice = h.make_function("my", "Twice", ["a"], ["b"], body, [h.make_opsetid("", 17)])
    model = named(
        "g (float[n] x, int64[n] z) => (float[n] y, int64[n] v) { y = Abs(x) v = Abs(z) }"
    )
    for node in model.graph.node:
        node.op_type, node.domain = "Twice", "my"
    model.functions.append(twice)
    start(model)
    assert load(model).signature.output_names == ("y", "v")


def test_functions_that_call_each_other_in_a_circle(load):
    def calling(name, other):
        body = [h.make_node(other, ["a"], ["b"], domain="my")]
        opsets = [h.make_opsetid("", 17), h.make_opsetid("my", 1)]
        return h.make_function("my", name, ["a"], ["b"], body, opsets)

    model = named("g (float[n] x) => (float[n] y) { y = my.One (x) }")
    model.functions.extend([calling("One", "Other"), calling("Other", "One")])
    with pytest.raises(ModelError, match="call each other in a circle: my:One, my:Other"):
        load(model)


def test_large_weights_have_their_dtype_checked_without_being_read(load):
    model = named("g (float[n, 64] x) => (float[n, 64] y) { y = MatMul (x, w) }", "product")
    weights = np.ones((64, 64), np.float64)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    with pytest.raises(
        ModelError, match="'product' reads 'x', which is float, and 'w', which is d"
    ):
        load(model)
    del model.graph.initializer[:]
    model.graph.initializer.append(numpy_helper.from_array(weights.astype("f"), "w"))
    assert load(model).signature.input_names == ("x",)
