"""What a rule may rely on: shapes that are true, and types that stay what they are."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

from lepton_ai.errors import ModelError
from lepton_ai.graph.applying import apply_rule
from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.onnx_file import load_graph
from lepton_ai.graph.rewrite import rules_of
from lepton_ai.graph.rewriting import rewrite_graph
from lepton_ai.graph.rule import Ledger, Rule


def graph(text: str) -> ir.Model:
    return ir.serde.deserialize_model(parser.parse_model(text))


def test_sequences_stay_sequences(in_process):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x, float[n] z) => (float[n] y)
    <int64 one = {1}>
    {
        s = SequenceConstruct (x, z)
        i = Identity (x)
        t = SequenceInsert (s, i)
        y = SequenceAt (t, one)
    }
    """
    answer = in_process([{"x": np.float32([1, 2]), "z": np.float32([3, 4])}])
    model, _ = rewrite_graph(graph(text), rules_of("standard"))
    assert answer(model)[0]["y"].tolist() == [3, 4]


def test_a_shape_that_a_caller_may_give_is_not_known(in_process):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[2, 3] x, int64[2] shape) => (float[a, b] y)
    <int64[2] shape = {2, 3}>
    { r = Reshape (x, shape)  y = Relu (r) }
    """
    model = graph(text)
    infer_shapes(model)
    assert "shape" in model.graph.initializers
    model, _ = rewrite_graph(model, rules_of("standard"))
    feed = {"x": np.ones((2, 3), np.float32), "shape": np.array([3, 2])}
    assert in_process([feed])(model)[0]["y"].shape == (3, 2)


def test_a_size_of_minus_one_is_free(write):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 4] x) => (float[n, 4] y) { y = Relu (x) }
    """
    import onnx

    path = write(text)
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(proto, path)
    shape = load_graph(path).graph.inputs[0].shape
    assert shape is not None
    assert not isinstance(shape[0], int)
    assert shape[1] == 4


class Circle(Rule):
    """Makes a node read what it computes."""

    name = "circle"
    requires = "nothing"
    ensures = "a cycle"

    def apply(self, model: ir.Model, ledger: Ledger) -> None:
        first, last = model.graph[0], model.graph[-1]
        if ledger.fire("circle", [first], "harm"):
            first.replace_input_with(0, last.outputs[0])


def test_a_rule_that_makes_a_cycle_has_failed():
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x) => (float[n] y) { a = Relu (x)  y = Neg (a) }
    """
    with pytest.raises(ModelError, match="'circle' failed"):
        apply_rule(graph(text), Circle())
