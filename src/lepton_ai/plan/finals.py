"""The last race, the certificate, and the choice.

The fastest few that are likely to keep the budget run against the plain engines and the model as
its owner runs it, all in turns. Then, fastest first, they are certified on samples that nothing has
looked at. The first that holds is shipped; if none does, the fastest graph that the gate found
equal is, which needs no sampling.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lepton_ai.engines.eager import Eager
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.errors import EngineError, LeptonError, ModelError
from lepton_ai.measure.latency import race
from lepton_ai.measure.measurement import Latency, Measurement
from lepton_ai.measure.runner import LocalRunner, Runner
from lepton_ai.measure.size import bytes_on_disk, bytes_to_transfer
from lepton_ai.model.signature import Array, Arrays
from lepton_ai.plan.certificate import Certificate
from lepton_ai.plan.certify import Claim, certify, certify_equal
from lepton_ai.plan.job import Event, Job
from lepton_ai.plan.oracle import first_not_finite
from lepton_ai.plan.outcome import MET, MISSED, Outcome, Standing
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.search import Search, answers_well, in_order, keeps_budget
from lepton_ai.plan.trial import CANDIDATE, FRONT, REJECTED, SHIPPED, Trial

_RACE_SECONDS = 1.5
_MOST_FINALISTS = 3
_MOST_MIXED = 2
_GOLDEN_CALLS = 4
_LEAST_CERTIFY = 200
_EAGER = "owner's"


def conclude(search: Search) -> Outcome:
    """Race, certify and choose among the trials of a search that has run."""
    with ExitStack() as stack:
        return _Finals(search, stack).conclude()


@dataclass(frozen=True, kw_only=True)
class _Entrant:
    trial: Trial
    runner: Runner
    latency: Latency


class _Finals:
    def __init__(self, search: Search, stack: ExitStack) -> None:
        self._search = search
        self._job: Job = search.job
        self._oracle = search.oracle
        self._stack = stack
        self._why_not: dict[str, str] = {}
        self._times: dict[str, Latency] = {}
        self._baseline_score = (self._oracle.tune_score.value, len(self._oracle.tune))

    def conclude(self) -> Outcome:
        equal = self._best_equal()
        runners, trials = self._load(equal)
        self._job.progress(Event(stage="last race", text=", ".join(trials)))
        times = self._times = race(runners, self._oracle.feeds, seconds=_RACE_SECONDS)
        entrants = {
            name: _Entrant(trial=trial, runner=runners[name], latency=times[name])
            for name, trial in trials.items()
        }
        indices = self._certify_indices(list(entrants.values()))
        shipped, certificate, measurement = self._choose(entrants, indices)
        return self._outcome(shipped, certificate, measurement, times, indices)

    def _best_equal(self) -> Trial:
        """The fastest that the gate found equal; one that keeps the bounds on size, if any does."""
        equal = [trial for trial in self._search.trials if trial.equal]
        keeping = [trial for trial in in_order(equal, self._job) if trial.equal]
        return keeping[0] if keeping else min(equal, key=lambda trial: trial.ratio or 0.0)

    def _load(self, equal: Trial) -> tuple[dict[str, Runner], dict[str, Trial]]:
        """Everything that runs in the last race, by name, and the trials among it."""
        likely = [trial for trial in in_order(self._search.trials, self._job) if not trial.equal]
        if not likely and not self._keeps_size(equal):
            likely = self._nearest()
        faster = [t for t in likely if (t.ratio or 0.0) < (equal.ratio or 0.0)]
        chosen = _unlike(faster if self._keeps_size(equal) else likely)[:_MOST_FINALISTS]
        plain = [t for t in self._search.trials if t.equal and self._is_plain(t)]
        runners: dict[str, Runner] = {self._oracle.recipe.name: self._oracle.runner}
        if self._job.model.module is not None:
            runners[_EAGER] = LocalRunner(Eager(self._job.model, self._job.threads))
        trials: dict[str, Trial] = {}
        for trial in (*chosen, equal, *plain):
            if trial.recipe == self._oracle.recipe:  # it is loaded already, as the original
                trials[trial.name] = trial
            if trial.name in runners:
                continue
            try:
                runner = self._search.bench.load(trial.recipe)
                self._stack.callback(runner.close)
                runner.answer(self._oracle.feeds[:1])
            except LeptonError as failure:
                self._why_not[trial.name] = f"failed in the last race: {failure}"
                continue
            runners[trial.name] = runner
            trials[trial.name] = trial
        return runners, trials

    def _nearest(self) -> list[Trial]:
        """What answers well, where all takes too many bytes: that first which takes least."""
        job = self._job
        well = [t for t in self._search.trials if answers_well(t, job) and not t.equal]
        return sorted(well, key=lambda trial: _excess(trial, job))

    def _is_plain(self, trial: Trial) -> bool:
        recipe = trial.recipe
        return recipe == Recipe(engine=recipe.engine, plan=EnginePlan(threads=self._job.threads))

    def _keeps_size(self, trial: Trial) -> bool:
        return bool(in_order([trial], self._job))

    def _certify_indices(self, entrants: Sequence[_Entrant]) -> Array:
        """As many samples of the certify split as the minutes left allow, fixed beforehand."""
        per_call = self._oracle.milliseconds + 2 * max(
            (e.latency.p50_ms for e in entrants if not e.trial.equal), default=0.0
        )
        seconds = max(self._search.minutes_left() * 60 * 0.8, 0.0)
        in_time = int(seconds * 1000 / per_call) * self._job.samples.per_call
        split = self._distinct(self._job.split.certify)
        most = min(len(split), self._oracle.most_in_memory())
        return split[: min(most, max(in_time, _LEAST_CERTIFY))]

    def _distinct(self, indices: Array) -> Array:
        """One of each: copies of a sample say nothing new, and a bound would count them."""
        first: dict[bytes, int] = {}
        for index in indices:
            first.setdefault(self._job.samples.digest(int(index)), int(index))
        return np.array(list(first.values()), dtype=np.int64)

    def _choose(
        self, entrants: dict[str, _Entrant], indices: Array
    ) -> tuple[_Entrant, Certificate, Measurement]:
        """The fastest that holds; in turn, each with its own share of the error allowed."""
        fastest_first = sorted(entrants.values(), key=lambda entrant: entrant.latency.p50_ms)
        nearest_first = sorted(fastest_first, key=lambda each: _excess(each.trial, self._job))
        wanted = [e for e in fastest_first if self._fits(e)] or nearest_first
        reference: Arrays | None = None
        order = 0
        for entrant in wanted:
            if entrant.trial.equal:
                return self._as_equal(entrant)
            if reference is None:
                text = f"{len(indices)} unseen samples"
                self._job.progress(Event(stage="certify", text=text))
                reference = self._oracle.answers(indices)
            order += 1
            try:
                certificate, measurement = self._certify(entrant, indices, reference, order - 1)
            except LeptonError as failure:
                self._why_not[entrant.trial.name] = f"failed on unseen samples: {failure}"
                continue
            if certificate.holds:
                return entrant, certificate, measurement
            self._why_not[entrant.trial.name] = f"not certified: {certificate.claim}"
        for entrant in fastest_first:
            if entrant.trial.equal:
                return self._as_equal(entrant)
        raise ModelError(f"nothing that is equal ran in the last race: {self._why_not}")

    def _as_equal(self, entrant: _Entrant) -> tuple[_Entrant, Certificate, Measurement]:
        measured = self._measured(entrant)
        assert measured.score is not None, "the gate scored it"
        self._baseline_score = (measured.score, measured.samples)
        return entrant, certify_equal(self._claim(), measured.samples), measured

    def _fits(self, entrant: _Entrant) -> bool:
        return self._keeps_size(entrant.trial)

    def _certify(
        self, entrant: _Entrant, indices: Array, reference: Arrays, order: int
    ) -> tuple[Certificate, Measurement]:
        job, oracle = self._job, self._oracle
        labels = oracle.labels(indices)
        outputs = entrant.runner.outputs(job.samples, [int(index) for index in indices])
        bad = first_not_finite(outputs)
        if bad is not None:
            raise EngineError(f"answers with NaN or infinity in output {bad[0]!r}")
        baseline = oracle.score(reference, labels, reference)
        candidate = oracle.score(outputs, labels, reference)
        certificate = certify(
            baseline,
            candidate,
            self._claim(order),
            n=len(indices),
            resampled=(
                partial(job.metric.resampled, reference, labels, reference),
                partial(job.metric.resampled, outputs, labels, reference),
            ),
        )
        measured = replace(
            self._measured(entrant),
            score=candidate.value,
            drop=certificate.drop,
            samples=len(indices),
        )
        self._baseline_score = (baseline.value, len(indices))
        return certificate, measured

    def _claim(self, order: int = 0) -> Claim:
        job = self._job
        return Claim(
            metric=job.metric.name,
            max_drop=job.budget.max_drop,
            confidence=job.budget.confidence,
            order=order,
            bounds=job.metric.bounds,
            larger_is_better=job.metric.larger_is_better,
            isa=tuple(job.machine.isa),
            engines=dict(job.machine.engines),
        )

    def _measured(self, entrant: _Entrant) -> Measurement:
        """The entrant's numbers, with the time of the last race.

        Its peak of memory is the trial's, taken before it held the answers to many samples.
        """
        earlier = entrant.trial.measurement
        assert earlier is not None, "a trial that stands for the last race was measured"
        return replace(
            earlier,
            latency=entrant.latency,
            throughput=self._throughput(entrant.latency),
            load_seconds=entrant.runner.load_seconds,
        )

    def _memory_of_original(self) -> float | None:
        """Its peak as a trial like the others; its own process has answered the whole search."""
        for trial in self._search.trials:
            if trial.recipe == self._oracle.recipe and trial.measurement is not None:
                return trial.measurement.peak_memory_mb
        return self._oracle.runner.peak_memory_mb()

    def _throughput(self, latency: Latency) -> float:
        return 1000.0 / latency.p50_ms * self._job.samples.per_call

    def _baseline(self, times: dict[str, Latency]) -> tuple[Standing, Measurement]:
        """The model as its owner runs it: its module in eager mode, or its plain graph."""
        threads = self._job.threads
        if _EAGER in times:
            cores = "1 thread" if threads == 1 else f"{threads} threads"
            standing = Standing(
                name=f"PyTorch eager · fp32 · {cores}", recipe=None, latency=times[_EAGER]
            )
            memory = None
        else:
            recipe = self._oracle.recipe
            standing = Standing(name=recipe.name, recipe=recipe, latency=times[recipe.name])
            memory = self._memory_of_original()
        value, count = self._baseline_score
        measurement = Measurement(
            latency=standing.latency,
            throughput=self._throughput(standing.latency),
            bytes_on_disk=bytes_on_disk(self._job.model.path),
            bytes_to_transfer=bytes_to_transfer(self._job.model.path),
            peak_memory_mb=memory,
            load_seconds=None if _EAGER in times else self._oracle.runner.load_seconds,
            score=value,
            drop=0.0,
            samples=count,
            machine=self._job.machine.key,
        )
        return standing, measurement

    def _outcome(
        self,
        shipped: _Entrant,
        certificate: Certificate,
        measurement: Measurement,
        times: dict[str, Latency],
        indices: Array,
    ) -> Outcome:
        baseline, baseline_measurement = self._baseline(times)
        status, why = verdict(measurement, certificate, self._job)
        best = replace(shipped.trial, verdict=SHIPPED, why=why, measurement=measurement)
        plain = {trial.name: trial.recipe for trial in self._search.trials if self._is_plain(trial)}
        plain[self._oracle.recipe.name] = self._oracle.recipe
        path = self._search.bench.graphs.path(best.recipe)
        return Outcome(
            status=status,
            why=why,
            baseline=baseline,
            baseline_measurement=baseline_measurement,
            plain=tuple(
                Standing(name=name, recipe=recipe, latency=times[name])
                for name, recipe in plain.items()
                if name in times
            ),
            best=best,
            certificate=certificate,
            trials=tuple(self._judged(best)),
            artifact=path,
            golden=self._golden(shipped.runner),
            certified_on=0 if certificate.equal else len(indices),
            rewritten=self._rewritten(),
        )

    def _rewritten(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """What the last of each chain of rewrites did."""
        found = {}
        for trial in self._search.trials:
            done = self._search.bench.graphs.rewritten(trial.recipe)
            if done is not None and not trial.recipe.student:
                found[trial.recipe.rewrites] = done
        return found

    def _golden(self, runner: Runner) -> list[tuple[Arrays, Arrays]]:
        feeds = self._oracle.feeds[:_GOLDEN_CALLS]
        return list(zip(feeds, runner.answer(feeds), strict=True))

    def _judged(self, best: Trial) -> list[Trial]:
        """Every trial with its last word: shipped, on the front, or why it lost."""
        candidates = [t for t in self._search.trials if t.verdict == CANDIDATE]
        judged = []
        for trial in self._search.trials:
            if trial.name == best.name:
                judged.append(best)
            elif trial.name in self._why_not:
                judged.append(trial.judged(REJECTED, self._why_not[trial.name]))
            elif trial.verdict != CANDIDATE:
                judged.append(trial)
            elif not any(_dominates(other, trial) for other in candidates):
                judged.append(trial.judged(FRONT, f"on the front: {trial.why}"))
            else:
                why = why_it_lost(trial, best, self._job, self._raced(trial, best))
                judged.append(trial.judged(REJECTED, why))
        return judged

    def _raced(self, trial: Trial, best: Trial) -> float | None:
        """A trial's time over that of ``best`` in the last race, if it ran there."""
        if trial.name not in self._times or best.name not in self._times:
            return None
        return self._times[trial.name].p50_ms / self._times[best.name].p50_ms


def _unlike(trials: Sequence[Trial]) -> list[Trial]:
    """``trials``, with no more than the first few of those that nodes were put back in.

    Each of them just keeps the bound on the tune split, for no more nodes were put back than that
    took; where one is not certified, the next to it seldom is.
    """
    mixed = [trial for trial in trials if trial.recipe.kept][_MOST_MIXED:]
    return [trial for trial in trials if trial not in mixed]


def verdict(measured: Measurement, certificate: Certificate, job: Job) -> tuple[str, str]:
    """MET or MISSED, and the sentence that says why; names every bound that is not kept."""
    budget = job.budget
    missed = []
    if not certificate.holds:
        missed.append(f"max_drop {budget.max_drop:g}: {certificate.claim}")
    bounds = (
        ("max_latency_ms", budget.max_latency_ms, measured.latency.p50_ms),
        ("max_size_mb", budget.max_size_mb, measured.bytes_on_disk / 1e6),
        ("max_transfer_mb", budget.max_transfer_mb, measured.bytes_to_transfer / 1e6),
        ("max_memory_mb", budget.max_memory_mb, measured.peak_memory_mb),
    )
    for name, bound, value in bounds:
        if bound is not None and (value is None or value > bound):
            came = "is not known" if value is None else f"takes {value:.4g}"
            missed.append(f"{name} {bound:g}: the closest artifact {came}")
    if missed:
        return MISSED, "; ".join(missed)
    return MET, certificate.claim


def _excess(trial: Trial, job: Job) -> float:
    """The bytes over those allowed, the larger of both kinds; 1 where none are bound."""
    measured, budget = trial.measurement, job.budget
    assert measured is not None, "it ran"
    pairs = (
        (measured.bytes_on_disk, budget.max_size_mb),
        (measured.bytes_to_transfer, budget.max_transfer_mb),
    )
    return max((came / (most * 1e6) for came, most in pairs if most is not None), default=1.0)


def why_it_lost(trial: Trial, best: Trial, job: Job, raced: float | None = None) -> str:
    """Why a trial that did well enough is not the one that ships, in words.

    ``raced`` is its time over that of ``best`` in the last race, if it was let in there.
    """
    times = (trial.ratio or 0.0) / (best.ratio or 1.0) if raced is None else raced
    if times >= 1.0:
        return f"{times:.2f}× the time of {best.name}; {trial.why}"
    bound = trial.likely_bound or 0.0
    if bound > job.budget.max_drop and not trial.equal:
        return f"{trial.why}; its bound would be about {bound:.4f}, more than the budget allows"
    if not keeps_budget(trial, job):
        return f"{trial.why}; it takes more bytes or memory than the budget allows"
    return f"{trial.why}; others were faster, and only the fastest few run in the last race"


def _dominates(other: Trial, trial: Trial) -> bool:
    """At least as good in time, drop and bytes, and better in one."""
    one, two = _costs(other), _costs(trial)
    return one != two and all(a <= b for a, b in zip(one, two, strict=True))


def _costs(trial: Trial) -> tuple[float, float, int, int]:
    assert trial.measurement is not None, "a candidate was measured"
    drop = 0.0 if trial.equal else (trial.measurement.drop or 0.0)
    size = trial.measurement.bytes_on_disk, trial.measurement.bytes_to_transfer
    return trial.ratio or 0.0, drop, *size
