"""``lepton inspect``, by the real command."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import parser

NET = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 4] x) => (float[batch, 4] y)
<float[4] w = {1.0, 2.0, 3.0, 4.0}>
{ a = Add (x, w)  b = Add (x, w)  y = Mul (a, b) }
"""
BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 4] x) => (float[batch, 4] y)
{ a = Exp (x) b = Tanh (a) c = Neg (x) y = Mul (b, c) }
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return written(tmp_path / "net.onnx", NET)


def written(path: Path, text: str) -> Path:
    onnx.save(parser.parse_model(text), path)
    return path


def refused(done: Any) -> str:
    """The one sentence of a command that was refused."""
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    return str(done.stderr)


def test_words(lepton: Any, net: Path) -> None:
    done = lepton("inspect", net, "--no-engines")
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "x: FLOAT [batch,4]",
        "longest chain 2 of 3 nodes",
        "computed twice",
        "computed again what Add of a has computed: Add of b",
        "at batch = 1",
        "MB moved",
    ):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "fit" not in done.stdout.split()


def test_branches_in_words(lepton: Any, tmp_path: Path) -> None:
    done = lepton("inspect", written(tmp_path / "net.onnx", BRANCHES), "--no-engines")
    assert "Exp of a → Tanh of b (2 nodes)" in done.stdout
    assert "nothing redundant was found" in done.stdout


def test_what_engines_say(lepton: Any, net: Path) -> None:
    done = lepton("inspect", net, "--engine", "onnxruntime")
    assert (done.returncode, done.stderr) == (0, "")
    assert "time in onnxruntime" in done.stdout
    assert "onnxruntime takes the graph" in done.stdout
    assert "%" in done.stdout


def test_json(lepton: Any, net: Path) -> None:
    done = lepton("inspect", net, "--json", "--no-engines")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert record["model"] == str(net)
    assert (record["nodes"], record["parameters"]) == (3, 4)
    assert record["parallelism"]["longest_chain"] == 2
    assert [finding["kind"] for finding in record["findings"]] == ["duplicate"]
    assert {row["operator"]: row["count"] for row in record["operators"]} == {"Add": 2, "Mul": 1}
    assert (record["profile"], record["fits"], record["notes"]) == (None, [], [])


def test_the_picture(lepton: Any, net: Path, tmp_path: Path) -> None:
    page = tmp_path / "net.html"
    page.write_text("an older page")
    done = lepton("inspect", net, "--no-engines", "--html", page)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Picture: {page}" in done.stdout
    assert page.read_text("utf-8").lower().startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.html", "net.onnx"]
    assert page.stat().st_mode & 0o777 == 0o644


def test_a_picture_that_cannot_be_written(lepton: Any, net: Path, tmp_path: Path) -> None:
    assert "is a folder" in refused(lepton("inspect", net, "--html", tmp_path))
    nowhere = tmp_path / "nowhere" / "net.html"
    assert "there is no folder" in refused(lepton("inspect", net, "--html", nowhere))


def test_engines_that_are_unknown_or_unasked(lepton: Any, net: Path) -> None:
    words = refused(lepton("inspect", net, "--engine", "abacus"))
    assert "'abacus'" in words
    assert "onnxruntime, openvino" in words
    assert "give one" in refused(lepton("inspect", net, "--engine", "onnxruntime", "--no-engines"))


@pytest.mark.parametrize("content", [None, b"", b"not a network at all"])
def test_bad_input(lepton: Any, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    assert "bad.onnx" in refused(lepton("inspect", path))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("a = Abs (b) b = Neg (a) y = Add (a, x)", "the graph has a cycle, through"),
        ("y = Add (x, lost)", "reads 'lost', which nothing in the graph produces"),
        ("y = Frobnicate (x)", "custom operator of Frobnicate node 'first'"),
        ("y = my.company.Frobnicate (x)", "custom operator of my.company:Frobnicate node 'first'"),
        ("y = Not (x)", "Not node 'first' reads 'x', which is float"),
        ("y = Add (x)", "Add node 'first' has 1 inputs"),
    ],
)
def test_broken_graphs_are_named_with_the_node(
    lepton: Any, tmp_path: Path, body: str, named: str
) -> None:
    head = '<ir_version: 8, opset_import: ["" : 17, "my.company" : 1]>'
    model = parser.parse_model(f"{head} g (float[4] x) => (float[4] y) {{ {body} }}")
    model.graph.node[0].name = "first"
    onnx.save(model, tmp_path / "bad.onnx")
    assert named in refused(lepton("inspect", tmp_path / "bad.onnx"))


def test_names_that_would_steer_a_terminal(lepton: Any, tmp_path: Path) -> None:
    model = parser.parse_model(NET)
    model.graph.node[0].name = "\x1b[31mred[bold]"
    onnx.save(model, tmp_path / "net.onnx")
    done = lepton("inspect", tmp_path / "net.onnx", "--no-engines")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "red[bold]" in done.stdout
