"""Where a graph is taught by the original, in a child process that may be killed and goes on.

Progress comes in pieces of some seconds, each followed by a checkpoint; the length of the schedule
and the learning rate are decided once and journalled, so that the same graph comes out of it.
"""

import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lepton_ai.errors import MissingExtraError, ModelError
from lepton_ai.measure.child import Child
from lepton_ai.measure.machine import Machine
from lepton_ai.plan.job import Event, Job, Teaching

_PROCESS = "lepton_ai.plan.teaching_process"
_STAGE = "teaching"
#: Samples of a step: as many as leave enough steps.
BATCHES, _ENOUGH_STEPS = (32, 16, 8, 4), 400
#: Steps that are timed, and the share of all that each learning rate is tried on.
_TIMED_STEPS = 3
_TRIED_SHARE, LEAST_TRIED = 0.02, 12
#: The length of a schedule goes by such factors, so that a machine mostly finds the same again.
_STEPS_APART = math.sqrt(2)
#: Between two checkpoints, and between two lines of progress.
_CHUNK_SECONDS = 15.0
_TIMEOUT = 900.0
#: A machine may be busier than it was when the schedule was decided. So much longer than it was to
#: take it may take, and then ends after this part of what was done.
_LATE, _LAST_PART = 1.2, 10
#: Samples that are asked, while a student is taught, whether it still gets better.
_HELD_OUT = 128
#: What the names of instruction sets that multiply in bf16 hold.
_BF16 = "bf16"
#: Threads that wait for one another by spinning take ten times as long where others work as well.
#: oneDNN compiles each kernel for each shape, and texts have many: more than it keeps by itself.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16384"}


class Classroom:
    """Teaches graphs to answer as the original of ``job`` does; they are kept in ``folder``."""

    def __init__(self, job: Job, folder: Path) -> None:
        self._job = job
        self._folder = folder

    def teach(
        self,
        key: str,
        student: Path,
        *,
        seconds: float,
        rates: Sequence[float],
        least_steps: int,
        quantised: Path | None = None,
        keep_zeros: bool = False,
    ) -> Path:
        """The graph ``student``, taught for about ``seconds``, under the name ``key``.

        The first time decides how many steps that is, and which of ``rates`` is best. What was
        opened from a ``quantised`` graph is closed again. Weights that are zero stay so, if
        ``keep_zeros``.

        Raises:
            MissingExtraError: PyTorch is not installed.
            ModelError: the graph cannot be trained, or there is too little time.
            EngineError: an operator has no meaning in PyTorch.
            DivergedError: the loss is no number, at any rate or later.
            WorkerError: the process died or took too long.
        """
        target = self._folder / key / "model.onnx"
        if target.exists():
            return target
        check_installed()
        words = [str(each) for each in (self._job.model.path, student, self._lessons())]
        log = self._job.journal.folder / "log.txt"
        with Child(log, title=_STAGE, environment=_ENVIRONMENT) as child:
            base = {"keep_zeros": keep_zeros}
            config = self._schedule(child, key, words, base, seconds, rates, least_steps)
            checkpoint = str(self._folder.parent / f"{key}.checkpoint")
            given = *words, config, checkpoint, str(self._held_out())
            child.call(f"{_PROCESS}:begin", *given, timeout=_TIMEOUT)
            self._advance(child, key, checkpoint, seconds)
            partial = self._folder / f".{key}.{os.getpid()}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            beside = None if quantised is None else str(quantised)
            path = str(partial / "model.onnx")
            child.call(f"{_PROCESS}:finish", path, beside, timeout=_TIMEOUT)
        partial.replace(target.parent)
        return target

    def _advance(self, child: Child, key: str, checkpoint: str, seconds: float) -> None:
        """Teach to the end of the schedule; bring that nearer where it takes much too long."""
        late = time.monotonic() + seconds * _LATE
        done, steps, ending = 0, 1, False
        while done < steps:
            found = child.call(f"{_PROCESS}:advance", _CHUNK_SECONDS, checkpoint, timeout=_TIMEOUT)
            done, steps = int(found["step"]), int(found["steps"])
            self._tell(f"{key}, loss {found['loss']:.4f}", done, steps)
            if time.monotonic() > late and not ending:
                ending = True
                child.call(f"{_PROCESS}:end_after", done // _LAST_PART, timeout=_TIMEOUT)

    def _lessons(self) -> Path:
        return self._kept("lessons", self._job.teaching)

    def _held_out(self) -> Path:
        """Samples that a result is chosen by: a student is not taught with them, but watched."""
        tune = self._job.split.tune[:_HELD_OUT]
        return self._kept("held-out", Teaching(samples=self._job.samples, indices=tune))

    def _kept(self, name: str, teaching: Teaching) -> Path:
        from lepton_ai.train.lessons import Lessons

        folder = self._folder.parent / name
        if not folder.exists():
            partial = folder.with_name(f".{name}.{os.getpid()}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            indices = [int(index) for index in teaching.indices]
            Lessons.write(partial, teaching.samples.calls(indices), teaching.classes())
            try:
                partial.replace(folder)
            except OSError:  # another search wrote the same first
                shutil.rmtree(partial, ignore_errors=True)
        return folder

    def _schedule(
        self,
        child: Child,
        key: str,
        words: Sequence[str],
        base: Mapping[str, Any],
        seconds: float,
        rates: Sequence[float],
        least_steps: int,
    ) -> dict[str, Any]:
        """How many steps at which rate, decided once: killed and started again, it is the same."""
        known = self._job.journal.trial(f"schedule:{key}")
        if known is not None:
            return known
        begin, machine = time.monotonic(), self._job.machine
        self._tell(f"how fast {key} can be taught")

        def step_seconds(**more: Any) -> tuple[float, dict[str, Any]]:
            config = {**base, "steps": _TIMED_STEPS + 1, **more}
            found = child.call(f"{_PROCESS}:step_seconds", *words, config, timeout=_TIMEOUT)
            return float(found), config

        few, _ = step_seconds(batch=BATCHES[-1], products=None)
        batch = _batch(seconds, few / BATCHES[-1])
        dtypes = products_on(machine)
        timed = [step_seconds(batch=batch, products=dtype) for dtype in dtypes]
        each, config = min(timed, key=lambda pair: pair[0])
        steps = _length((seconds - (time.monotonic() - begin)) / each)
        if steps < least_steps:
            raise ModelError(
                f"{least_steps} steps of teaching take {least_steps * each / 60:.1f} minutes, and "
                f"{max(0.0, seconds) / 60:.1f} are there for it; give more minutes"
            )
        tried = max(LEAST_TRIED, int(steps * _TRIED_SHARE))
        config["steps"] = tried
        rate = child.call(f"{_PROCESS}:best_rate", *words, config, list(rates), timeout=_TIMEOUT)
        config |= {"steps": steps, "learning_rate": rate}
        self._job.journal.record_trial(f"schedule:{key}", config)
        return config

    def _tell(self, text: str, done: int = 0, total: int = 0) -> None:
        self._job.progress(Event(stage=_STAGE, text=text, done=done, total=total))


def products_on(machine: Machine) -> list[str | None]:
    """The dtypes that products may be fast in on ``machine``, the graph's own first."""
    fast = any(_BF16 in flag for flag in machine.isa)
    return [None, "bfloat16"] if fast else [None]


def check_installed() -> None:
    """Raise :class:`MissingExtraError` where there is no PyTorch, which trains."""
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "train")


def _batch(seconds: float, seconds_per_sample: float) -> int:
    """How many samples a step takes, where one more of them costs as much as the first."""
    few = (size for size in BATCHES if seconds >= size * seconds_per_sample * _ENOUGH_STEPS)
    return next(few, BATCHES[-1])


def _length(affordable: float) -> int:
    """The longest schedule of the few that there are."""
    if affordable < 1:
        return 0
    return int(_STEPS_APART ** math.floor(math.log(affordable, _STEPS_APART) + 1e-9))
