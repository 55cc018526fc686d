"""Class scores in a person's terms."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ai.errors import ModelError
from lepton_ai.model.signature import Array

#: What class scores can be: one label is right; each label by itself; a regression.
ANSWERS = ("softmax", "sigmoid", "raw")


def check_answer(answer: str) -> None:
    """Raise :class:`ModelError` unless ``answer`` is one of :data:`ANSWERS`."""
    if answer not in ANSWERS:
        raise ModelError(f"scores can be read as {', '.join(ANSWERS)}, and {answer!r} came")


def present_scores(scores: Array, labels: Sequence[str], answer: str) -> list[dict[str, Any]]:
    """``{"label": ..., "scores": {label: score}}`` for each row of ``scores`` ``[n, labels]``.

    The label is the one with the largest score; a single sigmoid score below one half has none.

    Raises:
        ModelError: the network has not as many scores as there are labels.
    """
    if scores.ndim != 2 or scores.shape[1] != len(labels):
        raise ModelError(f"scores [n, {len(labels)}] were wanted, and {list(scores.shape)} came")
    return [_present_one(row, labels, answer) for row in _activate(scores, answer)]


def _activate(scores: Array, answer: str) -> Array:
    wide = scores.astype(np.float64)
    if answer == "softmax":
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if answer == "sigmoid":
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * wide)))  # does not overflow as exp(-x) would
    return wide


def _present_one(row: Array, labels: Sequence[str], answer: str) -> dict[str, Any]:
    scores = {label: float(score) for label, score in zip(labels, row, strict=True)}
    top = int(np.argmax(row))
    undecided = answer == "sigmoid" and len(labels) == 1 and row[top] < 0.5
    return {"label": None if undecided else labels[top], "scores": scores}
