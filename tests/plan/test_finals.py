from dataclasses import replace
from types import SimpleNamespace

import pytest

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.measure.measurement import Latency, Measurement
from lepton_ai.plan.budget import Budget
from lepton_ai.plan.certify import Claim, certify_equal
from lepton_ai.plan.finals import verdict, why_it_lost
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, Trial

LATENCY = Latency(p50_ms=4.0, p90_ms=5.0, p99_ms=6.0, low_ms=3.9, high_ms=4.1, runs=100)
MEASURED = Measurement(
    latency=LATENCY,
    throughput=250.0,
    bytes_on_disk=8_000_000,
    bytes_to_transfer=7_000_000,
    peak_memory_mb=120.0,
    load_seconds=0.1,
    score=0.8,
    drop=0.0,
    samples=500,
    machine="here",
)
EQUAL = certify_equal(Claim(metric="accuracy", max_drop=0.01), 500)


def judge(measured=MEASURED, certificate=EQUAL, **bounds):
    return verdict(measured, certificate, SimpleNamespace(budget=Budget(**bounds)))


def test_it_is_met_when_every_bound_is_kept():
    assert judge(max_latency_ms=4.5, max_size_mb=8.0, max_memory_mb=120.0)[0] == "MET"


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        ("max_latency_ms", 3.9),
        ("max_size_mb", 7.9),
        ("max_transfer_mb", 0.1),
        ("max_memory_mb", 119.0),
    ],
)
def test_a_bound_that_is_missed_is_named_with_what_came(bound, value):
    status, why = judge(**{bound: value})
    assert status == "MISSED"
    assert f"{bound} {value:g}" in why


def test_every_missed_bound_is_named():
    why = judge(max_latency_ms=1.0, max_size_mb=1.0)[1]
    assert "max_latency_ms" in why
    assert "max_size_mb" in why


def test_memory_that_was_not_measured_cannot_keep_a_bound():
    assert judge(replace(MEASURED, peak_memory_mb=None), max_memory_mb=500.0)[0] == "MISSED"


def test_why_each_lost():
    recipe = Recipe(engine="onnxruntime", plan=EnginePlan())
    job = SimpleNamespace(budget=Budget(max_size_mb=9.0))
    best = Trial(
        recipe=recipe,
        verdict=CANDIDATE,
        why="equal",
        measurement=MEASURED,
        ratio=0.5,
        equal=True,
        likely_bound=0.0,
    )
    assert why_it_lost(replace(best, ratio=1.0), best, job).startswith("2.00× the time of")
    quick = replace(best, ratio=0.4)
    assert why_it_lost(quick, best, job, 1.1).startswith("1.10× the time of")
    assert "only the fastest few" in why_it_lost(quick, best, job)
    assert "0.0300" in why_it_lost(replace(quick, equal=False, likely_bound=0.03), best, job)
    larger = replace(quick, measurement=replace(MEASURED, bytes_on_disk=10_000_000))
    assert "more bytes or memory" in why_it_lost(larger, best, job)
