"""The literal answers of graphs, from a real child process."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import parser

from lepton_ai.errors import EngineError, ModelError
from lepton_ai.measure.answering import GraphAnswers

DOUBLE = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 2] x) => (float[n, 2] y) { y = Add (x, x) }
"""
OF_THREE = DOUBLE.replace("[n, 2]", "[3, 2]")


def graph(text: str) -> ir.Model:
    return ir.serde.deserialize_model(parser.parse_model(text))


def call(rows: int) -> dict[str, np.ndarray]:
    return {"x": np.ones((rows, 2), np.float32)}


def test_one_graph_after_another_is_asked_the_same_calls():
    with GraphAnswers(graph(DOUBLE), [call(1), call(3)]) as answers:
        assert [a["y"].shape for a in answers(graph(DOUBLE))] == [(1, 2), (3, 2)]
        squared = answers(graph(DOUBLE.replace("Add", "Mul")))
        assert squared[0]["y"].tolist() == [[1.0, 1.0]]


def test_calls_that_the_original_fails_on_are_dropped():
    with GraphAnswers(graph(OF_THREE), [call(1), call(3), call(2)]) as answers:
        assert [len(c["x"]) for c in answers.calls] == [3]
        assert len(answers(graph(OF_THREE))) == 1


def test_nothing_can_be_proven_where_no_call_is_answered():
    with pytest.raises(ModelError, match="nothing about it can be proven"):
        GraphAnswers(graph(OF_THREE), [call(1)])


def test_a_graph_that_cannot_run_is_told_and_the_next_one_is_answered():
    with GraphAnswers(graph(DOUBLE), [call(2)]) as answers:
        with pytest.raises(EngineError):
            answers(graph(DOUBLE.replace("Add (x, x)", "NoSuchOperator (x)")))
        assert answers(graph(DOUBLE))[0]["y"].tolist() == [[2.0, 2.0]] * 2


def test_the_reference_answers_where_onnx_runtime_does_not():
    # ONNX Runtime's CPU has no kernel for this operator in this type
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (bfloat16[2] x) => (bfloat16[2] y) { y = Ceil (x) }
    """
    import ml_dtypes

    with GraphAnswers(graph(text), [{"x": np.ones(2, ml_dtypes.bfloat16)}]) as answers:
        assert answers(graph(text))[0]["y"].astype("f").tolist() == [1.0, 1.0]


def test_nothing_can_be_proven_of_answers_that_differ_from_call_to_call():
    random = DOUBLE.replace("y = Add (x, x)", "r = RandomUniformLike (x) y = Add (x, r)")
    with pytest.raises(ModelError, match="differ from call to call"):
        GraphAnswers(graph(random), [call(2)])
