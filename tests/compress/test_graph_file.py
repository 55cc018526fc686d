"""What all quantisers refuse before they begin, and what they are told about a graph."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lepton_ai.compress.graph_file import compress_file, float_type, has_attention
from lepton_ai.errors import DataError, ModelError


def fail(ready: Path, done: Path) -> None:
    raise AssertionError("the quantiser must not be reached")


def test_more_than_two_gigabytes_is_refused_without_reading_them(tmp_path):
    elements = 520_000_000
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[elements])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="w.bin")
    node = helper.make_node("Relu", ["w"], ["y"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [elements])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [], [y], [weight])), tmp_path / "n")
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(4 * elements)  # a hole: takes no room on the disk
    with pytest.raises(ModelError, match="more than 2 GB"):
        compress_file("int8", tmp_path / "n", tmp_path / "small.onnx", fail)


def test_weights_that_are_missing(tmp_path):
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="gone.bin")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph([helper.make_node("Relu", ["w"], ["y"])], "g", [], [y], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "n")
    with pytest.raises(ModelError, match="cannot be read"):
        compress_file("int8", tmp_path / "n", tmp_path / "small.onnx", fail)


def test_a_quantiser_that_fails_leaves_nothing_and_is_quoted(build, tmp_path):
    net = build("mlp")

    def raising(ready: Path, done: Path) -> None:
        done.write_bytes(b"half")
        raise KeyError("a tensor nobody knows")

    with pytest.raises(ModelError, match="KeyError: 'a tensor nobody knows'"):
        compress_file("int8", net.path, tmp_path / "small.onnx", raising)
    assert {path.name for path in tmp_path.iterdir()} == {"mlp.onnx"}


def test_a_users_mistake_passes_as_it_is(build, tmp_path):
    def raising(ready: Path, done: Path) -> None:
        raise DataError("no samples")

    with pytest.raises(DataError, match="no samples"):
        compress_file("int8", build("mlp").path, tmp_path / "small.onnx", raising)


def test_a_result_that_is_not_smaller_is_refused(build, tmp_path):
    net = build("mlp")

    def growing(ready: Path, done: Path) -> None:
        model = onnx.load(ready)
        scale = helper.make_node("QuantizeLinear", ["y", "s"], ["unused"])
        model.graph.node.append(scale)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "s"))
        model.doc_string = "x" * net.path.stat().st_size
        onnx.save(model, done)

    with pytest.raises(ModelError, match="would grow"):
        compress_file("int8", net.path, tmp_path / "small.onnx", growing)
    assert not (tmp_path / "small.onnx").exists()


def test_an_existing_target_is_replaced(build, tmp_path):
    net = build("mlp")
    (tmp_path / "small.onnx").write_text("old")

    def keep(ready: Path, done: Path) -> None:
        model = helper.make_model(
            helper.make_graph(
                [helper.make_node("DequantizeLinear", ["a", "b"], ["c"])], "g", [], []
            )
        )
        onnx.save(model, done)

    compress_file("int8", net.path, tmp_path / "small.onnx", keep)
    assert onnx.load(tmp_path / "small.onnx").graph.node[0].op_type == "DequantizeLinear"


def test_attention_is_recognised(build):
    for kind, attends in (("mlp", False), ("conv", False), ("transformer", True), ("fused", True)):
        assert has_attention(onnx.load(build(kind).path)) is attends


def test_the_float_type_is_that_of_most_weights(build):
    model = onnx.load(build("mlp").path)
    assert float_type(model) == TensorProto.FLOAT
    for weight in model.graph.initializer:
        weight.data_type = TensorProto.FLOAT16
    assert float_type(model) == TensorProto.FLOAT16
