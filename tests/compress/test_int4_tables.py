"""Tables that rows are looked up in, stored in 4 bits beside whatever else a graph is."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_ai.compress.compressor import named_compressor
from lepton_ai.compress.int4_tables import store_tables
from lepton_ai.errors import ModelError

ROWS, WIDTH = 500, 64


def embedding(path, *, reader="Gather", second=None):
    """Rows looked up and multiplied by a matrix."""
    random = np.random.default_rng(0)
    table = random.normal(size=(ROWS, WIDTH)).astype(np.float32)
    weight = random.normal(size=(WIDTH, WIDTH)).astype(np.float32)
    looked = {
        "Gather": helper.make_node("Gather", ["table", "ids"], ["rows"], name="look"),
        "MatMul": helper.make_node("MatMul", ["ids", "table"], ["rows"], name="look"),
    }[reader]
    kind = TensorProto.INT64 if reader == "Gather" else TensorProto.FLOAT
    shape = ["n", 8] if reader == "Gather" else ["n", ROWS]
    nodes = [looked, helper.make_node("MatMul", ["rows", "weight"], ["y"], name="product")]
    if second is not None:
        nodes.append(helper.make_node(second, ["table"], ["z"], name="second"))
        nodes.append(helper.make_node("Add", ["y", "z"], ["sum"], name="sum"))
    graph = helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info("ids", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(weight, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def answers(path, ids) -> np.ndarray:
    return onnxruntime.InferenceSession(path).run(None, {"ids": ids})[0]


def noise_db(given, wanted) -> float:
    return 10 * np.log10(np.square(wanted).mean() / np.square(given - wanted).mean())


@pytest.fixture
def ids():
    return np.random.default_rng(1).integers(0, ROWS, size=(16, 8))


@pytest.mark.parametrize("compressor", [None, "int8-static-ort", "int8-static-nncf"])
def test_the_tables_alone_are_rounded(tmp_path, ids, compressor):
    source = embedding(tmp_path / "model.onnx")
    if compressor is not None:
        whole, source = source, tmp_path / "int8.onnx"
        calls = [{"ids": ids[:1]}, {"ids": ids[1:2]}]
        named_compressor(compressor).compress(whole, source, calls)
    store_tables("int4-tables", source, tmp_path / "small.onnx")
    before = source.stat().st_size
    assert (tmp_path / "small.onnx").stat().st_size < before - ROWS * WIDTH * 0.35
    given, wanted = answers(tmp_path / "small.onnx", ids), answers(source, ids)
    assert 15 < noise_db(given, wanted) < 40


@pytest.mark.parametrize(
    "options", [{"reader": "MatMul"}, {"second": "Transpose"}], ids=["product", "read twice"]
)
def test_what_is_multiplied_is_no_table(tmp_path, options):
    source = embedding(tmp_path / "model.onnx", **options)
    with pytest.raises(ModelError, match="no table"):
        store_tables("int4-tables", source, tmp_path / "small.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
