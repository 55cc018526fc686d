"""The mean over classes of F1, the harmonic mean of precision and recall."""

import numpy as np
from scipy import sparse

from lepton_ai.data.accuracy import Accuracy
from lepton_ai.data.decisions import NO_CLASS, class_labels, decide, find_decider
from lepton_ai.data.metric import Score
from lepton_ai.model.signature import Array, Arrays

#: Resamples are counted in pieces of about this many samples, so that memory stays flat.
_PIECE = 1 << 22


class MacroF1(Accuracy):
    """Macro-averaged F1 over the classes that occur among labels or answers.

    ``F1 = 2 TP / (2 TP + FP + FN)`` for each class, then the plain mean (van Rijsbergen 1979; the
    classes counted are scikit-learn's). It has no outcome per sample: its value belongs to a whole
    set of samples.
    """

    name = "macro-f1"

    def score(self, outputs: Arrays, labels: Array | None, reference: Arrays) -> Score:
        """Macro-F1 over all samples; see :meth:`Metric.score`."""
        everything = np.arange(len(self._given(labels)))[None]
        value = self.resampled(outputs, labels, reference, everything)[0]
        return Score(value=float(value), per_sample=None)

    def describe(self, reference: Arrays, labels: Array | None = None) -> str:
        """Which output is compared with the labels."""
        if labels is None:
            return "macro-averaged F1 of the classes decided for, against the labels"
        decider = find_decider(self._given(labels), reference)
        return f"macro-averaged F1 of {decider}, against the label"

    def resampled(
        self, outputs: Arrays, labels: Array | None, reference: Arrays, indices: Array
    ) -> Array:
        """Macro-F1 of each resample, from counts per sample; see :meth:`Metric.resampled`."""
        wanted = class_labels(self._given(labels))
        decided = decide(find_decider(wanted, reference), outputs, wanted.shape)
        hits, answered, labelled = _counts(decided, wanted)
        count, values = len(wanted), []
        step = max(1, _PIECE // count)
        for start in range(0, len(indices), step):
            times = _multiplicity(indices[start : start + step], count)
            true_positive = (hits.T @ times.T).T
            either = (answered.T @ times.T).T + (labelled.T @ times.T).T
            occurs = either > 0
            f1 = np.divide(2 * true_positive, either, out=np.zeros(either.shape), where=occurs)
            values.append(f1.sum(axis=1) / np.maximum(1, occurs.sum(axis=1)))
        return np.concatenate(values)


def _counts(decided: Array, wanted: Array) -> tuple[sparse.csr_array, ...]:
    """How often each sample has each class: right, answered, and labelled; each ``[n, C]``."""
    decided, wanted = decided.reshape(len(wanted), -1), wanted.reshape(len(wanted), -1)
    classes, codes = np.unique(np.concatenate([decided, wanted]), return_inverse=True)
    codes = codes.reshape(2, *wanted.shape)
    rows = np.broadcast_to(np.arange(len(wanted))[:, None], wanted.shape)
    if decided.dtype.kind == "U":
        answered = np.ones(wanted.shape, dtype=bool)
    else:
        answered = decided != NO_CLASS
    shape = (len(wanted), len(classes))

    def count(where: Array, code: Array) -> sparse.csr_array:
        ones = np.ones(int(where.sum()))
        return sparse.csr_array((ones, (rows[where], code[where])), shape=shape)

    everywhere = np.ones(wanted.shape, dtype=bool)
    return (
        count(decided == wanted, codes[1]),
        count(answered, codes[0]),
        count(everywhere, codes[1]),
    )


def _multiplicity(indices: Array, count: int) -> Array:
    """How often each resample holds each sample, ``[B, count]``."""
    offsets = np.arange(len(indices))[:, None] * count
    flat = np.bincount((indices + offsets).reshape(-1), minlength=len(indices) * count)
    return flat.reshape(len(indices), count).astype(np.float64)
