"""One trial: make the graph, load it in a child, put it on the clock, score it, say what came."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lepton_ai.data.samples import is_ragged
from lepton_ai.errors import LeptonError, WorkerError
from lepton_ai.measure.latency import race
from lepton_ai.measure.measurement import Latency, Measurement
from lepton_ai.measure.runner import ProcessRunner, Runner
from lepton_ai.measure.size import bytes_on_disk, bytes_to_transfer
from lepton_ai.model.signature import Array, Arrays
from lepton_ai.plan.graphs import Graphs
from lepton_ai.plan.job import Job
from lepton_ai.plan.judge import Judge
from lepton_ai.plan.oracle import Oracle
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, FAILED, REJECTED, Trial

_TRIAL_TIMEOUT = 240.0
_RACE_SECONDS = 0.7
_HOPELESS = 1.15
_FIRST_LOOK = 256


class Bench:
    """Measures recipes against the original, one at a time, and journals each."""

    def __init__(self, job: Job, oracle: Oracle) -> None:
        self._job = job
        self._oracle = oracle
        self._judge = Judge(job, oracle)
        self.graphs = Graphs(job, timeout=_TRIAL_TIMEOUT)

    def measure(self, recipe: Recipe, best: Trial | None) -> Trial:
        """Try ``recipe``; from the journal, if it was tried before.

        ``best`` is the fastest trial in hand that keeps the budget: what is clearly slower is not
        scored. What was found holds for the bounds and the samples that it was found under.
        """
        bounds = {
            **self._job.budget.to_json(),
            "minutes": None,
            "max_latency_ms": None,
            "tuned_on": len(self._oracle.tune),
        }
        known = self._job.journal.trial(recipe.key)
        if known is not None and (known["verdict"] == FAILED or known["bounds"] == bounds):
            return Trial.from_json(known)
        try:
            trial = self._attempt(recipe, best)
        except (WorkerError, OSError) as failure:  # it may go well another time: not journalled
            self._oracle.check_alive()
            return Trial(recipe=recipe, verdict=FAILED, why=str(failure))
        self._job.journal.record_trial(recipe.key, {**trial.to_json(), "bounds": bounds})
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
        except WorkerError:
            raise
        except LeptonError as failure:
            return Trial(recipe=recipe, verdict=FAILED, why=str(failure))
        try:
            return self._race_and_score(recipe, runner, best)
        except WorkerError:
            raise
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
        # How well a student answers tells whether it is worth anything more, slow or not.
        scored_anyway = recipe.tells_what_was_learnt and recipe.plan.precision == "fp32"
        if best is not None and not scored_anyway and self._is_hopeless(ratio, best):
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
        if budget.bounds_bytes or budget.max_memory_mb is not None:
            return False
        return best.ratio is not None and ratio > best.ratio * _HOPELESS

    def _score(
        self, recipe: Recipe, runner: Runner, measurement: Measurement, ratio: float
    ) -> Trial:
        """Gate what should be equal, score the rest; a first look spares what is clearly harmed."""
        measured = Trial(
            recipe=recipe, verdict=REJECTED, why="", measurement=measurement, ratio=ratio
        )
        tune = [int(index) for index in self._oracle.tune]
        outputs = runner.outputs(self._job.samples, tune[:_FIRST_LOOK])
        if _should_be_equal(recipe):
            return self._gated(measured, outputs, min(_FIRST_LOOK, len(tune)))
        why = self._judge.harm(outputs, min(_FIRST_LOOK, len(tune)))
        if why is None and len(tune) > _FIRST_LOOK:
            outputs = join(outputs, runner.outputs(self._job.samples, tune[_FIRST_LOOK:]))
            why = self._judge.harm(outputs, len(tune))
        if why is not None:
            return measured.judged(REJECTED, why)
        score, drop, likely = self._judge.scored(outputs, len(tune))
        return replace(
            measured,
            verdict=CANDIDATE,
            why=f"drop {drop:.4f} on the tune split",
            measurement=replace(
                measurement, score=score.value, drop=drop, samples=len(self._oracle.tune)
            ),
            likely_bound=likely,
        )

    def _gated(self, measured: Trial, outputs: Arrays, count: int) -> Trial:
        """Equal answers differ by rounding, and no outcome of the metric changes with them."""
        assert measured.measurement is not None, "it was timed before it was asked"
        difference = self._judge.difference(outputs, count)
        if difference is not None:
            return measured.judged(REJECTED, f"not equal to the original: {difference}")
        score = self._judge.scored(outputs, count)[0].value
        return replace(
            measured,
            verdict=CANDIDATE,
            why="equal to the original",
            measurement=replace(measured.measurement, score=score, drop=0.0, samples=count),
            equal=True,
            likely_bound=0.0,
        )

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


def _should_be_equal(recipe: Recipe) -> bool:
    """Rewrites and engines in fp32 may change the order of additions, and nothing else."""
    exact = recipe.compressor is None and recipe.plan.precision == "fp32"
    return exact and not recipe.student and not recipe.small_tables


def slower_than(ratio: float, best: Trial) -> str:
    """How much slower than the best in hand, in words."""
    times = ratio / (best.ratio or 1.0)
    return f"{times:.1f}× slower than {best.name}"


def join(first: Arrays, second: Arrays) -> Arrays:
    """Two stretches of outputs as one, ragged ones kept as objects."""
    return {name: _join_one([array, second[name]]) for name, array in first.items()}


def _join_one(parts: Sequence[Array]) -> Array:
    shapes = {None if is_ragged(part) else part.shape[1:] for part in parts}
    if len(shapes) == 1 and None not in shapes:
        return np.concatenate(parts)
    ragged = np.empty(sum(len(part) for part in parts), dtype=object)
    ragged[:] = [row for part in parts for row in part]
    return ragged
