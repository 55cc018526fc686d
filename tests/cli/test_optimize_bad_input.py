"""Bad input, given to the real command: one sentence, exit code 2, nothing left behind."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

N = 60


@pytest.fixture
def folder(digits, tmp_path) -> Path:
    """The digits model with a little data, in the folder that commands run in."""
    shutil.copy(digits / "model.onnx", tmp_path / "model.onnx")
    data = np.load(digits / "val.npz")
    np.savez(tmp_path / "val.npz", x=data["x"][:N], labels=data["labels"][:N])
    return tmp_path


@pytest.fixture
def refused(lepton, folder):
    """Run ``lepton optimize`` and give the sentence with which it refused."""

    def run(*words: str, model: str = "model.onnx", data: str = "val.npz") -> str:
        before = sorted(folder.rglob("*"))
        done = lepton("optimize", model, "--data", data, "-o", "out.lepton", *words)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("lepton: ")
        assert sorted(folder.rglob("*")) == before, "something was left behind"
        return last

    return run


def save(folder: Path, **arrays) -> None:
    np.savez(folder / "val.npz", **arrays)


def x_and_labels(folder: Path):
    data = np.load(folder / "val.npz")
    return data["x"], data["labels"]


def write_model(folder: Path, nodes, *, weights=(), domains=()) -> None:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 64])],
        list(weights),
    )
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(d, 1) for d in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "model.onnx")


def test_a_model_that_is_not_there(refused):
    assert "nowhere.onnx" in refused(model="nowhere.onnx")


def test_a_truncated_model(folder, refused):
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])
    assert "model.onnx" in refused()


def test_a_file_that_is_not_onnx(folder, refused):
    (folder / "model.onnx").write_text("hello, I am a text\n" * 20)
    assert "model.onnx" in refused()


def test_external_weights_that_are_missing(folder, refused):
    model = onnx.load(folder / "model.onnx")
    onnx.save(
        model, folder / "big.onnx", save_as_external_data=True, size_threshold=0, location="w"
    )
    (folder / "w").unlink()
    sentence = refused(model="big.onnx")
    assert "w" in sentence
    assert "missing" in sentence or "not there" in sentence or "does not exist" in sentence


def test_a_custom_operator_that_no_engine_has(folder, refused):
    node = helper.make_node("Frobnicate", ["x"], ["scores"], domain="org.example", name="odd")
    write_model(folder, [node], domains=["org.example"])
    assert "Frobnicate" in refused()


def test_an_input_of_another_name(folder, refused):
    x, labels = x_and_labels(folder)
    save(folder, pixels=x, labels=labels)
    sentence = refused()
    assert "'x'" in sentence
    assert "pixels" in sentence


def test_an_input_of_another_shape(folder, refused):
    x, labels = x_and_labels(folder)
    save(folder, x=x[:, :50], labels=labels)
    sentence = refused()
    assert "64" in sentence
    assert "50" in sentence


def test_an_input_of_another_dtype(folder, refused):
    x, labels = x_and_labels(folder)
    save(folder, x=(x * 16).astype(np.int64), labels=labels)
    sentence = refused()
    assert "float32" in sentence
    assert "int64" in sentence


def test_labels_that_are_missing(folder, refused):
    save(folder, x=x_and_labels(folder)[0])
    assert "labels" in refused("--metric", "accuracy")


def test_labels_that_are_all_the_same(folder, refused):
    x, labels = x_and_labels(folder)
    save(folder, x=x, labels=np.full_like(labels, 3))
    assert "3" in refused()


def test_labels_out_of_range(folder, refused):
    x, labels = x_and_labels(folder)
    labels[17] = 99
    save(folder, x=x, labels=labels)
    sentence = refused()
    assert "99" in sentence
    assert "10" in sentence or "9" in sentence


@pytest.mark.parametrize("count", [0, 1])
def test_a_data_set_that_is_too_small(folder, refused, count):
    x, labels = x_and_labels(folder)
    save(folder, x=x[:count], labels=labels[:count])
    assert f"{count} sample" in refused() or count == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_that_are_not_finite(folder, refused, bad):
    x, labels = x_and_labels(folder)
    x[7, 3] = bad
    save(folder, x=x, labels=labels)
    sentence = refused()
    assert "'x'" in sentence
    assert "7" in sentence


def test_outputs_that_are_not_finite(folder, refused):
    write_model(folder, [helper.make_node("Log", ["x"], ["scores"], name="log")])
    x, labels = x_and_labels(folder)
    save(folder, x=x - 1, labels=labels)
    assert "'scores'" in refused("--metric", "agreement")


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pkl"])
def test_a_pickle_as_a_model(folder, refused, name):
    (folder / name).write_bytes(pickle.dumps({"weight": [1, 2, 3]}))
    assert "pickle" in refused(model=name)


def test_a_pickle_as_data(folder, refused):
    np.savez(folder / "val.npz", x=np.array([{"a": 1}] * N, dtype=object))
    assert "pickle" in refused()


def test_data_that_are_not_there(refused):
    assert "nowhere.npz" in refused(data="nowhere.npz")


def test_a_metric_that_is_unknown(refused):
    sentence = refused("--metric", "goodness")
    assert "goodness" in sentence
    assert "accuracy" in sentence


def test_a_metric_that_raises(folder, refused):
    (folder / "mine.py").write_text("def score(outputs, labels, reference):\n    return 1 / 0\n")
    assert "division by zero" in refused("--metric", "mine.py:score")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max-drop", "-1"),
        ("--minutes", "0"),
        ("--confidence", "1"),
        ("--max-size-mb", "nan"),
        ("--max-transfer-mb", "-2"),
    ],
)
def test_a_budget_without_meaning(refused, option, value):
    assert value in refused(option, value)


def test_an_output_that_exists(lepton, folder):
    (folder / "out.lepton").mkdir()
    (folder / "out.lepton" / "mine.txt").write_text("mine")
    done = lepton("optimize", "model.onnx", "--data", "val.npz", "-o", "out.lepton")
    assert done.returncode == 2
    assert "exists" in done.stderr
    done = lepton("optimize", "model.onnx", "--data", "val.npz", "-o", "out.lepton", "--overwrite")
    assert done.returncode == 2
    assert (folder / "out.lepton" / "mine.txt").read_text() == "mine"


def test_an_output_that_is_a_file(lepton, folder):
    (folder / "out.lepton").write_text("mine")
    done = lepton("optimize", "model.onnx", "--data", "val.npz", "-o", "out.lepton", "--overwrite")
    assert done.returncode == 2
    assert (folder / "out.lepton").read_text() == "mine"


def test_an_output_that_cannot_be_written(lepton, folder):
    done = lepton("optimize", "model.onnx", "--data", "val.npz", "-o", "/proc/out.lepton")
    assert done.returncode == 2
    assert "/proc" in done.stderr


def test_a_hugging_face_folder_whose_weights_are_a_pickle(folder, refused):
    hub = folder / "hub"
    hub.mkdir()
    (hub / "config.json").write_text(
        '{"architectures": ["BertForSequenceClassification"], "model_type": "bert",'
        ' "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,'
        ' "intermediate_size": 8, "vocab_size": 20}'
    )
    (hub / "tokenizer.json").write_text("{}")
    (hub / "pytorch_model.bin").write_bytes(pickle.dumps(Path("/tmp")))
    (folder / "texts.csv").write_text("text,label\n" + "good,1\nbad,0\n" * 20)
    sentence = refused("--text", "text", "--label", "label", model=str(hub), data="texts.csv")
    assert "pickle" in sentence


def test_a_repeated_weight_is_fine_and_not_refused(lepton, folder):
    """The guard of this file: the same command with good input works."""
    weight = numpy_helper.from_array(np.eye(64, dtype=np.float32), "w")
    write_model(folder, [helper.make_node("MatMul", ["x", "w"], ["scores"])], weights=[weight])
    words = ["--metric", "agreement", "--minutes", "2", "-o", "out.lepton", "--json"]
    done = lepton("optimize", "model.onnx", "--data", "val.npz", *words)
    assert done.returncode == 0, done.stderr
    assert (folder / "out.lepton" / "manifest.json").exists()


def test_an_engine_that_ships_nothing(refused):
    assert "goes into no bundle" in refused("--engine", "reference")
