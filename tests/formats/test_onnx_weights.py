"""Weights whose values are not as many as they should be, in the file and beside it."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from lepton_ai.errors import ModelError
from lepton_ai.formats.onnx_weights import check_sizes
from lepton_ai.formats.read import read

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def model(weight, dtype=T.FLOAT):
    nodes = [h.make_node("Mul", ["x", "w"], ["y"], "scaling")]
    ends = [h.make_tensor_value_info(name, dtype, ["n", 3]) for name in "xy"]
    graph = h.make_graph(nodes, "net", ends[:1], ends[1:], [weight])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize(
    "dtype",
    ["float32", "float16", "bfloat16", "int8", "int64", "uint64", "float64", "bool", "int4",
     "uint4", "complex64", "float8_e4m3fn"],
)  # fmt: skip
@pytest.mark.parametrize("raw", [True, False])
def test_sizes_of_every_dtype(dtype, raw):
    values = np.ones((3, 5), getattr(ml_dtypes, dtype, dtype))
    number = h.np_dtype_to_tensor_dtype(values.dtype)
    if raw:
        tensor = numpy_helper.from_array(values, "w")
    else:
        tensor = h.make_tensor("w", number, values.shape, values.reshape(-1))
    check_sizes(model(tensor))
    tensor.dims[0] = 7
    with pytest.raises(
        ModelError, match=r"weights 'w' want .* for shape \[7, 5\], and .* 'scaling'"
    ):
        check_sizes(model(tensor))


def test_values_that_are_missing_altogether():
    tensor = h.make_tensor("w", T.FLOAT, [2], [1.0, 2.0])
    tensor.ClearField("float_data")
    with pytest.raises(ModelError, match=r"want 2 values for shape \[2\], and 0 are there"):
        check_sizes(model(tensor))
    tensor.dims[0] = 0
    check_sizes(model(tensor))


@pytest.fixture
def external(tmp_path):
    path = tmp_path / "big.onnx"
    proto = model(numpy_helper.from_array(WEIGHT, "w"))
    onnx.save(proto, path, save_as_external_data=True, location="big.data", size_threshold=0)
    return path


def changed(path, **entries):
    proto = onnx.load(path, load_external_data=False)
    tensor = proto.graph.initializer[0]
    for entry in list(tensor.external_data):
        if entries.get(entry.key, entry.value) is None:
            tensor.external_data.remove(entry)
        else:
            entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(proto.SerializeToString())


def test_too_few_bytes_are_set_aside(external, tmp_path):
    changed(external, length="44")
    with pytest.raises(ModelError, match=r"'w' want 48 bytes .* 44 are set aside .* 'scaling'"):
        read(external, tmp_path)


def test_a_length_that_is_not_told_is_what_the_shape_asks_for(external, tmp_path):
    changed(external, length=None)
    with (tmp_path / "big.data").open("ab") as stream:
        stream.write(b"the weights of another tensor")
    folder = tmp_path / "work"
    folder.mkdir()
    held = onnx.load(read(external, folder).path).graph.initializer[0]
    assert np.array_equal(numpy_helper.to_array(held), WEIGHT)


def test_a_missing_file_is_told_with_its_reader(external, tmp_path):
    (tmp_path / "big.data").unlink()
    with pytest.raises(ModelError, match=r"which is missing.*\(read by Mul node 'scaling'\)"):
        read(external, tmp_path)
