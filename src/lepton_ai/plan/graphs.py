"""The graphs that recipes need, each made once, in a child process, and kept with the journal."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lepton_ai.compress.finish import finished
from lepton_ai.compress.preparation import preparations
from lepton_ai.errors import ModelError
from lepton_ai.graph.rewrite import STANDARD
from lepton_ai.measure.child import Child
from lepton_ai.model.signature import Arrays
from lepton_ai.plan.calibration import CalibrationFolder
from lepton_ai.plan.classroom import Classroom, check_installed
from lepton_ai.plan.job import Event, Job
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.students import LONGER, PATTERNS, Student

# By name, for the child: both load libraries that this process can do without.
_PROCESS = "lepton_ai.plan.graph_process"
_REWRITING = "lepton_ai.plan.rewriting"
_TEACHING = "lepton_ai.plan.teaching_process"
_LOOKING = "lepton_ai.plan.advising.looking"
_MOST_CALIBRATION_CALLS = 300
_THINNING_TIMEOUT = 900.0
#: Learning rates that are tried, and the fewest steps that are of use: what was thinned has far to
#: go, what was rounded has not.
RATES, LEAST_STEPS = (3e-4, 1e-3, 3e-3), 100
ROUNDED_RATES, LEAST_ROUNDED_STEPS = (1e-5, 1e-4, 1e-3), 30


class Graphs:
    """Makes the ONNX file of a recipe, or says why it cannot be made."""

    def __init__(self, job: Job, *, timeout: float) -> None:
        self._job = job
        self._folder = job.journal.folder / "graphs"
        self._timeout = timeout

    def path(self, recipe: Recipe) -> Path:
        """The graph of ``recipe``, made if it is not there yet.

        Raises:
            ModelError: the rewrite or the compressor cannot take the graph.
            WorkerError: it crashed, or took longer than allowed.
        """
        return finished(self._path(recipe), recipe.engine)

    def _path(self, recipe: Recipe) -> Path:
        """The graph of ``recipe`` before anything is done to it for one engine alone."""
        if recipe.small_tables:
            larger = self._path(replace(recipe, small_tables=False))
            return self._make(recipe.graph_key, f"{_PROCESS}:store_tables", "int4-tables", larger)
        path = self._rewrite(recipe)
        if recipe.compressor is None:
            return path
        whole = replace(recipe, kept=(), taught=False)
        quantised = self._make(
            whole.graph_key,
            f"{_PROCESS}:compress",
            recipe.compressor,
            path,
            str(self._calibration()),
        )
        if recipe.taught:
            return self._taught_path(recipe.graph_key)
        if not recipe.kept:
            return quantised
        return self._make(
            recipe.graph_key,
            f"{_PROCESS}:put_back",
            recipe.compressor,
            path,
            str(quantised),
            list(recipe.kept),
        )

    def prepared(self, recipe: Recipe) -> Recipe:
        """``recipe`` with all preparations for int8 that find something to do in its graph.

        Raises:
            ModelError: one of them cannot take the graph.
            WorkerError: it crashed, or took longer than allowed.
        """
        for name in preparations.names():
            further = replace(recipe, rewrites=(*recipe.rewrites, name))
            plain = further.uncompressed
            if self.idle(plain) is None:
                recipe = further
        return recipe

    def suffering(self, recipe: Recipe) -> list[tuple[str, float]]:
        """The nodes that int8 disturbs in the compressed graph of ``recipe``, the worst first.

        With the noise that each alone makes, as a share of the answers' energy.

        Raises:
            ModelError: that cannot be found out for this graph.
            WorkerError: it crashed, or took longer than allowed.
        """
        key = f"suffering:{recipe.graph_key}"
        known = self._job.journal.trial(key)
        if known is None:
            source, quantised = (
                self._path(recipe.uncompressed),
                self._path(recipe),
            )
            with Child(self._job.journal.folder / "log.txt", title="sensitivity") as child:
                found = child.call(
                    f"{_PROCESS}:sensitivity",
                    str(source),
                    str(quantised),
                    str(self._calibration()),
                    timeout=self._timeout,
                )
            known = {"noise": found}
            self._job.journal.record_trial(key, known)
        return [(name, noise) for name, noise in known["noise"]]

    def slower(self, recipe: Recipe) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The nodes of ``recipe`` that take its engine longer than in floating point, worst first.

        And what makes it slow, in words.

        Raises:
            EngineError: the engine does not tell.
            ModelError: that cannot be found out for this graph.
            WorkerError: it crashed, or took longer than allowed.
        """
        key = f"slower:{recipe.graph_key}:{recipe.engine}"
        known = self._job.journal.trial(key)
        if known is None:
            source = self._path(recipe.uncompressed)
            with Child(self._job.journal.folder / "log.txt", title="profile") as child:
                found = child.call(
                    f"{_PROCESS}:slower",
                    str(source),
                    str(self._path(recipe)),
                    str(self.path(recipe)),
                    str(self._calibration()),
                    recipe.engine,
                    recipe.plan.threads,
                    timeout=self._timeout,
                )
            known = {"nodes": [name for name, _ in found["nodes"]], "why": found["reasons"]}
            self._job.journal.record_trial(key, known)
        return tuple(known["nodes"]), tuple(known.get("why", ()))

    def noise(self, recipe: Recipe, seconds: float) -> dict[str, Any]:
        """What int8 disturbs in the compressed graph of ``recipe``: ``whole``, and ``nodes``.

        As :meth:`suffering`, for about ``seconds``, with the noise of all nodes together.

        Raises:
            ModelError: that cannot be found out for this graph.
            WorkerError: it crashed, or took longer than allowed.
        """
        with Child(self._job.journal.folder / "log.txt", title="sensitivity") as child:
            found: dict[str, Any] = child.call(
                f"{_LOOKING}:noise",
                str(self._path(recipe.uncompressed)),
                str(self._path(recipe)),
                str(self._calibration()),
                seconds,
                timeout=self._timeout,
            )
        return found

    def idle(self, recipe: Recipe) -> str | None:
        """The last rewrite of a recipe that has no other step, if it found nothing to do."""
        if recipe != recipe.uncompressed or not recipe.rewrites:
            return None
        self.path(recipe)
        done = self.rewritten(recipe)
        return recipe.rewrites[-1] if done is not None and not done["fired"] else None

    def rewritten(self, recipe: Recipe) -> dict[str, Any] | None:
        """What the last rewrite of ``recipe`` did, from the journal; ``None`` if it has none."""
        if recipe != recipe.uncompressed or not recipe.rewrites:
            return None
        return self._job.journal.trial(f"rewrite:{recipe.graph_key}")

    def wanted(self, recipe: Recipe) -> tuple[str, ...]:
        """The rewrites that the recipe's engine wants, and that would fire on its graph."""
        key = f"wanted:{recipe.graph_key}:{recipe.engine}"
        known = self._job.journal.trial(key)
        if known is None:
            path = self.path(recipe)
            with Child(self._job.journal.folder / "log.txt", title="rewrites") as child:
                found = child.call(
                    f"{_REWRITING}:would_fire", str(path), recipe.engine, timeout=self._timeout
                )
            known = {"names": found}
            self._job.journal.record_trial(key, known)
        return tuple(known["names"])

    def make_student(self, student: Student, like: Recipe, seconds: float) -> None:
        """Make a student that is to be fast as ``like`` is made, and teach it for ``seconds``.

        Raises:
            MissingExtraError: PyTorch is not installed.
            ModelError: nothing can be taken out, what is left is no faster, it cannot be trained,
                or there is too little time.
            EngineError: an operator has no meaning in PyTorch, or the engine refuses a graph.
            DivergedError: its loss is no number.
            WorkerError: a process died or took too long.
        """
        check_installed()
        name = Recipe(engine=like.engine, plan=like.plan, student=student)
        standard = tuple(each for each in like.rewrites if each == STANDARD)
        base = replace(name, student=student[:-1], rewrites=() if student[1:] else standard)
        last, key = student[-1], name.origin[0]
        sparse = last in PATTERNS
        if last == LONGER:
            less = self.path(base)
        else:
            given = self._how_thin(last, like) if isinstance(last, int) else [last]
            less = self._make(
                f"thin-{key}",
                f"{_TEACHING}:{'sparsify' if sparse else 'thin'}",
                key,
                self.path(base),
                *given,
                timeout=_THINNING_TIMEOUT,
            )
        Classroom(self._job, self._folder).teach(
            key,
            less,
            seconds=seconds,
            rates=RATES,
            least_steps=LEAST_STEPS,
            keep_zeros=sparse,
        )

    def _how_thin(self, percent: int, like: Recipe) -> list[Any]:
        self._job.progress(Event(stage="thinning", text=f"to {percent} % of the time"))
        on = {"engine": like.engine, "threads": like.plan.threads, "compressor": like.compressor}
        cache = str(self._job.journal.folder / "node-times")
        return [str(self._calibration()), percent / 100, on, cache]

    def teach_rounded(self, recipe: Recipe, seconds: float) -> None:
        """Teach the compressed graph of ``recipe`` to answer as the original, rounded as it is.

        Raises:
            ModelError: it holds no rounded weights, cannot be trained, or there is too little time.
            EngineError: an operator has no meaning in PyTorch.
            DivergedError: its loss is no number.
            WorkerError: a process died or took too long.
        """
        quantised = self._path(replace(recipe, taught=False))
        key = replace(recipe, taught=True).graph_key
        opened = self._make(f"{key}-opened", f"{_TEACHING}:open_up", key, quantised)
        Classroom(self._job, self._folder).teach(
            key,
            opened,
            seconds=seconds,
            rates=ROUNDED_RATES,
            least_steps=LEAST_ROUNDED_STEPS,
            quantised=quantised,
        )

    def _taught_path(self, key: str) -> Path:
        """Where a graph that was taught is kept."""
        path = self._folder / key / "model.onnx"
        if not path.exists():
            raise ModelError(f"{key} has not been taught")
        return path

    def _origin(self, recipe: Recipe) -> Path:
        return self._taught_path(recipe.origin[0]) if recipe.student else self._job.model.path

    def _rewrite(self, recipe: Recipe) -> Path:
        path = origin = self._origin(recipe)
        for depth, name in enumerate(recipe.rewrites, start=1):
            path = self._make(
                replace(recipe.uncompressed, rewrites=recipe.rewrites[:depth]).graph_key,
                f"{_REWRITING}:rewrite",
                name,
                path,
                str(origin),
                str(self._calibration()),
            )
        return path

    def _make(
        self,
        key: str,
        step: str,
        name: str,
        source: Path,
        *more: Any,
        timeout: float | None = None,
    ) -> Path:
        """Run ``step``, a ``module:function``, into a folder that appears only when it is whole."""
        target = self._folder / key / "model.onnx"
        if target.exists():
            return target
        partial = self._folder / f".{key}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            with Child(self._job.journal.folder / "log.txt", title=name) as child:
                done = child.call(
                    step,
                    name,
                    str(source),
                    str(partial / "model.onnx"),
                    *more,
                    timeout=timeout or self._timeout,
                )
            if not (partial / "model.onnx").exists():
                raise ModelError(f"{name} wrote no graph")
            self._job.journal.record_trial(f"{step.rpartition(':')[2]}:{key}", done or {})
            partial.replace(target.parent)
        except OSError:  # another search made the same graph first
            if not target.exists():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return target

    def _calibration(self) -> Path:
        folder = self._job.journal.folder / "calibration"
        if not folder.exists():
            partial = folder.with_name(f".calibration.{os.getpid()}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            CalibrationFolder(partial).write(self._calls())
            try:
                partial.replace(folder)
            except OSError:  # another search wrote the same calls first
                shutil.rmtree(partial, ignore_errors=True)
        return folder

    def _calls(self) -> Iterator[Arrays]:
        samples = self._job.samples
        indices = self._job.split.calibrate[: _MOST_CALIBRATION_CALLS * samples.per_call]
        return samples.calls([int(index) for index in indices])
