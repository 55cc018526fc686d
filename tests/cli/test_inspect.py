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


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(parser.parse_model(NET), path)
    return path


def test_words(lepton: Any, net: Path) -> None:
    done = lepton("inspect", str(net))
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("x: FLOAT [batch,4]", "longest chain", "duplicate: computed again", "Add"):
        assert words in done.stdout


def test_json(lepton: Any, net: Path) -> None:
    done = lepton("inspect", str(net), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert record["model"] == str(net)
    assert (record["nodes"], record["parameters"], record["critical_path"]) == (3, 4, 2)
    assert [finding["kind"] for finding in record["findings"]] == ["duplicate"]
    assert {row["operator"]: row["count"] for row in record["operators"]} == {"Add": 2, "Mul": 1}


@pytest.mark.parametrize("content", [None, b"", b"not a network at all"])
def test_bad_input(lepton: Any, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    done = lepton("inspect", str(path))
    assert done.returncode == 2
    assert "bad.onnx" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
