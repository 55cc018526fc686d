"""``lepton rewrite`` as a user runs it, and the same from Python."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import lepton_ai
from lepton_ai.graph.rewriting import Rewriting
from lepton_ai.graph.rule import Firing
from lepton_ai.measure.measurement import Latency
from lepton_ai.pipeline.rewrite import judge

NET = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 8] x) => (float[batch, 8] y)
{
    same = Identity (x)
    a = MatMul (same, v)
    b = MatMul (x, w)
    c = Add (a, b)
    t = Transpose <perm = [1, 0]> (c)
    u = Transpose <perm = [1, 0]> (t)
    y = Relu (u)
}
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    model = parser.parse_model(NET)
    weight = np.random.default_rng(0).normal(size=(8, 8)).astype("f")
    model.graph.initializer.append(numpy_helper.from_array(weight, "v"))
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    return path


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_the_same_answers_from_fewer_nodes(lepton: Any, net: Path) -> None:
    done = lepton("rewrite", "net.onnx", "-o", "small.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    assert operators(net.with_name("small.onnx")) == ["MatMul", "Add", "Relu"]
    for words in ("7 → 3 nodes", "generated calls", "merge-duplicates", "Written: small.onnx"):
        assert words in done.stdout


def test_json_names_every_change_and_what_each_engine_took(lepton: Any, net: Path) -> None:
    words = ("rewrite", net, "-o", "small.onnx", "--engine", "onnxruntime", "--json")
    done = lepton(*words)
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    standard = record["steps"][0]
    assert (standard["nodes_before"], standard["nodes_after"]) == (7, 3)
    assert (standard["name"], standard["rolled_back"]) == ("standard", [])
    assert {"rule", "site", "nodes", "why"} == set(standard["fired"][0])
    assert standard["before"]["onnxruntime"]["p50_ms"] > 0
    assert standard["after"]["onnxruntime"]["p50_ms"] > 0


def test_real_data_are_compared_where_they_are_given(lepton: Any, net: Path) -> None:
    for count, compared in ((20, 16), (3, 3)):
        np.savez(net.with_name("val.npz"), x=np.ones((count, 8), np.float32))
        words = ("rewrite", net, "-o", "small.onnx", "--data", "val.npz", "--json", "--overwrite")
        done = lepton(*words)
        assert done.returncode == 0, done.stderr
        record = json.loads(done.stdout)
        assert (record["generated"], record["calls"]) == (False, compared)


def test_sizes_are_frozen_and_the_opset_converted_on_request(lepton: Any, net: Path) -> None:
    words = ("rewrite", net, "-o", "small.onnx", "--freeze", "batch=2", "--opset", "13")
    done = lepton(*words)
    assert done.returncode == 0, done.stderr
    model = onnx.load(net.with_name("small.onnx"))
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_value for size in sizes] == [2, 8]
    assert model.opset_import[0].version == 13


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gone.onnx", "-o", "out.onnx"), "gone.onnx"),
        (("net.onnx", "-o", "out.txt"), "NAME.onnx"),
        (("net.onnx", "-o", "net.onnx"), "exists"),
        (("net.onnx", "-o", "nowhere/out.onnx"), "no folder"),
        (("net.onnx", "-o", "out.onnx", "--engine", "warp"), "onnxruntime"),
        (("net.onnx", "-o", "out.onnx", "--freeze", "batch"), "NAME=SIZE"),
        (("net.onnx", "-o", "out.onnx", "--freeze", "batch=0"), "batch"),
        (("net.onnx", "-o", "out.onnx", "--freeze", "rows=2"), "batch"),
        (("net.onnx", "-o", "out.onnx", "--freeze", "batch=1", "--freeze", "batch=2"), "twice"),
        (("net.onnx", "-o", "out.onnx", "--opset", "99"), "opset"),
        (("net.onnx", "-o", "out.onnx", "--data", "gone.npz"), "gone.npz"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    lepton: Any, net: Path, words: tuple[str, ...], said: str
) -> None:
    before = net.read_bytes()
    done = lepton("rewrite", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in net.parent.iterdir()} == {"net.onnx"}
    assert net.read_bytes() == before


def test_answers_that_differ_from_call_to_call_cannot_be_proven(
    lepton: Any, tmp_path: Path
) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x) => (float[n] y)
    { a = RandomUniformLike (x)  b = Identity (a)  y = Add (b, x) }
    """
    onnx.save(parser.parse_model(text), tmp_path / "random.onnx")
    done = lepton("rewrite", "random.onnx", "-o", "out.onnx")
    assert done.returncode == 2
    assert "from call to call" in done.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_the_same_from_python(net: Path) -> None:
    report = lepton_ai.rewrite(net, net.with_name("small.onnx"))
    assert (report.nodes_before, report.nodes_after, report.generated) == (7, 3, True)
    assert report.bytes_after < report.bytes_before
    assert [step.name for step in report.steps] == ["standard"]
    with pytest.raises(lepton_ai.UserError, match="exists"):
        lepton_ai.rewrite(net, net.with_name("small.onnx"))
    lepton_ai.rewrite(net, net.with_name("small.onnx"), overwrite=True)


def took(low: float, high: float) -> dict[str, Latency]:
    middle = (low + high) / 2
    latency = Latency(p50_ms=middle, p90_ms=high, p99_ms=high, low_ms=low, high_ms=high, runs=30)
    return {"it": latency}


FIRED = Rewriting(
    nodes_before=2,
    nodes_after=1,
    fired=(Firing(rule="r", site="s", nodes=("n",), why="w"),),
    rolled_back=(),
    near_misses=(),
)


@pytest.mark.parametrize(
    ("name", "before", "after", "kept"),
    [
        ("standard", took(1.0, 1.1), took(0.8, 0.9), True),
        ("standard", took(1.0, 1.1), took(1.05, 1.2), True),  # within the noise
        ("standard", took(1.0, 1.1), took(1.11, 1.12), True),  # as two of the same are
        ("standard", took(1.0, 1.1), took(1.2, 1.3), False),
        ("fuse-attention", took(1.0, 1.1), took(0.8, 0.9), True),
        ("fuse-attention", took(1.0, 1.1), took(0.95, 1.05), False),  # faster within the noise
        ("fuse-attention", took(1.0, 1.1), took(1.2, 1.3), False),
        ("standard", {}, took(1.0, 1.1), True),  # the engine takes the graph only now
        ("standard", took(1.0, 1.1), {}, False),  # and here no longer
    ],
)
def test_what_stays(name: str, before: Any, after: Any, kept: bool) -> None:
    assert judge(name, FIRED, before, after)[0] is kept


def test_weights_of_another_graph_beside_the_output_are_not_overwritten(
    lepton: Any, net: Path
) -> None:
    beside = net.with_name("other.onnx.data")
    beside.write_bytes(b"weights of another graph")
    done = lepton("rewrite", "net.onnx", "-o", "other.onnx")
    assert (done.returncode, "other.onnx.data exists" in done.stderr) == (2, True)
    assert beside.read_bytes() == b"weights of another graph"
    assert not net.with_name("other.onnx").exists()


@pytest.mark.parametrize("verb", [("inspect",), ("rewrite", "-o", "other.onnx")])
def test_a_path_that_is_too_long_is_told_in_a_sentence(lepton: Any, net: Path, verb: Any) -> None:
    done = lepton(*verb, "a" * 300 + ".onnx")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "too long" in done.stderr
