"""What models of tables make of raw scores: probabilities and labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.activation import sigmoid
from lepton_ai.operators.attention import softmax_or_nothing
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call

#: What ONNX says of scores that are nearer to zero than this: they are zero.
NEARLY_ZERO = 1e-7
#: Winitzki's constant in his approximation to the inverse of the error function.
WINITZKI = 0.147


def transformed(call: Call, scores: Tensor, name: str) -> Tensor:
    """The scores of each row as probabilities, in the way that ``post_transform`` names."""
    if name == "NONE":
        return scores
    if name == "LOGISTIC":
        return sigmoid(call, scores)
    if name == "SOFTMAX":
        return softmax_or_nothing(call, scores)
    if name == "SOFTMAX_ZERO":
        return _softmax_zero(call, scores)
    if name == "PROBIT":
        return _probit(call, scores)
    raise EngineError(f"post_transform {name!r} is not known")


def _softmax_zero(call: Call, scores: Tensor) -> Tensor:
    """A softmax in which zeros stay zeros."""
    xp = call.xp
    powers = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    kept = xp.where(xp.abs(scores) > NEARLY_ZERO, powers, xp.scalar(0, scores))
    total = xp.sum(kept, axis=-1, keepdims=True)
    return xp.where(total == 0, xp.scalar(0.5, scores), kept / total)


def _probit(call: Call, scores: Tensor) -> Tensor:
    """The inverse of the normal distribution, by Winitzki's approximation, as ONNX Runtime does."""
    xp = call.xp
    x = 2 * scores - 1
    log = xp.log((1 - x) * (1 + x))
    half = 2 / (np.pi * WINITZKI) + 0.5 * log
    return np.sqrt(2.0).item() * xp.sign(x) * xp.sqrt(xp.sqrt(half * half - log / WINITZKI) - half)


def labels(call: Call, places: Tensor, numbers: Sequence[int], texts: Sequence[str]) -> Tensor:
    """The label at each place; texts come from the host alone."""
    if not texts:
        return call.xp.from_host(np.array(numbers, np.int64))[places]
    try:
        at = call.xp.to_host(places)
    except ValueError as failure:
        raise EngineError("labels that are texts cannot be traced") from failure
    return np.array(texts, object)[at]


def two_sided(call: Call, score: Tensor, name: str, probability: bool) -> Tensor:
    """The scores of both classes from that of the second, ``score`` [rows, 1].

    It is a probability, or something that is positive for the second class. Where ONNX leaves open
    what a softmax of one score is, ONNX Runtime does none, and nor is one done here.
    """
    xp = call.xp
    if name == "PROBIT":
        return _probit(call, score)
    if name == "LOGISTIC":
        return sigmoid(call, xp.concat([-score, score], axis=-1))
    return xp.concat([1 - score if probability else -score, score], axis=-1)


def class_count(numbers: Sequence[Any], texts: Sequence[Any]) -> int:
    """How many labels there are."""
    return max(len(numbers), len(texts))
