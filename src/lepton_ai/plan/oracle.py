"""The original's own answers, and the clock that every candidate is held against.

The plain fp32 graph in ONNX Runtime stays loaded for the whole search: what it answers is what
"unharmed" means, and what it takes is what "faster" means.
"""

from collections.abc import Sequence

import numpy as np

from lepton_ai.data.metric import Score
from lepton_ai.engines.engine import EnginePlan, default_engines
from lepton_ai.errors import DataError, EngineError, LeptonError, ModelError, WorkerError
from lepton_ai.measure.runner import ProcessRunner, Runner
from lepton_ai.model.signature import Array, Arrays
from lepton_ai.plan.job import Job
from lepton_ai.plan.recipe import Recipe

_CALL_TIMEOUT = 300.0
_MOST_FEEDS = 32
_MOST_FEED_BYTES = 64e6
_MOST_OUTPUT_BYTES = 1e9
_TUNE_SHARE = 0.04
_MOST_TUNE = 1500
_LEAST_TUNE = 32
_FEWEST = 2


class Oracle:
    """The original graph in the first engine that takes it.

    Raises:
        ModelError: no engine takes the graph; the message gives each one's reason.
        DataError: the original answers with NaN or infinity.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self.recipe, self.runner = _first_that_runs(job)
        try:
            self._look()
        except BaseException:
            self.runner.close()
            raise

    def _look(self) -> None:
        """Time it, and keep its answers on as much of the tune split as the minutes allow."""
        job = self._job
        self.feeds = _timing_feeds(job)
        first = self.answers(job.split.tune[:_FEWEST])
        self._bytes_per_sample = sum(_bytes(array) for array in first.values()) / _FEWEST
        times = self.runner.clock(self.feeds)
        self.milliseconds = float(np.median(times))
        self.tune = job.split.tune[: self._tune_length()]
        self.tune_outputs = self.answers(self.tune)
        self.tune_labels = self.labels(self.tune)
        job.metric.check(self.tune_labels, self.tune_outputs, job.samples.labels)
        self.tune_score = self.score(self.tune_outputs, self.tune_labels, self.tune_outputs)

    def answers(self, indices: Array) -> Arrays:
        """What the original answers for ``indices``."""
        try:
            outputs = self.runner.outputs(self._job.samples, [int(i) for i in indices])
        except EngineError as failure:
            raise ModelError(f"the model fails on these samples: {failure}") from failure
        name_of_bad = first_not_finite(outputs)
        if name_of_bad is not None:
            name, position = name_of_bad
            raise DataError(
                f"the original model answers with NaN or infinity in output {name!r} "
                f"for sample {int(indices[position])}; remove such samples or mend the model"
            )
        return outputs

    def labels(self, indices: Array) -> Array | None:
        """The labels of ``indices``, where there are labels."""
        labels = self._job.samples.labels
        return None if labels is None else labels[indices]

    def score(self, outputs: Arrays, labels: Array | None, reference: Arrays) -> Score:
        """The metric over some answers."""
        return self._job.metric.score(outputs, labels, reference)

    def most_in_memory(self) -> int:
        """How many samples' outputs fit in the memory set aside for them."""
        return max(_FEWEST, int(_MOST_OUTPUT_BYTES / max(self._bytes_per_sample, 1.0)))

    def check_alive(self) -> None:
        """Raise :class:`WorkerError` when its process is gone: nothing can be compared any more."""
        self.runner.answer(self.feeds[:1])

    def close(self) -> None:
        """End its process."""
        self.runner.close()

    def _tune_length(self) -> int:
        """How much of the tune split is looked at, decided once: a resumed search must agree."""
        key = f"tune length:{self._job.budget.minutes}"
        known = self._job.journal.trial(key)
        if known is None:
            known = {"samples": self._affordable(len(self._job.split.tune))}
            self._job.journal.record_trial(key, known)
        return int(known["samples"])

    def _affordable(self, there_are: int) -> int:
        seconds = self._job.budget.minutes * 60 * _TUNE_SHARE
        calls = int(seconds * 1000 / max(self.milliseconds, 1e-3))
        in_time = max(_LEAST_TUNE, calls * self._job.samples.per_call)
        return min(there_are, _MOST_TUNE, in_time, self.most_in_memory())


def _bytes(array: Array) -> int:
    """What an output holds in memory, the rows of a ragged one included."""
    if array.dtype != object:
        return array.nbytes
    return sum(row.nbytes if isinstance(row, np.ndarray) else len(str(row)) for row in array)


def first_not_finite(outputs: Arrays) -> tuple[str, int] | None:
    """The first output that holds NaN or infinity, with the position of the sample."""
    for name, array in outputs.items():
        rows: Sequence[Array] = list(array) if array.dtype == object else [array]
        for position, row in enumerate(rows):
            if not isinstance(row, np.ndarray) or row.dtype.kind != "f":
                continue
            good = np.isfinite(row)
            if not good.all():
                return name, position if array.dtype == object else int(np.argwhere(~good)[0][0])
    return None


def _first_that_runs(job: Job) -> tuple[Recipe, Runner]:
    reasons = []
    for name in [engine.name for engine in default_engines()]:
        plan = EnginePlan(threads=job.threads)
        log = job.journal.folder / "log.txt"
        try:
            runner = ProcessRunner(name, job.model.path, plan, log, deadline=_CALL_TIMEOUT)
        except (EngineError, WorkerError) as failure:
            reasons.append(f"{name}: {failure}")
            continue
        try:
            runner.answer([job.samples.feed(_first_call(job))])
        except LeptonError as failure:
            reasons.append(f"{name}: {failure}")
            runner.close()
            continue
        return Recipe(engine=name, plan=plan), runner
    raise ModelError(f"no engine runs {job.model.name}: " + "; ".join(reasons))


def _first_call(job: Job) -> list[int]:
    return [int(index) for index in np.resize(job.split.tune, job.samples.per_call)]


def _timing_feeds(job: Job) -> list[Arrays]:
    feeds: list[Arrays] = []
    held = 0
    indices = [int(index) for index in job.split.tune[: _MOST_FEEDS * job.samples.per_call]]
    for feed in job.samples.calls(indices):
        feeds.append(feed)
        held += sum(array.nbytes for array in feed.values())
        if held > _MOST_FEED_BYTES:
            break
    return feeds
