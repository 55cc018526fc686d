from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_ai import Budget
from lepton_ai.data.metric import Score
from lepton_ai.pipeline.binding import bound
from lepton_ai.plan.advising.advice import ranked
from lepton_ai.plan.advising.method import MEASURED
from lepton_ai.plan.advising.observing import counts, observe, pieces_of
from lepton_ai.plan.bench import Bench
from lepton_ai.plan.bounds_paired import paired_bound
from lepton_ai.plan.certify import spend
from lepton_ai.plan.oracle import Oracle


def node(name: str, operator: str, macs: int | None, moved: int, **is_) -> dict[str, Any]:
    told = {"name": name, "operator": operator, "macs": macs, "moved": moved}
    return {**told, "removable": False, "redundant": False, **is_}


NODES = [
    node("a", "Conv", 100, 20, removable=True),
    node("b", "Relu", 0, 20, redundant=True),
    node("c", "Cast", None, 0, redundant=True),
]


def test_a_fused_kernel_is_its_product():
    fused, idle = pieces_of([("FusedConv", 3.0, ("a", "b")), ("Cast", 1.0, ("c",))], NODES)
    assert (fused.operator, fused.share, fused.intensity) == ("Conv", 0.75, 5.0)
    assert (fused.removable, fused.redundant) == (True, False)
    assert (idle.operator, idle.share, idle.intensity, idle.redundant) == ("Cast", 0.25, None, True)


def test_kernels_that_stand_for_nothing_are_known_by_their_time_alone():
    (piece,) = pieces_of([("ReorderInput", 0.0, ())], NODES)
    assert (piece.operator, piece.share, piece.redundant) == ("ReorderInput", 0.0, False)


def test_samples_can_show_what_an_exact_bound_says(digits: Path):
    with bound(
        digits / "model.onnx",
        digits / "val.npz",
        metric=None,
        budget=Budget(max_drop=0.001),
        text=None,
        label=None,
        engines=["onnxruntime"],
        train=None,
        progress=None,
    ) as job:
        found = counts(job, Score(value=0.5, per_sample=np.array([0.0, 1.0])))
        n = len(job.split.certify)
        whole = counts(job, Score(value=0.9, per_sample=None))
    assert found.certify == n
    assert found.certifiable == pytest.approx(paired_bound(0, 0, n, spend(0.05, 0)))
    assert found.needed is not None
    assert found.needed > 3000
    assert 0 < whole.certifiable < 0.1


def test_what_there_is_no_time_for_is_left_out_and_noted(digits: Path):
    with (
        bound(
            digits / "model.onnx",
            digits / "val.npz",
            metric=None,
            budget=Budget(max_drop=0.05, minutes=2),
            text=None,
            label=None,
            engines=["onnxruntime"],
            train=None,
            progress=None,
        ) as job,
        closing(Oracle(job)) as oracle,
    ):
        facts = observe(job, oracle, Bench(job, oracle), seconds=0.0)
    assert facts.trials == ()
    assert facts.noise is facts.teachable is None
    assert facts.profiled_in == ""
    assert {piece.operator for piece in facts.pieces} == {"Gemm", "Relu"}
    assert sum(piece.share for piece in facts.pieces) == pytest.approx(1.0)
    assert "no time to measure a profile, a step of training, static int8" in facts.notes[-1]
    found = ranked(facts)
    assert all(one.basis != MEASURED for one in found if not one.against)
    assert {"int8-static-ort", "int8-dynamic"} <= {one.method for one in found if not one.against}
