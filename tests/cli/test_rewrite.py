"""What ``lepton rewrite`` prints; what it does is tested in ``tests/pipeline/test_rewrite.py``."""

from pathlib import Path
from typing import Any

import onnx
from onnx import parser

CALLING = """
<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
g (float[n, 4] x) => (float[n, 4] y) { a = local.Twice (x)  y = Relu (a) }
<domain: "local", opset_import: ["" : 17]>
Twice (p) => (q) { q = Add (p, p) }
"""


def test_names_that_would_steer_a_terminal(lepton: Any, tmp_path: Path) -> None:
    model = parser.parse_model(CALLING)
    model.functions[0].name = model.graph.node[0].op_type = "\x1b[31mTwice"
    onnx.save(model, tmp_path / "net.onnx")
    done = lepton("rewrite", "net.onnx", "-o", "out.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "[31mTwice" in done.stdout
