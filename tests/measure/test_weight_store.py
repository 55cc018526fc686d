import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import numpy_helper, parser

from lepton_ai.measure.weight_store import PAGE, WeightStore

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 80] x) => (float[n, 80] y)
{ a = MatMul (x, v)  b = Add (a, bias)  y = MatMul (b, w) }
"""


def net() -> ir.Model:
    model = parser.parse_model(TEXT)
    rng = np.random.default_rng(0)
    for name, shape in {"v": (80, 80), "w": (80, 80), "bias": (80,)}.items():
        values = rng.normal(size=shape).astype("f")
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return ir.serde.deserialize_model(model)


def answer(path) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ones((2, 80), np.float32)})[0]


def test_the_graph_is_small_and_answers_the_same(tmp_path):
    model = net()
    ir.save(model, tmp_path / "whole.onnx")
    WeightStore(tmp_path).save(model, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").stat().st_size < 2000
    np.testing.assert_array_equal(answer(tmp_path / "net.onnx"), answer(tmp_path / "whole.onnx"))
    assert not isinstance(model.graph.initializers["v"].const_value, ir.ExternalTensor)


def test_only_weights_that_are_new_are_written(tmp_path):
    model, store = net(), WeightStore(tmp_path)
    store.save(model, tmp_path / "first.onnx")
    once = (tmp_path / "weights.bin").stat().st_size
    store.save(model.clone(), tmp_path / "second.onnx")
    assert (tmp_path / "weights.bin").stat().st_size == once
    doubled = 2 * model.graph.initializers["w"].const_value.numpy()
    model.graph.initializers["w"].const_value = ir.tensor(doubled, name="w")
    store.save(model, tmp_path / "third.onnx")
    assert once < (tmp_path / "weights.bin").stat().st_size <= once + doubled.nbytes + PAGE
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(onnx.load(tmp_path / "third.onnx").graph.initializer[1]), doubled
    )
    assert not np.array_equal(answer(tmp_path / "third.onnx"), answer(tmp_path / "first.onnx"))
