"""The main job through Python and through the command line, on real searches."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import lepton_ai
from lepton_ai import Budget
from lepton_ai.errors import DataError, MetricError
from lepton_ai.plan.job import Event

QUICK = 1.0


@pytest.fixture(scope="module")
def result(digits):
    """The digits, searched as ``digits_bundle`` is: whichever comes second finds the journal."""
    return lepton_ai.optimize(digits / "model.onnx", digits / "val.npz", budget=Budget(minutes=1.5))


def test_what_ships_is_not_slower_than_any_plain_engine(result):
    shipped = result.best["measurement"]["latency"]
    for plain in result.record["plain"]:
        assert shipped["low_ms"] <= plain["latency"]["high_ms"]


def test_the_record_is_the_contract(result):
    record = result.record
    wanted = {"status", "baseline", "best", "front", "tried", "certificate", "bundle", "machine"}
    assert wanted | {"seconds"} <= set(record)
    json.dumps(record, allow_nan=False)
    for trial in record["tried"]:
        assert {"recipe", "measurement", "verdict", "why"} <= set(trial)
        assert trial["why"], trial["name"]
    assert [t["name"] for t in record["tried"] if t["verdict"] == "shipped"] == [
        record["best"]["name"]
    ]


def test_every_engine_and_compressor_was_tried(result):
    tried = [trial["recipe"] for trial in result.tried]
    assert {recipe["engine"] for recipe in tried} == {"onnxruntime", "openvino"}
    assert {recipe["compressor"] for recipe in tried} >= {
        "int8-dynamic",
        "int8-static-ort",
        "int8-static-nncf",
    }


def test_the_drop_is_what_the_artifact_loses(result, digits, tmp_path):
    """The claim, checked from outside: the shipped file against the original, on every sample."""
    net = lepton_ai.load(result.save(tmp_path / "net.lepton"))
    data = np.load(digits / "val.npz")
    session = onnxruntime.InferenceSession(str(digits / "model.onnx"))
    before = session.run(None, {"x": data["x"]})[0].argmax(-1) == data["labels"]
    answers = [net.run({"x": row[None]})["scores"].argmax(-1)[0] for row in data["x"]]
    after = np.array(answers) == data["labels"]
    assert before.mean() - after.mean() <= 0.01
    assert result.certificate["holds"]
    assert result.certificate["bound"] <= 0.01


def test_a_bound_that_nothing_can_keep_is_missed_and_the_closest_is_saved(digits, lepton, tmp_path):
    words = ["--max-latency-ms", "0.0000001", "--minutes", "1.5", "-o", "out.lepton", "--json"]
    done = lepton("optimize", digits / "model.onnx", "--data", digits / "val.npz", *words)
    assert done.returncode == 3, done.stderr
    record = json.loads(done.stdout)
    assert record["status"] == "MISSED"
    assert "max_latency_ms" in record["why"]
    assert lepton("verify", record["bundle"]).returncode == 0


def test_a_bound_on_size_ships_a_smaller_artifact_in_the_engine_asked_for(digits):
    size = (digits / "model.onnx").stat().st_size / 1e6
    result = lepton_ai.optimize(
        digits / "model.onnx",
        digits / "val.npz",
        budget=Budget(minutes=1.5, max_size_mb=0.7 * size, max_drop=0.03),
        engines=["openvino"],
    )
    assert result.status == "MET", result.why
    assert {trial["recipe"]["engine"] for trial in result.tried} == {"openvino"}
    assert result.best["measurement"]["bytes_on_disk"] <= 0.7e6 * size
    assert not result.certificate["equal"]
    assert result.certificate["n"] > 300
    assert result.certificate["bound"] <= 0.03


def test_a_module_with_bare_arrays(tmp_path):
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    with torch.no_grad():
        labels = module(torch.from_numpy(x)).argmax(-1).numpy()
    module.train()
    result = lepton_ai.optimize(module, (x, labels), budget=Budget(minutes=QUICK))
    assert all(part.training for part in module.modules()), "it is handed back as it came"
    assert result.record["baseline"]["name"].startswith("PyTorch eager")
    assert result.best["speedup"] > 1
    net = lepton_ai.load(result.save(tmp_path / "net.lepton"))
    answer = net.run({net.signature.input_names[0]: x[:5]})
    assert next(iter(answer.values())).argmax(-1).tolist() == labels[:5].tolist()


def test_a_metric_of_ones_own_without_labels(digits, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def error(outputs, labels, reference):\n"
        "    return np.abs(outputs['scores'] - reference['scores']).max(-1)\n"
        "error.larger_is_better = False\n"
    )
    data = np.load(digits / "val.npz")
    result = lepton_ai.optimize(
        digits / "model.onnx",
        {"x": data["x"][:200]},
        metric=f"{tmp_path / 'mine.py'}:error",
        budget=Budget(minutes=QUICK, max_drop=0.001),
    )
    assert result.status == "MET"
    assert result.record["baseline"]["measurement"]["score"] == 0.0


def test_a_metric_that_is_nonsense_is_refused(digits):
    with pytest.raises(MetricError):
        lepton_ai.optimize(
            digits / "model.onnx",
            digits / "val.npz",
            metric=lambda outputs, labels, reference: np.zeros(3),
            budget=Budget(minutes=QUICK),
        )


def test_progress_names_the_stages_and_the_best_so_far(digits):
    events: list[Event] = []
    data = np.load(digits / "val.npz")
    lepton_ai.optimize(
        digits / "model.onnx",
        {"x": data["x"][:150]},
        budget=Budget(minutes=QUICK),
        progress=events.append,
    )
    stages = [event.stage for event in events]
    assert stages[0] == "read"
    assert "plain engines" in stages
    assert stages.index("plain engines") < stages.index("last race")
    assert any(" ms" in event.best for event in events)


def test_the_minutes_are_kept(digits):
    data = np.load(digits / "val.npz")
    result = lepton_ai.optimize(
        digits / "model.onnx", {"x": data["x"][:300]}, budget=Budget(minutes=0.2)
    )
    assert result.status == "MET"
    assert any("the minutes ran out" in trial["why"] for trial in result.tried)


def test_of_what_is_too_large_the_smallest_that_answers_well_is_the_closest(digits):
    original = (digits / "model.onnx").stat().st_size / 1e6
    result = lepton_ai.optimize(
        digits / "model.onnx",
        digits / "val.npz",
        engines=["onnxruntime"],
        budget=Budget(minutes=QUICK, max_drop=0.05, max_size_mb=original / 100),
    )
    assert result.status == "MISSED"
    assert result.best["measurement"]["bytes_on_disk"] < 0.6e6 * original
    assert "the closest artifact takes" in result.why


def test_data_that_the_model_does_not_take(digits):
    with pytest.raises(DataError, match="pixels"):
        lepton_ai.optimize(digits / "model.onnx", {"pixels": np.zeros((50, 64), "f4")})


def test_a_script_without_a_main_guard(digits, tmp_path):
    """Children are started by name, so a user's script is not run again in each of them."""
    (tmp_path / "script.py").write_text(
        "import lepton_ai\n"
        "print('once')\n"
        f"r = lepton_ai.optimize({str(digits / 'model.onnx')!r}, {str(digits / 'val.npz')!r},\n"
        "    budget=lepton_ai.Budget(minutes=1.5))\n"
        "print(r.status)\n"
    )
    done = subprocess.run(
        [sys.executable, str(Path(tmp_path) / "script.py")],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.stdout.split() == ["once", "MET"], done.stderr
