import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from lepton_ai.errors import ModelError
from lepton_ai.graph.onnx_file import operator_counts
from lepton_ai.graph.opset import convert_opset, misfit


@pytest.fixture
def convert(write, run, tmp_path):
    """Convert a graph's text; it must be valid in the new opset and answer as before."""

    def once(text, version, feed, **weights):
        source = write(text, **weights)
        model = ir.load(source)
        convert_opset(model, version)
        target = tmp_path / "converted.onnx"
        ir.save(model, target)
        onnx.checker.check_model(target, full_check=True)
        assert model.opset_imports[""] == version
        before, after = run(source, **feed), run(target, **feed)
        for name, array in before.items():
            np.testing.assert_allclose(after[name], array, rtol=1e-5, atol=1e-6)
        return model

    return once


def head(version):
    return f'<ir_version: 8, opset_import: ["" : {version}]>\n'


def draw(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("f")


MEAN = """
g (float[n, 3, 4] x) => (float[n, 3] y) {
    m = ReduceMean <axes = [2], keepdims = 0> (x)
    a, b = Split <axis = 1> (m)
    y = Concat <axis = 1> (a, b)
}
"""


def test_axes_that_were_an_attribute_become_an_input(convert):
    text = head(13) + MEAN.replace("3, 4] x", "2, 4] x").replace("n, 3] y", "n, 2] y")
    model = convert(text, 18, {"x": draw(5, 2, 4)})
    mean = next(node for node in model.graph if node.op_type == "ReduceMean")
    assert "axes" not in mean.attributes
    assert len(mean.inputs) == 2
    assert next(n for n in model.graph if n.op_type == "Split").attributes["num_outputs"].value == 2


def test_axes_that_are_an_input_become_an_attribute(convert):
    text = (
        head(18)
        + "g (float[n, 3, 4] x) => (float[n, 3] y) <int64[1] axis = {2}>"
        + "{ y = ReduceMean <keepdims = 0, noop_with_empty_axes = 0> (x, axis) }"
    )
    model = convert(text, 17, {"x": draw(5, 3, 4)})
    mean = next(iter(model.graph))
    assert list(mean.attributes.get_ints("axes")) == [2]
    assert "noop_with_empty_axes" not in mean.attributes
    assert not model.graph.initializers


def test_axes_that_are_computed_cannot_become_an_attribute(write):
    text = (
        head(18)
        + "g (float[n, 3, 4] x, int64[1] axis) => (float[a, b, c] y) { y = ReduceMean (x, axis) }"
    )
    with pytest.raises(ModelError, match=r"ReduceMean '.*' cannot .* opset 18 to 17"):
        convert_opset(ir.load(write(text)), 17)


GELU = "g (float[n, 4] x) => (float[n, 4] y) { z = Gelu <approximate = HOW> (x)\n y = Neg (z) }"


@pytest.mark.parametrize("how", ["none", "tanh"])
def test_an_operator_that_is_new_becomes_the_function_that_it_is(convert, how):
    text = head(20) + GELU.replace("HOW", f'"{how}"')
    model = convert(text, 17, {"x": draw(5, 4)})
    counts = operator_counts(model)
    assert "Gelu" not in counts
    assert counts["Mul"] > 1


def test_a_function_goes_down_through_several_opsets(convert):
    text = (
        head(17)
        + "g (float[n, 4] x) => (float[n, 4] y) { y = LayerNormalization <axis = -1> (x, s, b) }"
    )
    model = convert(text, 13, {"x": draw(5, 4)}, s=draw(4), b=draw(4))
    assert all(not misfit(node, 13) for node in model.graph)


def test_an_operator_without_an_older_form_is_refused_by_name(write):
    text = head(20) + (
        'g (string[n] x) => (string[n] y) <string[1] tail = {"s"}> { y = StringConcat (x, tail) }'
    )
    with pytest.raises(ModelError, match=r"StringConcat '.*' cannot be converted"):
        convert_opset(ir.load(write(text)), 17)


def test_what_the_old_form_cannot_say_is_refused(write):
    text = head(17) + "g (float[a, b] x) => (int64[1] y) { y = Shape <start = 1> (x) }"
    with pytest.raises(ModelError, match="opset 13 knows no attribute 'start'"):
        convert_opset(ir.load(write(text)), 13)


def test_a_type_that_the_old_form_does_not_take_is_refused(write):
    text = head(17) + "g (int32[n] x) => (int32[n] y) { y = Relu (x) }"
    with pytest.raises(ModelError, match=r"allows no tensor\(int32\)"):
        convert_opset(ir.load(write(text)), 13)


def test_an_attribute_that_says_nothing_new_is_dropped(convert):
    text = (
        head(17)
        + "g (float[n, 4] x) => (float[m, 2] y) <int64[2] target = {-1, 2}>"
        + "{ y = Reshape <allowzero = 1> (x, target) }"
    )
    model = convert(text, 13, {"x": draw(5, 4)})
    assert "allowzero" not in next(iter(model.graph)).attributes


def test_a_zero_that_means_no_elements_cannot_be_said(write):
    text = (
        head(17)
        + "g (float[n, 4] x) => (float[m, k] y) <int64[2] target = {0, 2}>"
        + "{ y = Reshape <allowzero = 1> (x, target) }"
    )
    with pytest.raises(ModelError, match="allowzero"):
        convert_opset(ir.load(write(text)), 13)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(("before", "after"), [(11, 13), (13, 11)])
def test_a_softmax_that_meant_another_keeps_its_meaning(convert, operator, before, after):
    text = head(before) + (
        f"g (float[2, 3, 4] x) => (float[2, 3, 4] y) {{ y = {operator} <axis = 1> (x) }}"
    )
    if before == 13:
        text = text.replace("axis = 1", "axis = 2")
    convert(text, after, {"x": draw(2, 3, 4)})


LOOP = """
g (float[n, 4] x, bool flag) => (float[n, 4] y, float[n, 1] w)
<int64 three = {3}, bool yes = {1}>
{
    y = Loop (three, yes, x) <
        body = b (int64 i, bool on, float[n, 4] s) => (bool go, float[n, 4] t) {
        go = Identity (on)
        m = ReduceMean <axes = [1]> (s)
        t = Sub (s, m)
    }>
    w = If (flag) <
        then_branch = p () => (float[n, 1] a) { a = ReduceMean <axes = [1]> (x) },
        else_branch = q () => (float[n, 1] e) { e = ReduceMax <axes = [1]> (x) }
    >
}
"""


@pytest.mark.parametrize("flag", [True, False])
def test_subgraphs_are_converted_with_their_graph(convert, flag):
    model = convert(head(16) + LOOP, 18, {"x": draw(5, 4), "flag": np.array(flag)})
    inner = [node for node in model.graph.all_nodes() if node.op_type.startswith("Reduce")]
    assert len(inner) == 3
    assert all(len(node.inputs) == 2 for node in inner)


def test_foreign_operators_names_and_outer_weights_stay(write, tmp_path):
    text = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n' + (
        "g (float[n, 64] x) => (float[n, 64] y)"
        "{ a = MatMul (x, w)\n b = com.microsoft.Gelu (a)\n y = ReduceMean <axes = [1]> (b) }"
    )
    text = text.replace("float[n, 64] y", "float[n, 1] y")
    source = write(text, w=draw(64, 64))
    onnx.save(
        onnx.load(source), source, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    model = ir.load(source)
    weight = model.graph.initializers["w"].const_value
    assert isinstance(weight, ir.ExternalTensor)
    convert_opset(model, 18)
    assert model.graph.initializers["w"].const_value is weight
    assert [node.domain for node in model.graph if node.op_type == "Gelu"] == ["com.microsoft"]
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_functions_are_put_in_the_place_of_their_calls(convert):
    text = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>\n' + (
        "g (float[n, 4] x) => (float[n, 1] y) { y = own.centre (x) }\n"
        '<domain: "own", opset_import: ["" : 17]> centre (s) => (t)'
        "{ t = ReduceMean <axes = [1]> (s) }"
    )
    model = convert(text, 18, {"x": draw(5, 4)})
    assert operator_counts(model)["ReduceMean"] == 1
    assert not model.functions


def test_the_same_opset_changes_nothing(convert):
    text = head(17) + MEAN.replace("3, 4] x", "2, 4] x").replace("n, 3] y", "n, 2] y")
    model = convert(text, 17, {"x": draw(5, 2, 4)})
    assert operator_counts(model) == {"ReduceMean": 1, "Split": 1, "Concat": 1}


def test_a_newer_opset_gets_the_file_version_that_it_needs(convert):
    model = convert(
        head(17) + "g (float[n] x) => (float[n] y) { y = Relu (x) }", 21, {"x": draw(5)}
    )
    assert model.ir_version >= 10


@pytest.mark.parametrize("version", [0, 6, 1000])
def test_an_opset_that_there_is_not_is_refused(write, version):
    text = head(17) + "g (float[n] x) => (float[n] y) { y = Relu (x) }"
    with pytest.raises(ModelError, match=f"opset {version} is none of those from 7 to"):
        convert_opset(ir.load(write(text)), version)


def test_an_operator_that_no_opset_has_is_refused(write):
    text = head(17) + "g (float[n] x) => (float[n] y) { y = Frobnicate (x) }"
    with pytest.raises(ModelError, match=r"Frobnicate '.*' cannot be converted"):
        convert_opset(ir.load(write(text)), 18)


def test_what_a_converter_left_behind_is_found():
    node = ir.Node("", "ReduceMean", [ir.Value(name="x")], [ir.AttrInt64s("axes", [1])])
    assert "knows no attribute 'axes'" in misfit(node, 18)
    assert not misfit(node, 17)
    assert "no such operator" in misfit(ir.Node("", "Gelu", [ir.Value(name="x")]), 17)
    assert "inputs" in misfit(ir.Node("", "MatMul", [ir.Value(name="x")]), 17)


def test_weights_are_shared_not_copied(write):
    text = head(17) + "g (float[n, 64] x) => (float[n, 64] y) { a = MatMul (x, w)\n y = Relu (a) }"
    model = ir.load(write(text, w=draw(64, 64)))
    before = model.graph.initializers["w"].const_value
    convert_opset(model, 13)
    assert model.graph.initializers["w"].const_value is before
    assert numpy_helper.to_array(ir.serde.serialize_tensor(before)).shape == (64, 64)
