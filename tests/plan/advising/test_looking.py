from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from lepton_ai.plan.advising.looking import look


def test_what_a_graph_is_made_of(convolutional: Path, tmp_path: Path):
    found = look(str(convolutional), str(tmp_path / "looked.onnx"))
    assert onnx.load(tmp_path / "looked.onnx").graph.node[0].name == "n0"
    whole = found["whole"]
    assert whole["nodes"] == len(found["nodes"]) == 9
    assert whole["macs"] == sum(node["macs"] for node in found["nodes"])
    assert whole["float_bytes"] == whole["product_bytes"] > 0.9 * whole["bytes"]
    assert whole["table_bytes"] == 0
    removable = {node["name"] for node in found["nodes"] if node["removable"]}
    assert {"n0", "n1", "n2", "n3", "n4", "n5"} <= removable


def test_tables_are_told_from_products(tmp_path: Path):
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "g (int64[n] i) => (float[n, 4] y) { r = Gather (t, i) m = Transpose <perm = [1, 0]> (w) "
        "y = MatMul (r, m) }"
    )
    for name, shape in (("t", (100, 8)), ("w", (4, 8))):
        values = np.ones(shape, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.save(model, tmp_path / "net.onnx")
    whole = look(str(tmp_path / "net.onnx"), str(tmp_path / "looked.onnx"))["whole"]
    assert (whole["table_bytes"], whole["product_bytes"]) == (100 * 8 * 4, 4 * 8 * 4)
