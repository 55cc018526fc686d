"""How far a model answers as the original does; needs no labels.

Each output gives each sample a value from 0 to 1, and the sample's agreement is the least of them:

- *class scores* (floats ``[n, C]``, C at least 2): 1 when every class that holds the largest score
  holds it in the original too, else 0. A row where all scores are equal decides for nothing, and
  agrees only with another such row.
- *integers, truth values, texts*: the share of elements that are equal.
- *one number per sample* (floats ``[n]`` or ``[n, 1]``): ``1 - |y - r| / s``, at least 0, where
  ``s`` is the standard deviation of the original's answers over the samples. An error as large as
  the spread that the model is there to tell apart is no agreement at all.
- *dense maps* (floats with three axes or more, and outputs whose shape varies from sample to
  sample): the share of the original's variance within the sample that is explained,
  ``1 - |y - r|^2 / |r - mean r|^2``, at least 0. A map far flatter than the others (an image with
  nothing in it) would turn noise into disagreement, so the divisor is at least a tenth of its mean
  over the samples.

Equal answers agree fully, whatever they are. NaN, and a shape that differs, is no agreement.
"""

from typing import Literal

import numpy as np

from lepton_ai.data.decisions import as_float, is_float
from lepton_ai.data.metric import Metric, Score
from lepton_ai.data.samples import is_ragged
from lepton_ai.errors import DataError, MetricError
from lepton_ai.model.signature import Array, Arrays

Rule = Literal["scores", "elements", "number", "map"]

#: The least divisor of a dense map, as a share of the mean over the samples.
_FLATTEST = 0.1

_WORDS: dict[Rule, str] = {
    "scores": "the same class has the largest score",
    "elements": "the share of equal elements",
    "number": "one minus the error in standard deviations of the original's answers",
    "map": "the share of the original's variance that is explained",
}


class Agreement(Metric):
    """Agreement with the original's outputs, from 0 to 1 for each sample."""

    name = "agreement"
    needs_labels = False

    def check(
        self, labels: Array | None, reference: Arrays, all_labels: Array | None = None
    ) -> None:
        """The original must answer something, and nothing that is NaN or infinite."""
        if not reference:
            raise DataError("metric agreement compares outputs, and the model has none")
        for name, array in reference.items():
            for index, row in enumerate(array):
                values = as_float(np.asarray(row))
                if values.dtype.kind == "f" and not np.isfinite(values).all():
                    raise DataError(
                        f"the original model answers NaN or an infinite value in output {name!r} "
                        f"for sample {index} of those scored, which nothing can be compared with"
                    )

    def score(self, outputs: Arrays, labels: Array | None, reference: Arrays) -> Score:
        """The mean agreement; see :meth:`Metric.score`."""
        missing = [name for name in reference if name not in outputs]
        if missing:
            raise MetricError(f"outputs {missing} are to be compared, and {list(outputs)} came")
        values = [agree(outputs[name], original) for name, original in reference.items()]
        least: Array = np.min(values, axis=0)
        return Score(value=float(least.mean()), per_sample=least)

    def describe(self, reference: Arrays, labels: Array | None = None) -> str:
        """What is compared in each output."""
        parts = [f"{name}: {_WORDS[rule_of(array)]}" for name, array in reference.items()]
        least = ", the least of its outputs" if len(parts) > 1 else ""
        return f"how far each sample's answer is the original's{least} ({'; '.join(parts)})"


def rule_of(reference: Array) -> Rule:
    """Which rule of this module compares an output with the original's ``reference``."""
    if is_ragged(reference):
        return "map" if len(reference) and is_float(np.asarray(reference[0])) else "elements"
    if not is_float(reference):
        return "elements"
    if reference.ndim == 1 or reference.shape[1:] == (1,):
        return "number"
    return "scores" if reference.ndim == 2 else "map"


def agree(outputs: Array, reference: Array) -> Array:
    """The agreement of each sample in one output, ``[n]``.

    Raises:
        MetricError: the number of samples differs.
    """
    if len(outputs) != len(reference):
        raise MetricError(f"{len(reference)} answers are to be compared, and {len(outputs)} came")
    rule = rule_of(reference)
    if rule == "map" or is_ragged(reference) or is_ragged(outputs):
        return _by_sample(outputs, reference, rule)
    if outputs.shape != reference.shape:
        return np.zeros(len(reference))
    if rule == "elements":
        equal = np.asarray(outputs == reference, dtype=np.float64)
        return np.asarray(equal.reshape(len(reference), -1).mean(axis=1))
    ours, theirs = as_float(outputs), as_float(reference)
    return _same_class(ours, theirs) if rule == "scores" else _near(ours, theirs)


def _same_class(ours: Array, theirs: Array) -> Array:
    our_top = ours == ours.max(axis=1, keepdims=True)
    their_top = theirs == theirs.max(axis=1, keepdims=True)
    within = (our_top <= their_top).all(axis=1) & our_top.any(axis=1)
    return np.asarray(within, dtype=np.float64)


def _near(ours: Array, theirs: Array) -> Array:
    ours, theirs = (one.reshape(len(one)).astype(np.float64) for one in (ours, theirs))
    return _share_left(np.abs(ours - theirs), np.full(len(theirs), theirs.std()))


def _by_sample(outputs: Array, reference: Array, rule: Rule) -> Array:
    # One sample at a time: dense maps are large, and twice their size in float64 may not fit.
    errors, scales = np.zeros(len(reference)), np.zeros(len(reference))
    for index, (ours, theirs) in enumerate(zip(outputs, reference, strict=True)):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        if ours.shape != theirs.shape:
            errors[index] = np.inf
        elif rule == "map" and theirs.size:
            ours, theirs = (as_float(one).astype(np.float64) for one in (ours, theirs))
            errors[index] = np.square(ours - theirs).sum()
            scales[index] = np.square(theirs - theirs.mean()).sum()
        elif theirs.size:
            errors[index], scales[index] = 1 - (ours == theirs).mean(), 1.0
    if rule == "map" and len(scales):
        scales = np.maximum(scales, _FLATTEST * scales.mean())
    return _share_left(errors, scales)


def _share_left(errors: Array, scales: Array) -> Array:
    """``1 - error / scale`` in 0 to 1; no error is full agreement even where nothing varies."""
    shares = np.divide(errors, scales, out=np.full(len(errors), np.inf), where=scales > 0)
    shares[errors == 0] = 0.0
    left: Array = np.clip(1 - np.nan_to_num(shares, nan=1.0, posinf=1.0), 0.0, 1.0)
    return left
