"""``lepton advise``: one document from the real command, and bad input refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from lepton_ai.plan.advising.method import methods

N = 120


@pytest.fixture
def folder(digits, tmp_path) -> Path:
    """The digits model with a little data, in the folder that commands run in."""
    shutil.copy(digits / "model.onnx", tmp_path / "model.onnx")
    data = np.load(digits / "val.npz")
    np.savez(tmp_path / "val.npz", x=data["x"][:N], labels=data["labels"][:N])
    return tmp_path


@pytest.fixture
def refused(lepton, folder):
    """Run ``lepton advise`` and give the sentence with which it refused."""

    def run(*words: str, model: str = "model.onnx", data: str = "val.npz") -> str:
        before = sorted(folder.rglob("*"))
        done = lepton("advise", model, "--data", data, *words)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("lepton: ")
        assert sorted(folder.rglob("*")) == before, "something was left behind"
        return last

    return run


def test_one_document_and_live_progress(lepton, folder):
    words = ("--engine", "onnxruntime", "--json")
    done = lepton("advise", "model.onnx", "--data", "val.npz", *words)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert sorted(one["method"] for one in record["ranked"]) == sorted(methods.names())
    assert record["metric"] == "accuracy"
    assert record["facts"]["engine"] == "onnxruntime"
    assert record["facts"]["samples"]["certify"] == 60
    assert record["facts"]["samples"]["certifiable"] > 0.01
    lossy = [one for one in record["ranked"] if not one["equal"] and not one["against"]]
    assert lossy
    assert all(one["chance"] == 0 for one in lossy)
    assert all("cannot show a drop" in one["reasons"][0] for one in lossy)
    assert "measuring" in done.stderr
    assert "where the time of onnxruntime goes" in done.stderr


def test_a_model_that_is_not_there(refused):
    assert "nowhere.onnx" in refused(model="nowhere.onnx")


def test_a_file_that_is_not_onnx(folder, refused):
    (folder / "model.onnx").write_text("hello, I am a text\n" * 20)
    assert "model.onnx" in refused()


def test_data_that_are_not_there(refused):
    assert "nowhere.npz" in refused(data="nowhere.npz")


def test_data_of_another_shape(folder, refused):
    data = np.load(folder / "val.npz")
    np.savez(folder / "val.npz", x=data["x"][:, :50], labels=data["labels"])
    assert "64" in refused()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--max-drop", "-1"), ("--minutes", "0"), ("--confidence", "1"), ("--max-size-mb", "nan")],
)
def test_a_budget_without_meaning(refused, option, value):
    name = option.strip("-").replace("-", "_")
    assert name in refused(option, value)


def test_an_engine_that_is_unknown(refused):
    assert "onnxruntime" in refused("--engine", "tensorrocket")


def test_a_metric_that_is_unknown(refused):
    assert "accuracy" in refused("--metric", "goodness")


def test_answers_that_are_not_finite(folder, refused):
    model = onnx.load(folder / "model.onnx")
    last = model.graph.node[-1]
    last.output[0] = "raw"
    log = onnx.helper.make_node("Log", ["raw"], ["scores"], name="log")
    model.graph.node.append(log)
    onnx.save(model, folder / "model.onnx")
    assert "'scores'" in refused("--metric", "agreement")
