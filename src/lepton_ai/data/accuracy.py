"""The share of samples whose class is right."""

import numpy as np

from lepton_ai.data.decisions import (
    check_class_labels,
    check_decided,
    check_range,
    class_labels,
    decide,
    find_decider,
)
from lepton_ai.data.metric import Metric, Score
from lepton_ai.model.signature import Array, Arrays


class Accuracy(Metric):
    """One for a sample whose class is right, zero for one whose class is wrong.

    Where a sample has a label at each position (segmentation), its outcome is the share of
    positions that are right. Which output is scored: see :mod:`lepton_ai.data.decisions`.
    """

    name = "accuracy"

    def check_labels(self, labels: Array | None) -> None:
        """Labels must be there, be classes, and not all be one."""
        super().check_labels(labels)
        if labels is not None:
            check_class_labels(labels)

    def check(
        self, labels: Array | None, reference: Arrays, all_labels: Array | None = None
    ) -> None:
        """Labels must fit an output and lie in its range of classes."""
        decider = find_decider(self._given(labels), reference)
        check_decided(decider, reference)
        if all_labels is not None:
            check_range(class_labels(all_labels), decider)

    def score(self, outputs: Arrays, labels: Array | None, reference: Arrays) -> Score:
        """The share that is right; see :meth:`Metric.score`."""
        wanted = class_labels(self._given(labels))
        decided = decide(find_decider(wanted, reference), outputs, wanted.shape)
        right = (decided == wanted).reshape(len(wanted), -1).mean(axis=1)
        return Score(value=float(right.mean()), per_sample=right)

    def chance(self, labels: Array) -> float | None:
        """The share of the most frequent class, which a constant answer gets right."""
        classes, counts = np.unique(class_labels(labels), return_counts=True)
        return float(counts.max() / counts.sum()) if len(classes) else None

    def describe(self, reference: Arrays, labels: Array | None = None) -> str:
        """Which output is compared with the labels."""
        if labels is None:
            return "the share of samples whose class is right"
        given = class_labels(self._given(labels))
        of_what = "samples" if given.ndim == 1 else "positions of a sample"
        return f"the share of {of_what} where {find_decider(given, reference)} equals the label"

    def _given(self, labels: Array | None) -> Array:
        super().check_labels(labels)
        assert labels is not None, "the line above raises where there are none"
        return labels
