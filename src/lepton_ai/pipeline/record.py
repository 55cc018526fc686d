"""An outcome as one JSON document: what ``--json`` prints, the report shows, the journal keeps."""

from collections.abc import Mapping
from typing import Any

from lepton_ai.measure.measurement import Measurement
from lepton_ai.plan.job import Job
from lepton_ai.plan.outcome import Outcome, Standing
from lepton_ai.plan.trial import FRONT, SHIPPED

SCHEMA = 1


def record_of(job: Job, outcome: Outcome, *, seconds: float, described: str) -> dict[str, Any]:
    """The document; ``described`` says in words what the metric scored."""
    best = outcome.best
    assert best.measurement is not None, "what ships was measured"
    entry = best.to_json()
    entry["speedup"] = _times(outcome.baseline_measurement, best.measurement)
    entry["speedup_over_plain"] = {
        standing.name: standing.latency.p50_ms / best.measurement.latency.p50_ms
        for standing in outcome.plain
    }
    entry["bytes_of_baseline"] = (
        best.measurement.bytes_on_disk / outcome.baseline_measurement.bytes_on_disk
    )
    tried = [trial.to_json() for trial in outcome.trials]
    return {
        "schema": SCHEMA,
        "name": job.model.name,
        "status": outcome.status,
        "why": outcome.why,
        "metric": {"name": job.metric.name, "describe": described},
        "budget": job.budget.to_json(),
        "baseline": {
            "name": outcome.baseline.name,
            "recipe": outcome.baseline.name,
            "measurement": outcome.baseline_measurement.to_json(),
        },
        "plain": [_standing(standing) for standing in outcome.plain],
        "best": entry,
        "front": [trial for trial in tried if trial["verdict"] in (FRONT, SHIPPED)],
        "tried": tried,
        "certificate": outcome.certificate.to_json(),
        "bundle": None,
        "machine": job.machine.to_json(),
        "seconds": seconds,
        "samples": {
            "calibrate": len(job.split.calibrate),
            "tune": len(job.split.tune),
            "certify": len(job.split.certify),
            "certified_on": outcome.certified_on,
        },
        "rewrites": _rewrites(outcome),
        "notes": list(job.model.notes),
    }


def _times(baseline: Measurement, best: Measurement) -> float:
    return baseline.latency.p50_ms / best.latency.p50_ms


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "name": standing.name,
        "recipe": standing.recipe and standing.recipe.to_json(),
        "latency": vars(standing.latency),
    }


def _rewrites(outcome: Outcome) -> list[dict[str, Any]]:
    """What each rewrite did, with the gate's word on its result."""
    rows = []
    for chain, done in outcome.rewritten.items():
        tried = [
            trial
            for trial in outcome.trials
            if trial.recipe.compressor is None
            and trial.recipe.plan.precision == "fp32"
            and trial.recipe.rewrites == chain
            and not trial.recipe.student
        ]
        equal = any(trial.equal for trial in tried)
        why = "; ".join(f"{trial.recipe.engine}: {trial.why}" for trial in tried)
        rows.append({**_plain(done), "name": " + ".join(chain), "equal": equal, "why": why})
    return rows


def _plain(done: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fired": list(done.get("words", ())),
        "rolled_back": [
            {"rule": one["firing"]["rule"], "nodes": one["firing"]["nodes"], "why": one["why"]}
            for one in done.get("rolled_back", ())
        ],
        "near_misses": list(done.get("near_misses", ())),
        "failed": list(done.get("failed", ())),
        "nodes_before": done.get("nodes_before"),
        "nodes_after": done.get("nodes_after"),
    }
