import numpy as np
import onnx_ir as ir
import pytest

from lepton_ai.errors import ModelError
from lepton_ai.graph.freeze import freeze, symbolic_sizes

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, tokens, 4] x, bool flag) => (float[rows, 4] y, float[batch, tokens, 4] z)
<int64[2] target = {-1, 4}>
{
    y = Reshape (x, target)
    z = If (flag) <
        then_branch = t () => (float[batch, tokens, 4] zt) { zt = Neg (x) },
        else_branch = e () => (float[batch, tokens, 4] ze) { ze = Exp (x) }
    >
}
"""


def shapes(model):
    return {
        value.name: [size if isinstance(size, int) else size.value for size in value.shape]
        for graph in model.graphs()
        for value in (*graph.inputs, *graph.outputs)
        if value.shape is not None
    }


@pytest.fixture
def model(write):
    return ir.load(write(TEXT))


def test_the_sizes_that_a_caller_chooses_are_named_in_order(model):
    assert symbolic_sizes(model) == ("batch", "tokens")


def test_sizes_are_fixed_everywhere_and_what_follows_is_inferred(model, tmp_path, run):
    freeze(model, {"batch": 2, "tokens": 3})
    found = shapes(model)
    assert found["x"] == found["z"] == found["zt"] == found["ze"] == [2, 3, 4]
    assert found["y"] == [6, 4]
    ir.save(model, tmp_path / "frozen.onnx")
    x = np.arange(24, dtype="f").reshape(2, 3, 4)
    answers = run(tmp_path / "frozen.onnx", x=x, flag=np.array(True))
    assert np.array_equal(answers["z"], -x)
    with pytest.raises(Exception, match="invalid dimensions"):
        run(tmp_path / "frozen.onnx", x=x[:1], flag=np.array(True))


def test_one_size_alone_leaves_the_other_symbolic(model):
    freeze(model, {"tokens": 3})
    assert shapes(model)["x"] == ["batch", 3, 4]


def test_an_expression_of_sizes_follows_them(write):
    model = ir.load(write(TEXT))
    model.graph.outputs[0].shape = ir.Shape(["batch*tokens", 4])
    freeze(model, {"batch": 2})
    assert symbolic_sizes(model) == ("tokens",)
    assert shapes(model)["y"] == ["2*tokens", 4]


def test_a_name_that_is_no_expression_is_left(write):
    model = ir.load(write(TEXT))
    model.graph.inputs[0].shape = ir.Shape(["batch", "tokens::0", 4])
    freeze(model, {"batch": 2})
    assert shapes(model)["x"] == [2, "tokens::0", 4]
    freeze(model, {"tokens::0": 5})
    assert shapes(model)["x"] == [2, 5, 4]


@pytest.mark.parametrize("name", ["rows", "words"])
def test_a_name_that_no_input_has_is_refused_with_those_there_are(model, name):
    with pytest.raises(ModelError, match=f"named '{name}': there are batch, tokens"):
        freeze(model, {"batch": 1, name: 3})
    assert shapes(model)["x"] == ["batch", "tokens", 4]


def test_a_model_with_no_such_sizes_says_so(model):
    freeze(model, {"batch": 1, "tokens": 1})
    with pytest.raises(ModelError, match="all of them are fixed"):
        freeze(model, {"batch": 1})


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3"])
def test_a_size_that_no_tensor_can_have_is_refused(model, size):
    with pytest.raises(ModelError, match="'batch' must be a positive whole number"):
        freeze(model, {"batch": size})
