"""What a candidate's answers are worth: equal, harmed, or likely to keep the budget."""

import math

import numpy as np

from lepton_ai.data.metric import Score
from lepton_ai.data.samples import is_ragged
from lepton_ai.graph.gate import Equality, check_equal
from lepton_ai.model.signature import Array, Arrays
from lepton_ai.plan.job import Job
from lepton_ai.plan.oracle import Oracle, first_not_finite

#: Standard errors beyond which a drop on the tune split is taken for real.
_CERTAIN = 3.0
#: What the exact bounds are wider than the normal approximation, at the sizes met here.
_WIDER = 1.1
#: What rounding may move of an outcome, relative to the largest.
_ROUNDING = 1e-3


class Judge:
    """Compares answers on the first samples of the tune split with the original's."""

    def __init__(self, job: Job, oracle: Oracle) -> None:
        self._job = job
        self._oracle = oracle

    def difference(self, outputs: Arrays, count: int) -> str | None:
        """Why the answers to the first ``count`` samples are not equal; ``None`` if they are."""
        equality = self._equality(outputs, count)
        if not equality.equal:
            return equality.why
        before, after = self._scores(outputs, count)
        if before.per_sample is None or after.per_sample is None:
            changed = int(abs(self.drop(before, after)) > _ROUNDING)
        else:
            change = np.abs(_floats(before.per_sample) - _floats(after.per_sample))
            scale = max(1.0, float(np.abs(_floats(before.per_sample)).max()))
            changed = int((change > _ROUNDING * scale).sum())
        name = self._job.metric.name
        return f"the outcome of {name} changes on {changed} of {count} samples" if changed else None

    def _equality(self, outputs: Arrays, count: int) -> Equality:
        """The gate's word on the answers to the first ``count`` samples."""
        reference = {name: array[:count] for name, array in self._oracle.tune_outputs.items()}
        if any(is_ragged(array) for array in (*reference.values(), *outputs.values())):
            return check_equal(_by_sample(reference, count), _by_sample(outputs, count))
        return check_equal([reference], [outputs])

    def harm(self, outputs: Arrays, count: int) -> str | None:
        """Why these answers cannot keep the budget, as far as they go; ``None`` if they may."""
        bad = first_not_finite(outputs)
        if bad is not None:
            return f"answers with NaN or infinity in output {bad[0]!r} where the original does not"
        before, after = self._scores(outputs, count)
        drop = self.drop(before, after)
        if drop - _CERTAIN * self._spread(before, after) / math.sqrt(count) <= (
            self._job.budget.max_drop
        ):
            return None
        return f"loses {drop:.4f} of {self._job.metric.name} on {count} samples of the tune split"

    def drop(self, before: Score, after: Score) -> float:
        """How much worse ``after`` is, in the metric's own unit."""
        return self._sign() * (before.value - after.value)

    def scored(self, outputs: Arrays, count: int) -> tuple[Score, float, float]:
        """The score, the drop, and what a certificate would likely say if the drop is the same."""
        before, after = self._scores(outputs, count)
        drop = self.drop(before, after)
        if after.per_sample is None:
            return after, drop, drop
        n = len(self._job.split.certify)
        odds = -math.log(1 - self._job.budget.confidence)
        width = _WIDER * math.sqrt(odds) * self._spread(before, after) / math.sqrt(n)
        return after, drop, drop + max(width, odds / n)

    def _scores(self, outputs: Arrays, count: int) -> tuple[Score, Score]:
        oracle = self._oracle
        reference = {name: array[:count] for name, array in oracle.tune_outputs.items()}
        labels = None if oracle.tune_labels is None else oracle.tune_labels[:count]
        before = oracle.score(reference, labels, reference)
        return before, oracle.score(outputs, labels, reference)

    def _spread(self, before: Score, after: Score) -> float:
        """The standard deviation of one sample's drop; 1 where only the whole has a score."""
        if before.per_sample is None or after.per_sample is None:
            return 1.0
        return float((_floats(before.per_sample) - _floats(after.per_sample)).std())

    def _sign(self) -> float:
        return 1.0 if self._job.metric.larger_is_better else -1.0


def _floats(outcomes: Array) -> Array:
    return np.asarray(outcomes, dtype=np.float64)


def _by_sample(outputs: Arrays, count: int) -> list[Arrays]:
    """The answers to each sample by themselves, so that their shapes may differ."""
    return [{name: array[index] for name, array in outputs.items()} for index in range(count)]
