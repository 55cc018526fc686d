"""Advice from end to end, and what a search that follows begins with."""

from pathlib import Path

import numpy as np
import pytest
import torch

import lepton_ai
from lepton_ai import Budget, LeptonError
from lepton_ai.pipeline.binding import bound
from lepton_ai.plan.following import key_of

BUDGET = Budget(max_drop=0.05, minutes=1)


def test_a_search_begins_with_what_was_tried(digits: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LEPTON_CACHE", str(tmp_path))
    model, data = digits / "model.onnx", digits / "val.npz"
    given = {"budget": BUDGET, "engines": ["onnxruntime"]}
    advice = lepton_ai.advise(model, data, **given)
    assert advice.facts.trials
    others = {"metric": None, "text": None, "label": None, "train": None, "progress": None}
    with bound(model, data, **given, **others) as job:
        assert job.journal.trial(key_of(BUDGET)) == advice.compressors
        for trial in advice.facts.trials:
            known = job.journal.trial(trial.recipe.key)
            assert known is not None
            assert known["ratio"] == trial.ratio
    found = lepton_ai.optimize(model, data, **given)
    ratios = {one["name"]: one["ratio"] for one in found.tried}
    assert {t.name: t.ratio for t in advice.facts.trials}.items() <= ratios.items()
    tried = [one["recipe"]["compressor"] for one in found.tried if one["recipe"]["compressor"]]
    as_they_came = [name for name in dict.fromkeys(tried) if name in advice.compressors]
    expected = [advice.compressors[name] for name in as_they_came]
    assert expected == sorted(expected)


def test_a_module_that_cannot_be_exported_as_it_is_gets_no_advice():
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            self.layer = torch.nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.layer(x) * self.calls

    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    with pytest.raises(LeptonError):
        lepton_ai.advise(Odd(), {"x": x}, budget=BUDGET, engines=["onnxruntime"])


def test_a_network_without_weights_cannot_be_trained_or_quantised(tmp_path: Path):
    import onnx
    from onnx import parser

    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "g (float[n, 16] x) => (float[n, 16] y) { y = Softmax (x) }"
    )
    onnx.save(model, tmp_path / "net.onnx")
    x = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    advice = lepton_ai.advise(
        tmp_path / "net.onnx", {"x": x}, budget=BUDGET, engines=["onnxruntime"]
    )
    against = {one.method: one.against for one in advice.ranked if one.against}
    assert {"int8-static-ort", "int8-dynamic", "slim", "int4-weights"} <= set(against)
    assert advice.facts.teachable is not None
    assert "no weights" in advice.facts.teachable.why_not
