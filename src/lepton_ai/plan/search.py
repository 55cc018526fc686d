"""From a job to an outcome: stages of recipes, cheap before dear, raced, then certified.

The order of the stages: the plain graph in every engine; the rewritten one, behind the gate;
lower precision; compressors; their fastest results with those nodes back in floating point that
are slower in int8; those that were fast but harmed the model, from a graph prepared for int8,
with other ranges, and then with the nodes that suffer back in floating point; what only one
engine wants, on top of what is fastest in it; students, thinner networks that the original
teaches; where bytes are bound, smaller tables, and students with zeros in their weights; the
fastest few under other plans of their engine. After each trial the best so far is known, so the
search can stop whenever its minutes run out.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lepton_ai.errors import LeptonError, ModelError, WorkerError
from lepton_ai.plan import mixing, space, students
from lepton_ai.plan.bench import Bench
from lepton_ai.plan.following import followed, key_of
from lepton_ai.plan.job import Event, Job
from lepton_ai.plan.oracle import Oracle
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.students import Student
from lepton_ai.plan.trial import CANDIDATE, FAILED, REJECTED, Trial

#: Shares of the minutes: when trials end; when plans end at the earliest and at the latest, for
#: what is left is for the last race and the certificate; what trying a student's forms takes.
_UNTIL_TRIALS_END = 0.5
_UNTIL_PLANS_END, _LATEST_END, _FORMS_SHARE = 0.72, 0.92, 0.07
#: Seconds to load up to six networks and race them, and by how much the certificate may take longer
#: than reckoned.
_LAST_RACE_SECONDS, _SLACK = 20.0, 1.5
_MENDING = "mending int8"
#: What mended int8 may be slower than what it mends without more being tried.
_AS_FAST = 1.1
#: The share of what is left that training int8 gets, and the seconds that are of use.
_TAUGHT_SHARE, _LEAST_TAUGHT_SECONDS, _MOST_TAUGHT_SECONDS = 0.4, 30.0, 180.0


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search in progress: the trials so far, and what measures more of them."""

    job: Job
    oracle: Oracle
    bench: Bench
    trials: list[Trial]

    def run(self) -> None:
        """Try every stage, as far as the minutes of the budget go."""
        threads, names = self.job.threads, self.job.engines
        stages: list[tuple[str, float, Callable[[], Iterable[Recipe]]]] = [
            ("plain engines", math.inf, lambda: space.plain(names, threads)),
            ("rewrites", _UNTIL_TRIALS_END, lambda: space.standard(names, threads)),
            (
                "lower precision",
                _UNTIL_TRIALS_END,
                lambda: space.lower_precision(names, threads, self.trials),
            ),
            ("compressors", _UNTIL_TRIALS_END, self._compressed),
            ("slower in int8", _UNTIL_TRIALS_END, self._without_slower),
            (_MENDING, _UNTIL_TRIALS_END, self._mended),
            ("rewrites of one engine", _UNTIL_TRIALS_END, self._for_one_engine),
            ("rewrites together", _UNTIL_TRIALS_END, lambda: space.combined(self.trials)),
            ("students", _LATEST_END, self._students),
            ("smaller tables", _LATEST_END, self._with_small_tables),
            ("sparser students", _LATEST_END, self._sparser),
            ("plans", _LATEST_END, self._planned_anew),
        ]
        for name, until, recipes in stages:
            self._stage(name, until, recipes())
        if not any(trial.equal for trial in self.trials):
            plain = space.plain(names, threads)
            tried = [trial for trial in self.trials if trial.recipe in plain]
            reasons = "; ".join(f"{trial.name}: {trial.why}" for trial in tried)
            raise ModelError(f"no engine answers as the original does: {reasons}")

    def minutes_left(self) -> float:
        """What is left of the budget's minutes."""
        return self.job.budget.minutes - (time.monotonic() - self.job.started) / 60

    def _compressed(self) -> list[Recipe]:
        for_size = self.job.budget.bounds_bytes
        names, threads = self.job.engines, self.job.threads
        recipes = space.compressed(names, threads, self.trials, for_size=for_size)
        return followed(recipes, self.job.journal.trial(key_of(self.job.budget)), self.trials)

    def _without_slower(self) -> Iterator[Recipe]:
        """The fastest int8 of each engine, with the nodes back that it computes more slowly so."""
        for recipe in mixing.in_int8(self.trials):
            if self._share_gone() > _UNTIL_TRIALS_END:
                return
            try:
                nodes, why = self.bench.graphs.slower(recipe)
            except (LeptonError, OSError):  # no profile of this graph; the rest can go on
                continue
            if why and mixing.disappoints(recipe, self.trials):
                words = f"of its time in {recipe.engine}, {' and '.join(why)}"
                self._say([trial for trial in self.trials if trial.recipe == recipe], words)
            yield from mixing.without_slower(recipe, nodes)

    def _mended(self) -> Iterator[Recipe]:
        """What was fast in int8 and harmed the model: prepared, other ranges, nodes put back."""
        return self._mended_of(self.trials, _UNTIL_TRIALS_END)

    def _mended_of(self, trials: Sequence[Trial], until: float) -> Iterator[Recipe]:
        best = self._fastest_that_answers_well()
        for harmed in mixing.harmed(trials, best, self.job.budget.max_drop):
            if self._share_gone() > until:
                return
            self.job.progress(Event(stage=_MENDING, text=f"what harms {harmed.name}"))
            try:
                yield from self._mended_one(harmed, until)
            except (LeptonError, OSError):  # this graph defeats it; the rest can go on
                continue

    def _mended_one(self, harmed: Recipe, until: float) -> Iterator[Recipe]:
        prepared = self.bench.graphs.prepared(harmed)
        if prepared != harmed:
            yield prepared
            if self._outcome(prepared) is not False:
                return
        ranges = mixing.with_other_ranges(prepared)
        for other in ranges:
            yield other
            if self._outcome(other):
                return
        if self._share_gone() > until:
            return
        prepared = mixing.least_harmed([prepared, *ranges], self.trials)
        noise = self.bench.graphs.suffering(prepared)
        if noise:
            self._explain(prepared, mixing.in_words(noise))
            yield from mixing.mixed(prepared, [name for name, _ in noise], self._outcome)
        yield from self._taught(prepared, until)

    def _taught(self, harmed: Recipe, until: float) -> Iterator[Recipe]:
        """What was harmed, trained with its rounding in place, unless it was mended as fast."""
        slowness = min((t.slowness for t in self.trials if t.recipe == harmed), default=math.inf)
        best = self._fastest_that_answers_well()
        mended = best is not None and best.slowness < slowness * _AS_FAST
        seconds = self.job.budget.minutes * 60 * (until - self._share_gone()) * _TAUGHT_SHARE
        if mended or seconds < _LEAST_TAUGHT_SECONDS:
            return
        recipe = replace(harmed, taught=True)
        try:
            self.bench.graphs.teach_rounded(harmed, min(seconds, _MOST_TAUGHT_SECONDS))
        except (LeptonError, OSError) as failure:
            self.trials.append(Trial(recipe=recipe, verdict=FAILED, why=str(failure)))
            return
        yield recipe

    def _fastest_that_answers_well(self) -> Trial | None:
        """What mended int8 has to be faster than; its bytes are another matter."""
        well = (trial for trial in self.trials if answers_well(trial, self.job))
        return min(well, key=lambda trial: trial.slowness, default=None)

    def _students(self) -> Iterator[Recipe]:
        """What is left of a thinned network, taught, in the forms that were fastest untaught."""
        like = students.like(self._in_order(), self.trials)
        tried: list[tuple[Student, bool]] = []
        while like is not None and (student := students.following(tried)):
            if not self._make_student(student, like, self._plans_end() - _FORMS_SHARE):
                return
            plain = students.plain(student, like)
            yield plain
            if self._outcome(plain):
                yield from (r for r in space.of_student(student, self.trials) if r != plain)
                yield from self._mended_of(self._of(student), self._plans_end())
            tried.append((student, any(answers_well(t, self.job) for t in self._of(student))))

    def _sparser(self) -> Iterator[Recipe]:
        """Where too much is to transfer: zeros in what takes least, taught."""
        most = self.job.budget.max_transfer_mb
        like = students.like(self._in_order(), self.trials)
        if most is None or like is None or self._in_order():
            return
        for student in students.sparser(self._too_large(), most):
            if self._make_student(student, like, self._plans_end()):
                yield from space.of_student(student, self.trials)
                yield from self._with_small_tables()

    def _make_student(self, student: Student, like: Recipe, until: float) -> bool:
        """Thin and teach, in a part of what is left of the minutes; whether there is a student."""
        left = self.job.budget.minutes * 60 * (until - self._share_gone())
        seconds = students.seconds_for(student, left)
        recipe = students.plain(student, like)
        if seconds is None:
            more = (students.LEAST_SECONDS - left) / 60 / until
            why = f"not tried: too few minutes are left to teach; {more:.1f} more would do"
            self.trials.append(Trial(recipe=recipe, verdict=REJECTED, why=why))
            return False
        try:
            self.bench.graphs.make_student(student, like, seconds)
        except (LeptonError, OSError) as failure:
            self.trials.append(Trial(recipe=recipe, verdict=FAILED, why=str(failure)))
            return False
        return True

    def _end(self, until: float) -> float:
        """The share of the minutes that ends a stage: never later than the last race begins."""
        return until if until == math.inf else min(until, self._plans_end())

    def _plans_end(self) -> float:
        """The share of the minutes after which the last race and the certificate begin.

        They take what it takes to answer the samples of the certify split, by the original and by
        the fastest, and to load those that race.
        """
        best = best_of(self.trials, self.job)
        fastest = self.oracle.milliseconds * (1.0 if best is None else min(1.0, best.slowness))
        calls = len(self.job.split.certify) / self.job.samples.per_call
        seconds = calls * (self.oracle.milliseconds + 2 * fastest) / 1000
        share = (_LAST_RACE_SECONDS + _SLACK * seconds) / (self.job.budget.minutes * 60)
        return min(_LATEST_END, max(_UNTIL_PLANS_END, 1 - share))

    def _of(self, student: Student) -> list[Trial]:
        return [trial for trial in self.trials if trial.recipe.student == student]

    def _explain(self, recipe: Recipe, words: str) -> None:
        """Say of every trial of this graph that was rejected what it suffers from."""
        same = [trial for trial in self.trials if trial.recipe.graph_key == recipe.graph_key]
        suffers = [t for t in same if t.verdict == REJECTED and t.ratio is not None]
        self._say(suffers, words)

    def _say(self, trials: Sequence[Trial], words: str) -> None:
        """Add ``words`` to what was said of ``trials``."""
        for place, trial in enumerate(self.trials):
            if trial in trials:
                self.trials[place] = trial.judged(trial.verdict, f"{trial.why}; {words}")

    def _outcome(self, recipe: Recipe) -> bool | None:
        """Whether a recipe answers well; nothing if more nodes in fp32 would be of no use."""
        trial = next((trial for trial in self.trials if trial.recipe == recipe), None)
        if trial is None or trial.ratio is None or trial.verdict == FAILED:
            return None
        if answers_well(trial, self.job):
            return True
        best = self._fastest_that_answers_well()
        slower = best is not None and best.ratio is not None and trial.ratio > best.ratio
        return None if slower else False

    def _with_small_tables(self) -> list[Recipe]:
        """What would keep the budget if it were not too large."""
        return space.with_small_tables(self._too_large())

    def _too_large(self) -> list[Trial]:
        """What would keep the budget if it took fewer bytes, fastest first."""
        budget = self.job.budget
        found = [
            trial
            for trial in self.trials
            if trial.measurement is not None
            and answers_well(trial, self.job)
            and budget.is_too_large(
                trial.measurement.bytes_on_disk, trial.measurement.bytes_to_transfer
            )
        ]
        return sorted(found, key=lambda each: each.slowness)

    def _for_one_engine(self) -> list[Recipe]:
        try:
            return space.for_one_engine(self._in_order(), self.bench.graphs.wanted)
        except (WorkerError, ModelError):  # the graph defeats the rules; the rest can go on
            return []

    def _planned_anew(self) -> list[Recipe]:
        recipes = space.planned_anew(self._in_order(), self.bench.graphs.path)
        if self.job.budget.max_memory_mb is None:
            return recipes
        # A call of another number of samples brings a second compilation, which was not weighed.
        return [recipe for recipe in recipes if not recipe.plan.fixed_batch]

    def _in_order(self) -> list[Trial]:
        return in_order(self.trials, self.job)

    def _stage(self, name: str, until: float, recipes: Iterable[Recipe]) -> None:
        """Try ``recipes`` until that share of the minutes is gone."""
        total = len(recipes) if isinstance(recipes, Sequence) else 0
        for done, recipe in enumerate(recipes):
            best = best_of(self.trials, self.job)
            why = space.not_worth_it(recipe, self.trials)
            if self._share_gone() > self._end(until):
                why = "not tried: the minutes ran out"
            if why is not None:
                self.trials.append(Trial(recipe=recipe, verdict=REJECTED, why=why))
                continue
            self.job.progress(
                Event(
                    stage=name,
                    text=recipe.name,
                    done=done,
                    total=total,
                    best=_in_words(best),
                )
            )
            self.trials.append(self.bench.measure(recipe, best))

    def _share_gone(self) -> float:
        return 1 - self.minutes_left() / self.job.budget.minutes


def keeps_budget(trial: Trial, job: Job) -> bool:
    """Whether a trial is likely to keep every bound except time, which the order takes care of."""
    budget, measured = job.budget, trial.measurement
    if measured is None or not answers_well(trial, job):
        return False
    if budget.is_too_large(measured.bytes_on_disk, measured.bytes_to_transfer):
        return False
    memory = measured.peak_memory_mb
    return budget.max_memory_mb is None or (memory is not None and memory <= budget.max_memory_mb)


def answers_well(trial: Trial, job: Job) -> bool:
    """Whether a trial is likely to keep the bound on the drop; its size and memory do not count."""
    if trial.verdict != CANDIDATE or trial.likely_bound is None:
        return False
    return trial.equal or trial.likely_bound <= job.budget.max_drop


def in_order(trials: Sequence[Trial], job: Job) -> list[Trial]:
    """The trials likely to keep the budget, fastest first."""
    return sorted((t for t in trials if keeps_budget(t, job)), key=lambda t: t.ratio or 0.0)


def best_of(trials: Sequence[Trial], job: Job) -> Trial | None:
    """The fastest trial that is likely to keep the budget."""
    return next(iter(in_order(trials, job)), None)


def _in_words(best: Trial | None) -> str:
    if best is None or best.measurement is None:
        return ""
    return f"{best.name}, {best.measurement.latency.p50_ms:.2f} ms"
