"""Models, bundles and engines beside one another, from Python and from the command line."""

import json
import subprocess
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lepton_ai
from lepton_ai.errors import DataError, ModelError
from lepton_ai.pipeline.bench import Timed

QUICK = 0.1


def product(path, *, width: int, times: int = 1, name: str = "x"):
    """A square matrix that is multiplied by, several times."""
    weight = np.eye(width, dtype=np.float32)
    values = [name, *(f"v{place}" for place in range(times))]
    nodes = [
        helper.make_node("MatMul", [before, "w"], [after]) for before, after in pairwise(values)
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info(values[-1], TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_more_work_is_slower_beyond_doubt(tmp_path):
    little, much = (
        product(tmp_path / f"{times}.onnx", width=384, times=times) for times in (1, 60)
    )
    first, second = lepton_ai.bench([little, much], engines=["onnxruntime"], seconds=QUICK)
    assert (first.ratio, first.low, first.high, first.verdict) == (1.0, 1.0, 1.0, "base")
    assert second.verdict == "slower"
    assert second.low < second.ratio < second.high
    assert second.bytes_on_disk > 384 * 384 * 4


def test_the_same_model_twice_has_two_names(tmp_path):
    path = product(tmp_path / "m.onnx", width=64)
    names = [one.name for one in lepton_ai.bench([path, path], seconds=QUICK, threads=1)]
    assert names == [
        "m.onnx · onnxruntime · 1 thread",
        "m.onnx · openvino · 1 thread",
        "m.onnx · onnxruntime · 1 thread #2",
        "m.onnx · openvino · 1 thread #2",
    ]


def test_what_does_not_run_says_why_and_the_others_are_timed(tmp_path):
    """XLA wants sizes that it knows; how many elements are not zero is known afterwards."""
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2, "found"])],
    )
    path = tmp_path / "m.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    first, second = lepton_ai.bench([path], engines=["xla", "onnxruntime"], seconds=QUICK)
    assert first.verdict == "does not run"
    assert "NonZero" in first.why
    assert second.verdict == "base"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.5, 0.9, "faster"), (1.1, 2.0, "slower"), (0.9, 1.1, "no difference shown")],
)
def test_a_verdict_wants_bounds_that_leave_no_doubt(low, high, verdict):
    one = Timed(name="it", engine="e", plan={}, bytes_on_disk=1, ratio=1.0, low=low, high=high)
    assert one.verdict == verdict


def test_models_of_other_inputs_are_refused(tmp_path):
    one, other = (product(tmp_path / f"{name}.onnx", width=8, name=name) for name in ("x", "y"))
    with pytest.raises(ModelError, match=r"takes the inputs \['y'\].* takes \['x'\]"):
        lepton_ai.bench([one, other])


@pytest.mark.parametrize("options", [{"seconds": 0}, {"seconds": float("nan")}, {"threads": 0}])
def test_numbers_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(DataError, match="wants"):
        lepton_ai.bench([product(tmp_path / "m.onnx", width=8)], **options)


def test_a_bundle_beside_its_original_on_real_samples(digits, digits_bundle, lepton_command):
    words = ["bench", "model.onnx", str(digits_bundle), "--data", "val.npz", "--seconds", "0.2"]
    done = subprocess.run(
        [str(lepton_command), *words, "--json"], cwd=digits, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found[-1]["name"].startswith("digits.lepton · ")
    assert all(one["latency"]["runs"] > 10 for one in found)


def test_the_table_names_the_base(digits, lepton_command):
    words = ["bench", "model.onnx", "--engine", "onnxruntime", "--seconds", "0.1"]
    done = subprocess.run([str(lepton_command), *words], cwd=digits, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "base" in done.stdout
    assert "1.00 (1.00" in done.stdout


def test_bad_input_is_one_sentence(digits, lepton_command):
    for words in (
        ["no.onnx"],
        ["model.onnx", "--data", "no.npz"],
        ["model.onnx", "--engine", "no"],
    ):
        done = subprocess.run(
            [str(lepton_command), "bench", *words], cwd=digits, capture_output=True, text=True
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("lepton: ")
        assert done.stderr.count("\n") == 1
