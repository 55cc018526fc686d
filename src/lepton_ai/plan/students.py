"""Students: what is left of a network that was thinned, taught by the network that it was.

A student is named by the shares of the time that were aimed at, in percent, one after the other:
``(50,)`` is the original at half its time, ``(50, 65)`` is that one thinned once more. Each is made
once and kept with the journal; teaching that was killed goes on from its last checkpoint.
"""

import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.errors import ModelError
from lepton_ai.measure.child import Child
from lepton_ai.plan.job import Event, Job
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import Trial

_PROCESS = "lepton_ai.plan.teaching_process"
_STAGE = "teaching"
_BATCH = 64
#: Steps that are timed, and the share of all that each learning rate is tried on.
_TIMED_STEPS = 3
_TRIED_SHARE, _LEAST_TRIED = 0.02, 12
#: Fewer steps than this do not bring a thinned network back.
LEAST_STEPS = 100
#: The length of a schedule goes by such factors: the same machine finds the same length again.
_STEPS_APART = math.sqrt(2)
#: Between two checkpoints, and between two lines of progress.
_CHUNK_SECONDS = 15.0
_TIMEOUT = 900.0
#: What the names of instruction sets that multiply in bf16 hold.
_BF16 = "bf16"

#: Shares of the time, in percent: the first to aim at, that after one which kept the budget, and
#: the one that is tried where half the time was too little.
_FIRST, _FURTHER, _MILDER = 50, 65, 75
#: The share of the time for teaching that the next student gets, and the fewest seconds.
_NEXT_SHARE, _LEAST_SECONDS = 0.5, 45.0

Student = tuple[int, ...]


def following(tried: Sequence[tuple[Student, bool]]) -> Student | None:
    """The student to make after those ``tried``, which kept the budget or did not."""
    if not tried:
        return (_FIRST,)
    last, kept = tried[-1]
    if kept:
        return (*last, _FURTHER)
    return (_MILDER,) if last == (_FIRST,) else None


def seconds_for(left: float) -> float | None:
    """How much of the seconds that are left for teaching the next student gets, if it is enough."""
    if left < _LEAST_SECONDS:
        return None
    return max(_LEAST_SECONDS, left * _NEXT_SHARE)


def like(best: Sequence[Trial], trials: Sequence[Trial]) -> Recipe | None:
    """How what is to be fast is made: as the fastest in hand, in an engine that tells its times.

    ``best`` keep the budget, fastest first; ``trials`` are all that there are.
    """
    for trial in (*best, *sorted(trials, key=lambda each: each.slowness)):
        recipe = trial.recipe
        tells = engines.get(recipe.engine)().tells_times
        if tells and not recipe.student and trial.ratio is not None:
            return replace(recipe, plan=EnginePlan(threads=recipe.plan.threads), kept=())
    return None


def named(student: Student) -> str:
    """A student as part of a file's name."""
    return "student-" + "-".join(map(str, student))


class Students:
    """Makes students, each in child processes of its own."""

    def __init__(self, job: Job, folder: Path, calibration: Path) -> None:
        self._job = job
        self._folder = folder
        self._calibration = calibration

    def path(self, student: Student) -> Path:
        """The graph of a student that was taught."""
        return self._folder / named(student) / "model.onnx"

    def make(self, student: Student, source: Path, like: Recipe, *, seconds: float) -> Path:
        """The student's graph: ``source`` thinned until it is fast as ``like`` is made, and taught.

        The teacher is the original. Teaching takes about ``seconds``; the first time decides how
        many steps that is.

        Raises:
            ModelError: nothing can be taken out, it would be no faster, the graph cannot be
                trained, or there is too little time.
            EngineError: an operator has no meaning in PyTorch, or the engine refuses a graph.
            DivergedError: the loss is no number at any learning rate.
            WorkerError: a process died or took too long.
        """
        target = self.path(student)
        if target.exists():
            return target
        paths = (self._job.model.path, self._thinned(student, source, like), self._lessons())
        with self._child() as child:
            config = self._config(child, student, paths, seconds)
            self._teach(child, student, paths, config)
            partial = self._partial(student)
            child.call(f"{_PROCESS}:finish", str(partial / "model.onnx"), timeout=_TIMEOUT)
        partial.replace(target.parent)
        return target

    def _thinned(self, student: Student, source: Path, like: Recipe) -> Path:
        target = self._folder / f"thin-{named(student)}" / "model.onnx"
        if target.exists():
            return target
        self._tell(f"what is missed least, for {student[-1]} % of the time in {like.engine}")
        on = {"engine": like.engine, "threads": like.plan.threads, "compressor": like.compressor}
        partial = self._partial(student)
        with self._child() as child:
            done = child.call(
                f"{_PROCESS}:thin",
                named(student),
                str(source),
                str(partial / "model.onnx"),
                str(self._calibration),
                student[-1] / 100,
                on,
                str(self._folder.parent / "node-times"),
                timeout=_TIMEOUT,
            )
        self._job.journal.record_trial(f"thin:{named(student)}", done)
        partial.replace(target.parent)
        return target

    def _lessons(self) -> Path:
        from lepton_ai.train.lessons import Lessons

        folder = self._folder.parent / "lessons"
        if not folder.exists():
            partial = folder.with_name(f".lessons.{os.getpid()}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            teaching = self._job.teaching
            indices = [int(index) for index in teaching.indices]
            Lessons.write(partial, teaching.samples.calls(indices))
            partial.replace(folder)
        return folder

    def _config(
        self, child: Child, student: Student, paths: tuple[Path, Path, Path], seconds: float
    ) -> dict[str, Any]:
        """The schedule, decided once: killed and started again, the same student is taught."""
        key = f"schedule:{named(student)}"
        known = self._job.journal.trial(key)
        if known is not None:
            return known
        begin = time.monotonic()
        fast = any(_BF16 in flag for flag in self._job.machine.isa)
        config: dict[str, Any] = {
            "steps": LEAST_STEPS,
            "batch": _BATCH,
            "products": "bfloat16" if fast else None,
        }
        words = [str(path) for path in paths]
        self._tell(f"how fast {named(student)} can be taught")
        each = child.call(
            f"{_PROCESS}:step_seconds", *words, config, _TIMED_STEPS, timeout=_TIMEOUT
        )
        steps = _length((seconds - (time.monotonic() - begin)) / each)
        if steps < LEAST_STEPS:
            raise ModelError(
                f"{LEAST_STEPS} steps of teaching take {LEAST_STEPS * each / 60:.1f} minutes, and "
                f"{max(0.0, seconds) / 60:.1f} are left; give more minutes"
            )
        tried = max(_LEAST_TRIED, int(steps * _TRIED_SHARE))
        rate = child.call(
            f"{_PROCESS}:best_rate", *words, {**config, "steps": tried}, timeout=_TIMEOUT
        )
        config |= {"steps": steps, "learning_rate": rate}
        self._job.journal.record_trial(key, config)
        return config

    def _teach(
        self,
        child: Child,
        student: Student,
        paths: tuple[Path, Path, Path],
        config: dict[str, Any],
    ) -> None:
        checkpoint = self._folder.parent / f"{named(student)}.checkpoint"
        words = [str(path) for path in paths]
        steps = int(config["steps"])
        done = child.call(f"{_PROCESS}:begin", *words, config, str(checkpoint), timeout=_TIMEOUT)
        while done < steps:
            found = child.call(
                f"{_PROCESS}:advance", _CHUNK_SECONDS, steps, str(checkpoint), timeout=_TIMEOUT
            )
            done = int(found["step"])
            self._tell(f"{named(student)}, loss {found['loss']:.4f}", done, steps)

    def _partial(self, student: Student) -> Path:
        partial = self._folder / f".{named(student)}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial

    def _child(self) -> Child:
        return Child(self._job.journal.folder / "log.txt", title=_STAGE)

    def _tell(self, text: str, done: int = 0, total: int = 0) -> None:
        self._job.progress(Event(stage=_STAGE, text=text, done=done, total=total))


def _length(affordable: float) -> int:
    """The longest schedule of the few that there are."""
    if affordable < 1:
        return 0
    return int(_STEPS_APART ** math.floor(math.log(affordable, _STEPS_APART) + 1e-9))
