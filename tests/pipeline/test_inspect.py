"""A network inspected: its graph, and what the engines say of it."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from lepton_ai.errors import DataError, UnknownNameError
from lepton_ai.graph.inspection.inspect import inspect_graph
from lepton_ai.graph.rule import Firing
from lepton_ai.pipeline import inspect as module
from lepton_ai.pipeline.inspect import ask_fit, ask_profile, inspect

POOL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 64, 7, 7] x) => (float[n, 64, 1, 1] y)
{
    [exp] e = Exp (x)
    [pool] y = AveragePool <kernel_shape = [64, 64], strides = [64, 64], ceil_mode = 1> (e)
}"""
GLOBAL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 64, 7, 7] x) => (float[n, 64, 1, 1] y)
{ e = Exp (x) y = GlobalAveragePool (e) }"""
WORDS = """<ir_version: 8, opset_import: ["" : 17]>
g (int64[batch, tokens] ids) => (float[batch, tokens, 4] y)
{
    s = Shape (ids) n = Gather (s, one) at = Range (zero, n, one)
    [words] w = Gather (t, ids) [places] p = Gather (u, at) [sum] y = Add (w, p)
}"""


def save(path, text, **weights):
    model = parser.parse_model(text)
    for name, values in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.save(model, path)
    return path


@pytest.fixture
def pool(tmp_path):
    return save(tmp_path / "pool.onnx", POOL)


def test_all_engines_are_asked_and_the_first_that_takes_it_is_profiled(digits):
    report = inspect(digits / "model.onnx")
    assert [(one.engine, one.takes) for one in report.fits] == [
        ("onnxruntime", True),
        ("openvino", True),
    ]
    assert report.profile.engine == "onnxruntime"
    assert {n for k in report.profile.kernels for n in k.nodes} == {"layer_0", "r0", "layer_1"}
    assert report.nodes == 3
    record = json.loads(json.dumps(report.to_json()))
    assert record["profile"]["kernels"][0]["nodes"]
    assert record["fits"][0]["takes"] is True


def test_none_are_asked_where_none_are_wanted(digits):
    report = inspect(str(digits / "model.onnx"), engines=())
    assert (report.fits, report.profile, report.notes) == ((), None, ())


def test_the_profile_is_of_the_engine_that_is_named(digits):
    report = inspect(digits / "model.onnx", engines=["onnxruntime"], profile="openvino")
    assert report.profile.engine == "openvino"
    assert [one.engine for one in report.fits] == ["onnxruntime", "openvino"]


def test_one_that_refuses_is_not_profiled_but_the_next_is(pool):
    report = inspect(pool, engines=["openvino", "onnxruntime"])
    assert [one.takes for one in report.fits] == [False, True]
    assert [one.node for one in report.fits[0].refusals] == ["pool"]
    assert report.profile.engine == "onnxruntime"


def test_a_profile_that_fails_is_a_note(pool, digits):
    report = inspect(pool, engines=(), profile="openvino")
    assert report.profile is None
    (note,) = report.notes
    assert note.startswith("where the time of openvino goes is not known: openvino refuses")
    report = inspect(digits / "model.onnx", engines=(), profile="reference")
    assert "reference does not tell" in report.notes[-1]


def test_an_engine_that_is_not_known_is_a_users_mistake(digits):
    with pytest.raises(UnknownNameError, match="none of the engines is called 'warp'"):
        inspect(digits / "model.onnx", engines=["warp"])


def test_sizes_that_the_graph_cannot_take_give_way_to_smaller_ones(tmp_path):
    """The analysis counts at 128 tokens; the table of positions has 20."""
    table = np.ones((20, 4), np.float32)
    path = save(
        tmp_path / "words.onnx",
        WORDS,
        t=table,
        u=table,
        one=np.array(1),
        zero=np.array(0),
    )
    report = inspect(path, engines=["onnxruntime"])
    assert report.sizes["tokens"] > 20
    assert report.notes == ()
    assert {"words", "places", "sum"} <= {n for k in report.profile.kernels for n in k.nodes}


def test_a_large_graph_is_not_compiled_unasked(digits, monkeypatch):
    monkeypatch.setattr(module, "MOST_NODES_UNASKED", 2)
    report = inspect(digits / "model.onnx")
    assert (report.fits, report.profile) == ((), None)
    assert report.notes == ("the graph has 3 nodes, so no engine was asked; name one to ask it",)
    assert inspect(digits / "model.onnx", engines=["onnxruntime"]).profile is not None


def test_a_rule_that_unlocks_an_engine_is_named(pool, tmp_path):
    rewritten = save(tmp_path / "rewritten.onnx", GLOBAL)
    firings = [
        Firing(rule="full-pool", site="y", nodes=("pool",), why="it averages all"),
        Firing(rule="later", site="y", nodes=("pool", "exp"), why="so it does"),
    ]
    report = ask_fit(inspect_graph(pool), pool, ["openvino"], rewritten=rewritten, firings=firings)
    assert report.fits[0].takes_rewritten is True
    assert [one.unlocked_by for one in report.fits[0].refusals] == ["full-pool"]


def test_what_cannot_be_made_up_is_a_note(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (seq(float[n]) x) => (int64 y) { y = SequenceLength (x) }"""
    path = save(tmp_path / "sequence.onnx", text)
    report = ask_profile(inspect_graph(path), path, "onnxruntime")
    assert report.profile is None
    assert "'x' is a sequence" in report.notes[-1]


def test_a_module_is_inspected_on_its_example():
    torch = pytest.importorskip("torch")
    layers = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU())
    with pytest.raises(DataError, match="does not say what its inputs look like"):
        inspect(layers, engines=())
    example = {"input": np.ones((2, 8), np.float32)}
    report = inspect(layers, engines=["onnxruntime"], example=example)
    assert report.parameters == 36
    assert report.profile.milliseconds > 0
    assert layers.training
