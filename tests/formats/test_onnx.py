"""ONNX files: sound ones are read as they are, broken ones get one clear sentence."""

import contextlib

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

from lepton_ai.errors import LeptonError, ModelError
from lepton_ai.formats.read import read

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def tensor(name, dtype=T.FLOAT, shape=("batch", 4)):
    return h.make_tensor_value_info(name, dtype, shape)


def weight(name="w", array=WEIGHT):
    return numpy_helper.from_array(array, name)


def graph(nodes, inputs=None, outputs=None, weights=()):
    inputs = [tensor("x")] if inputs is None else inputs
    outputs = [tensor("y")] if outputs is None else outputs
    return h.make_graph(nodes, "net", inputs, outputs, list(weights))


def model(nodes, *, opsets=(("", 17),), functions=(), **parts):
    imports = [h.make_opsetid(domain, version) for domain, version in opsets]
    return h.make_model(graph(nodes, **parts), opset_imports=imports, functions=list(functions))


def matmul():
    return model(
        [h.make_node("MatMul", ["x", "w"], ["y"], "product")],
        outputs=[tensor("y", shape=("batch", 3))],
        weights=[weight()],
    )


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
def load(tmp_path, folder):
    def write_and_read(proto):
        path = tmp_path / "net.onnx"
        path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
        return read(path, folder)

    return write_and_read


def run(read_model, **inputs):
    session = onnxruntime.InferenceSession(read_model.path, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def test_a_sound_file_is_read(load, folder):
    read_model = load(matmul())
    assert read_model.name == "net"
    assert read_model.path == folder / "model.onnx"
    assert read_model.notes == ()
    assert str(read_model.signature.inputs[0]) == "x: float32[batch, 4]"
    assert str(read_model.signature.outputs[0]) == "y: float32[batch, 3]"
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(run(read_model, x=x)[0], x @ WEIGHT)
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]


def test_every_truncation_is_refused(load, folder):
    whole = matmul().SerializeToString()
    for end in range(len(whole)):
        with pytest.raises(ModelError, match=r"cut short|is empty"):
            load(whole[:end])
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"\x00" * 99, b"{}", b"GIF89a"])
def test_what_is_not_onnx_is_refused(load, folder, content):
    with pytest.raises(ModelError, match=r"net.onnx: (this is no ONNX model|the file is empty)"):
        load(content)
    assert list(folder.iterdir()) == []


def test_a_missing_file_and_a_folder(tmp_path, folder):
    with pytest.raises(ModelError, match=r"absent.onnx: no such file is here"):
        read(tmp_path / "absent.onnx", folder)
    (tmp_path / "dir.onnx").mkdir()
    with pytest.raises(ModelError, match="this is a folder"):
        read(str(tmp_path / "dir.onnx"), folder)
    with pytest.raises(ModelError, match=r"none of these: .*an .onnx file"):
        read(tmp_path, folder)


@pytest.mark.parametrize("source", ["", "  ", "./not/here", "/nowhere/at/all", 7, None, object()])
def test_what_no_format_reads(folder, source):
    with pytest.raises(ModelError, match=r"wanted, and an empty path|an \.onnx file"):
        read(source, folder)


def external(tmp_path):
    path = tmp_path / "big.onnx"
    onnx.save(matmul(), path, save_as_external_data=True, location="big.data", size_threshold=0)
    return path


def test_external_weights_are_folded_in(tmp_path, folder):
    read_model = read(external(tmp_path), folder)
    (tmp_path / "big.data").unlink()
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    x = np.eye(4, dtype=np.float32)
    assert np.array_equal(run(read_model, x=x)[0], WEIGHT)


def test_external_weights_stay_beside_a_model_too_large_to_fold(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("lepton_ai.formats.onnx_weights.FOLD_LIMIT", 100)
    read_model = read(external(tmp_path), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["big.data", "model.onnx"]
    assert np.array_equal(run(read_model, x=np.eye(4, dtype=np.float32))[0], WEIGHT)


def test_missing_and_short_external_weights_are_named(tmp_path, folder):
    path = external(tmp_path)
    data = tmp_path / "big.data"
    whole = data.read_bytes()
    data.write_bytes(whole[:20])
    with pytest.raises(ModelError, match=r"big.data is cut short: 'w' ends at byte 48, .* has 20"):
        read(path, folder)
    data.unlink()
    with pytest.raises(ModelError, match=r"weights of 'w' should lie in .*big.data, .* missing"):
        read(path, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "", "a/../../b"])
def test_external_weights_outside_the_folder_are_not_read(tmp_path, folder, location):
    proto = onnx.load(external(tmp_path), load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = location
    (tmp_path / "big.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="outside the model's own folder"):
        read(tmp_path / "big.onnx", folder)


def test_weights_of_another_size_than_their_shape(load):
    proto = matmul()
    proto.graph.initializer[0].raw_data = b"\0" * 44
    with pytest.raises(ModelError, match=r"'w' want 48 bytes for shape \[4, 3\], and 44 are there"):
        load(proto)


def test_names_that_nothing_produces(load):
    with pytest.raises(ModelError, match="MatMul node 'product' reads 'w', which nothing"):
        load(model([h.make_node("MatMul", ["x", "w"], ["y"], "product")]))
    with pytest.raises(ModelError, match="output 'y' is produced by no node"):
        load(model([h.make_node("Relu", ["x"], ["z"])]))


def test_names_that_are_produced_twice(load):
    nodes = [h.make_node("Relu", ["x"], ["y"]), h.make_node("Abs", ["x"], ["y"], "again")]
    with pytest.raises(ModelError, match="'y' is produced twice in the graph, by Abs node 'again'"):
        load(model(nodes))


def test_a_cycle_is_named(load):
    nodes = [
        h.make_node("Add", ["x", "b"], ["a"], "first"),
        h.make_node("Relu", ["a"], ["b"], "second"),
        h.make_node("Relu", ["b"], ["y"], "after"),
    ]
    with pytest.raises(ModelError, match="a cycle, through") as caught:
        load(model(nodes))
    assert "'first'" in str(caught.value)
    assert "'second'" in str(caught.value)
    assert "'after'" not in str(caught.value)


def test_nodes_out_of_order_are_sorted_and_told(load):
    nodes = [h.make_node("Relu", ["a"], ["y"]), h.make_node("Neg", ["x"], ["a"])]
    read_model = load(model(nodes))
    assert "out of order" in read_model.notes[0]
    assert [node.op_type for node in onnx.load(read_model.path).graph.node] == ["Neg", "Relu"]
    assert run(read_model, x=np.full((1, 4), -2, np.float32))[0].tolist() == [[2, 2, 2, 2]]


def test_custom_operators_are_named(load):
    node = h.make_node("Frobnicate", ["x"], ["y"], "odd", domain="my.company")
    with pytest.raises(ModelError, match=r"custom operator of my\.company:Frobnicate node 'odd'"):
        load(model([node], opsets=(("", 17), ("my.company", 1))))
    with pytest.raises(ModelError, match="custom operator of Frobnicate node without a name"):
        load(model([h.make_node("Frobnicate", ["x"], ["y"])]))
    node = h.make_node("Frobnicate", ["x"], ["y"], domain="com.microsoft")
    with pytest.raises(ModelError, match=r"com.microsoft:Frobnicate"):
        load(model([node], opsets=(("", 17), ("com.microsoft", 1))))


def test_operators_of_onnx_runtime_are_taken(load):
    node = h.make_node("FastGelu", ["x"], ["y"], domain="com.microsoft")
    read_model = load(model([node], opsets=(("", 17), ("com.microsoft", 1))))
    assert run(read_model, x=np.zeros((1, 4), np.float32))[0].tolist() == [[0, 0, 0, 0]]


def test_operators_newer_or_older_than_the_opset(load):
    with pytest.raises(ModelError, match=r"no engine has .* Gelu node .* \(opset 13\)"):
        load(model([h.make_node("Gelu", ["x"], ["y"])], opsets=(("", 13),)))
    scale = weight("s", np.array([1, 2], np.float32))
    with pytest.raises(ModelError, match=r"Upsample node .* withdrawn before opset 13"):
        load(
            model([h.make_node("Upsample", ["x", "s"], ["y"])], opsets=[("", 13)], weights=[scale])
        )
    with pytest.raises(ModelError, match="opset 99"):
        load(model([h.make_node("Relu", ["x"], ["y"])], opsets=(("", 99),)))


def test_function_bodies_are_checked_and_taken(load):
    def doubled(inner):
        nodes = [h.make_node("Add", ["a", inner], ["b"])]
        return h.make_function("my.own", "Double", ["a"], ["b"], nodes, [h.make_opsetid("", 17)])

    node = h.make_node("Double", ["x"], ["y"], domain="my.own")
    opsets = (("", 17), ("my.own", 1))
    read_model = load(model([node], opsets=opsets, functions=[doubled("a")]))
    assert run(read_model, x=np.ones((1, 4), np.float32))[0].tolist() == [[2, 2, 2, 2]]
    with pytest.raises(ModelError, match="reads 'nowhere'"):
        load(model([node], opsets=opsets, functions=[doubled("nowhere")]))


def branching(read_name="x", operator="Neg"):
    yes = graph([h.make_node(operator, [read_name], ["p"])], inputs=[], outputs=[tensor("p")])
    no = graph([h.make_node("Identity", ["w2"], ["q"])], inputs=[], outputs=[tensor("q")])
    return model(
        [
            h.make_node("Identity", ["w"], ["w2"]),
            h.make_node("If", ["c"], ["y"], "choice", then_branch=yes, else_branch=no),
        ],
        inputs=[tensor("x"), tensor("c", T.BOOL, ())],
        weights=[weight("w", np.zeros((1, 4), np.float32))],
    )


def test_branches_see_the_values_around_them(load):
    read_model = load(branching())
    x = np.ones((1, 4), np.float32)
    assert run(read_model, x=x, c=np.array(True))[0].tolist() == [[-1, -1, -1, -1]]
    with pytest.raises(ModelError, match="If node 'choice' reads 'lost'"):
        load(branching("lost"))
    with pytest.raises(ModelError, match="custom operator of Frobnicate"):
        load(branching(operator="Frobnicate"))


def test_initialisers_that_are_inputs_too_are_no_inputs(load):
    proto = matmul()
    proto.graph.input.append(tensor("w", shape=(4, 3)))
    assert load(proto).signature.input_names == ("x",)


DTYPES = {
    "float32": T.FLOAT, "float64": T.DOUBLE, "float16": T.FLOAT16, "bfloat16": T.BFLOAT16,
    "bool": T.BOOL, "str": T.STRING, "int8": T.INT8, "int16": T.INT16, "int32": T.INT32,
    "int64": T.INT64, "uint8": T.UINT8, "uint16": T.UINT16, "uint32": T.UINT32,
    "uint64": T.UINT64,
}  # fmt: skip


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes(load, name):
    ends = {"inputs": [tensor("x", DTYPES[name])], "outputs": [tensor("y", DTYPES[name])]}
    signature = load(model([h.make_node("Identity", ["x"], ["y"])], **ends)).signature
    assert signature.inputs[0].dtype == signature.outputs[0].dtype == name
    value = [["a"]] if name == "str" else np.ones((1, 4), getattr(ml_dtypes, name, name))
    if name != "str":
        assert signature.check({"x": value})["x"].dtype == value.dtype


@pytest.mark.parametrize("dtype", [T.INT4, T.FLOAT8E4M3FN, T.COMPLEX64])
def test_dtypes_that_numpy_has_not_are_refused(load, dtype):
    ends = {"inputs": [tensor("x", dtype)], "outputs": [tensor("y", dtype)]}
    with pytest.raises(ModelError, match=r"input 'x' has the dtype .* cast it inside the model"):
        load(model([h.make_node("Identity", ["x"], ["y"])], **ends))


def test_int4_weights_are_taken(load):
    packed = h.make_tensor("w", T.INT4, [4, 3], bytes(6), raw=True)
    scale = weight("s", np.float32(1))
    nodes = [
        h.make_node("DequantizeLinear", ["w", "s"], ["v"]),
        h.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    assert load(model(nodes, opsets=[("", 21)], weights=[packed, scale])).signature.input_names


def test_unknown_sizes_get_names_of_their_own(load):
    inputs = [
        tensor("x", shape=(None, None)),
        tensor("z", shape=("dim_2", None)),
        tensor("s", shape=("?", "?")),
    ]
    nodes = [h.make_node("Sum", ["x", "z", "s"], ["y"])]
    signature = load(model(nodes, inputs=inputs, outputs=[tensor("y", shape=None)])).signature
    assert [spec.shape for spec in signature.inputs] == [
        ("batch", "dim_1"),
        ("dim_2", "dim_3"),
        ("dim_4", "dim_5"),
    ]
    assert signature.outputs[0].shape is None


def test_a_name_that_is_taken_is_not_given_again(load):
    inputs = [tensor("x", shape=(None, "batch"))]
    proto = model([h.make_node("Relu", ["x"], ["y"])], inputs=inputs, outputs=[tensor("y")])
    assert load(proto).signature.inputs[0].shape == ("dim_1", "batch")


def zipmapped(*, with_label, classes=(5, 6, 7, 8)):
    """What scikit-learn's converter writes: a label, and scores as a sequence of maps."""
    scores = h.make_node(
        "ZipMap", ["x"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=classes
    )
    label = h.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0)
    maps = h.make_sequence_type_proto(
        h.make_map_type_proto(T.INT64, h.make_tensor_type_proto(T.FLOAT, []))
    )
    outputs = [onnx.ValueInfoProto(name="probabilities", type=maps)]
    if with_label:
        outputs.insert(0, tensor("label", T.INT64, ("batch",)))
    return model([scores, label], outputs=outputs, opsets=(("", 17), ("ai.onnx.ml", 3)))


def test_outputs_that_are_no_tensors_are_left_out_and_told(load):
    read_model = load(zipmapped(with_label=True))
    assert read_model.signature.output_names == ("label",)
    assert "output 'probabilities' is a sequence" in read_model.notes[0]
    with pytest.raises(ModelError, match=r"no output that is a tensor.*'probabilities' \(sequence"):
        load(zipmapped(with_label=False))
    kept = onnx.load(read_model.path).graph  # nothing in the file either that readers trip over
    assert [node.op_type for node in kept.node] == ["ArgMax"]
    assert [value.name for value in kept.output] == ["label"]


def test_maps_from_class_to_score_become_the_tensor_of_scores(load):
    read_model = load(zipmapped(with_label=True, classes=(0, 1, 2, 3)))
    assert [str(spec) for spec in read_model.signature.outputs] == [
        "label: int64[batch]",
        "probabilities: float32[dim_1, 4]",
    ]
    x = np.float32([[1, 4, 2, 3]])
    assert run(read_model, x=x)[1].tolist() == x.tolist()
    assert "one column for each of the 4 classes" in read_model.notes[0]


def test_inputs_that_are_no_tensors_are_refused(load):
    sequence = h.make_sequence_type_proto(h.make_tensor_type_proto(T.FLOAT, [4]))
    inputs = [onnx.ValueInfoProto(name="x", type=sequence)]
    node = h.make_node("ConcatFromSequence", ["x"], ["y"], axis=0)
    with pytest.raises(ModelError, match="input 'x' is a sequence"):
        load(model([node], inputs=inputs))


def test_outputs_without_a_declared_type_are_inferred(load):
    bare = [onnx.ValueInfoProto(name="y")]
    proto = model([h.make_node("Relu", ["x"], ["y"])], outputs=bare)
    assert str(load(proto).signature.outputs[0]) == "y: float32[batch, 4]"


def test_graphs_without_operators_or_inputs_are_refused(load):
    with pytest.raises(ModelError, match="computes nothing"):
        load(model([], outputs=[tensor("x")]))
    with pytest.raises(ModelError, match="takes no input"):
        load(model([h.make_node("Identity", ["w"], ["y"])], inputs=[], weights=[weight()]))


def test_one_changed_byte_never_gives_a_traceback(load):
    whole = bytearray(matmul().SerializeToString())
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x55
        with contextlib.suppress(LeptonError):
            load(bytes(changed))


@pytest.mark.parametrize("dtype", [T.UNDEFINED, 99])
def test_a_weight_of_no_dtype_is_refused(load, dtype):
    proto = matmul()
    proto.graph.initializer[0].data_type = dtype
    with pytest.raises(ModelError, match=r"'w'.*no known dtype"):
        load(proto)


def test_two_weights_of_one_name_are_refused(load):
    proto = matmul()
    proto.graph.initializer.append(weight(array=2 * WEIGHT))
    with pytest.raises(ModelError, match="two weights called 'w'"):
        load(proto)


def test_a_version_of_the_format_that_is_not_out_yet_is_refused(load):
    proto = matmul()
    proto.ir_version = 999
    with pytest.raises(ModelError, match="IR version 999"):
        load(proto)


def test_names_that_are_no_text_are_refused(load, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(matmul().SerializeToString().replace(b"MatMul", b"MatMu\xe7"))
    with pytest.raises(ModelError, match=r"net\.onnx: the file is damaged"):
        read(path, tmp_path)
