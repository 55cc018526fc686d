"""One trial: make the graph, load it in a child, put it on the clock, score it, say what came."""

import math
from collections.abc import Sequence

import numpy as np

from lepton_ai.errors import LeptonError
from lepton_ai.graph.gate import check_equal
from lepton_ai.measure.latency import race
from lepton_ai.measure.measurement import Latency, Measurement
from lepton_ai.measure.runner import ProcessRunner, Runner
from lepton_ai.measure.size import bytes_on_disk, bytes_to_transfer
from lepton_ai.model.signature import Array, Arrays
from lepton_ai.plan.graphs import Graphs
from lepton_ai.plan.job import Job
from lepton_ai.plan.oracle import Oracle, first_not_finite
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, FAILED, REJECTED, Trial

_TRIAL_TIMEOUT = 240.0
_RACE_SECONDS = 0.7
_HOPELESS = 1.15
_CERTAIN = 3.0
_FIRST_LOOK = 128
_OF_SCALE = {"fp32": 1e-3}


class Bench:
    """Measures recipes against the original, one at a time, and journals each."""

    def __init__(self, job: Job, oracle: Oracle) -> None:
        self._job = job
        self._oracle = oracle
        self.graphs = Graphs(job, timeout=_TRIAL_TIMEOUT)

    def measure(self, recipe: Recipe, best: Trial | None) -> Trial:
        """Try ``recipe``; from the journal, if it was tried before.

        ``best`` is the fastest trial in hand that keeps the budget: what is clearly slower is not
        scored.
        """
        known = self._job.journal.trial(recipe.key)
        if known is not None:
            return Trial.from_json(known)
        trial = self._attempt(recipe, best)
        self._job.journal.record_trial(recipe.key, trial.to_json())
        return trial

    def load(self, recipe: Recipe) -> Runner:
        """The recipe in a process of its own; raises what its making or loading raises."""
        log = self._job.journal.folder / "log.txt"
        path = self.graphs.path(recipe)
        return ProcessRunner(recipe.engine, path, recipe.plan, log, deadline=_TRIAL_TIMEOUT)

    def _attempt(self, recipe: Recipe, best: Trial | None) -> Trial:
        try:
            idle = self.graphs.idle(recipe)
            if idle is not None:
                return Trial(recipe=recipe, verdict=REJECTED, why=f"{idle} found nothing to do")
            runner = self.load(recipe)
        except (LeptonError, OSError) as failure:
            return Trial(recipe=recipe, verdict=FAILED, why=str(failure))
        try:
            return self._race_and_score(recipe, runner, best)
        except LeptonError as failure:
            return Trial(recipe=recipe, verdict=FAILED, why=str(failure))
        finally:
            runner.close()

    def _race_and_score(self, recipe: Recipe, runner: Runner, best: Trial | None) -> Trial:
        oracle = self._oracle
        runner.answer(oracle.feeds[:1])  # a graph that fails, fails before the clock runs
        times = race(
            {"original": oracle.runner, "candidate": runner},
            oracle.feeds,
            seconds=_RACE_SECONDS,
        )
        latency = times["candidate"]
        ratio = latency.p50_ms / times["original"].p50_ms
        measurement = self._measurement(recipe, runner, latency)
        if best is not None and self._is_hopeless(ratio, best):
            return Trial(
                recipe=recipe,
                verdict=REJECTED,
                why=slower_than(ratio, best),
                measurement=measurement,
                ratio=ratio,
            )
        return self._score(recipe, runner, measurement, ratio)

    def _is_hopeless(self, ratio: float, best: Trial) -> bool:
        """Slower than what is in hand; a bound on size or memory may still want it."""
        budget = self._job.budget
        if budget.max_size_mb is not None or budget.max_memory_mb is not None:
            return False
        return best.ratio is not None and ratio > best.ratio * _HOPELESS

    def _score(
        self, recipe: Recipe, runner: Runner, measurement: Measurement, ratio: float
    ) -> Trial:
        oracle = self._oracle
        first = oracle.tune[:_FIRST_LOOK]
        outputs = runner.outputs(self._job.samples, [int(i) for i in first])
        why = self._harm(outputs, first)
        if why is None:
            rest = oracle.tune[_FIRST_LOOK:]
            if len(rest):
                more = runner.outputs(self._job.samples, [int(i) for i in rest])
                outputs = join(outputs, more)
            why = self._harm(outputs, oracle.tune)
        if why is not None:
            return Trial(
                recipe=recipe, verdict=REJECTED, why=why, measurement=measurement, ratio=ratio
            )
        score = oracle.score(outputs, oracle.tune_labels, oracle.tune_outputs)
        drop = self._drop(oracle.tune_score.value, score.value)
        equal, difference = self._gate(recipe, outputs)
        if not equal and recipe.compressor is None and recipe.plan.precision == "fp32":
            return Trial(
                recipe=recipe,
                verdict=REJECTED,
                why=f"not equal to the original: {difference}",
                measurement=measurement,
                ratio=ratio,
            )
        measured = Measurement(
            **{**vars(measurement), "score": score.value, "drop": drop, "samples": len(oracle.tune)}
        )
        return Trial(
            recipe=recipe,
            verdict=CANDIDATE,
            why="equal to the original" if equal else f"drop {drop:.4f} on the tune split",
            measurement=measured,
            ratio=ratio,
            equal=equal,
            likely_bound=0.0 if equal else self._likely_bound(score.per_sample, drop),
        )

    def _harm(self, outputs: Arrays, indices: Array) -> str | None:
        """Why these answers cannot keep the budget, as far as they go; ``None`` if they may."""
        bad = first_not_finite(outputs)
        if bad is not None:
            return f"answers with NaN or infinity in output {bad[0]!r} where the original does not"
        oracle = self._oracle
        count = len(indices)
        reference = {name: array[:count] for name, array in oracle.tune_outputs.items()}
        labels = None if oracle.tune_labels is None else oracle.tune_labels[:count]
        score = oracle.score(outputs, labels, reference)
        if score.per_sample is None or oracle.tune_score.per_sample is None:
            drop = self._drop(oracle.score(reference, labels, reference).value, score.value)
            noise = 1 / math.sqrt(count)
        else:
            differences = self._differences(score.per_sample, count)
            drop = float(differences.mean())
            noise = _CERTAIN * float(differences.std()) / math.sqrt(count)
        if drop - noise <= self._job.budget.max_drop:
            return None
        return f"loses {drop:.4f} of {self._job.metric.name} on {count} samples of the tune split"

    def _gate(self, recipe: Recipe, outputs: Arrays) -> tuple[bool, str]:
        if recipe.compressor is not None or recipe.plan.precision not in _OF_SCALE:
            return False, ""
        verdict = check_equal(
            [self._oracle.tune_outputs], [outputs], rtol=_OF_SCALE["fp32"], atol=1e-6
        )
        return verdict.equal, verdict.why

    def _likely_bound(self, per_sample: Array | None, drop: float) -> float:
        """The tune split's drop with the width that the certify split would give it."""
        if per_sample is None:
            return drop
        n = len(self._job.split.certify)
        alpha = 1 - self._job.budget.confidence
        spread = float(self._differences(per_sample, len(per_sample)).std())
        width = math.sqrt(-math.log(alpha) * 1.2) * spread / math.sqrt(n)
        return drop + max(width, -math.log(alpha) / n)

    def _differences(self, per_sample: Array, count: int) -> Array:
        baseline = self._oracle.tune_score.per_sample
        assert baseline is not None
        sign = 1.0 if self._job.metric.larger_is_better else -1.0
        return np.asarray(sign * (baseline[:count].astype(np.float64) - per_sample))

    def _drop(self, baseline: float, candidate: float) -> float:
        return baseline - candidate if self._job.metric.larger_is_better else candidate - baseline

    def _measurement(self, recipe: Recipe, runner: Runner, latency: Latency) -> Measurement:
        path = self.graphs.path(recipe)
        return Measurement(
            latency=latency,
            throughput=1000.0 / latency.p50_ms * self._job.samples.per_call,
            bytes_on_disk=bytes_on_disk(path),
            bytes_to_transfer=bytes_to_transfer(path),
            peak_memory_mb=runner.peak_memory_mb(),
            load_seconds=runner.load_seconds,
            score=None,
            drop=None,
            samples=0,
            machine=self._job.machine.key,
        )


def slower_than(ratio: float, best: Trial) -> str:
    """How much slower than the best in hand, in words."""
    times = ratio / (best.ratio or 1.0)
    return f"{times:.1f}× slower than {best.name}"


def join(first: Arrays, second: Arrays) -> Arrays:
    """Two stretches of outputs as one, ragged ones kept as objects."""
    return {name: _join_one([array, second[name]]) for name, array in first.items()}


def _join_one(parts: Sequence[Array]) -> Array:
    shapes = {part.shape[1:] if part.dtype != object else None for part in parts}
    if len(shapes) == 1 and None not in shapes:
        return np.concatenate(parts)
    ragged = np.empty(sum(len(part) for part in parts), dtype=object)
    ragged[:] = [row for part in parts for row in part]
    return ragged
