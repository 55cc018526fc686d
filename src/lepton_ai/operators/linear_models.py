"""Linear models and support vector machines, over the columns of a table."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import FLOAT32, INT64
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call
from lepton_ai.operators.scoring import class_count, labels, transformed, two_sided
from lepton_ai.operators.tabular import tabular

Host = np.ndarray[Any, Any]
#: A duel of classes is never surer than this, and their coupling stops at such a difference.
SURELY_NOT, COUPLED = 1e-7, 0.005


@tabular("LinearRegressor")
def linear_regressor(
    call: Call,
    x: Tensor,
    *,
    coefficients: Sequence[float],
    intercepts: Sequence[float] = (),
    post_transform: str = "NONE",
    targets: int = 1,
) -> Tensor:
    """A weighted sum of the columns for each target."""
    return transformed(call, _linear(call, x, coefficients, intercepts, targets), post_transform)


@tabular("LinearClassifier")
def linear_classifier(
    call: Call,
    x: Tensor,
    *,
    classlabels_ints: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
    coefficients: Sequence[float],
    intercepts: Sequence[float] = (),
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:
    """The label of the greatest weighted sum of the columns, and all sums."""
    xp, classes = call.xp, class_count(classlabels_ints, classlabels_strings)
    rows = len(coefficients) // x.shape[-1]
    scores = _linear(call, x, coefficients, intercepts, rows)
    if rows == 1 and classes == 2:
        places = xp.cast(scores[:, 0] > 0, INT64)
        scores = two_sided(call, scores, post_transform, probability=True)
    else:
        places = xp.argmax(scores, axis=-1)
        scores = transformed(call, scores, post_transform)
    return labels(call, places, classlabels_ints, classlabels_strings), scores


def _linear(
    call: Call, x: Tensor, coefficients: Sequence[float], intercepts: Sequence[float], rows: int
) -> Tensor:
    xp = call.xp
    wide = xp.cast(xp.reshape(x, (1, -1)) if x.ndim == 1 else x, FLOAT32)
    weight = np.array(coefficients, np.float32).reshape(rows, -1)
    y = xp.matmul(wide, xp.from_host(np.ascontiguousarray(weight.T)))
    return y + xp.from_host(np.array(intercepts, np.float32)) if intercepts else y


@tabular("SVMRegressor")
def svm_regressor(
    call: Call,
    x: Tensor,
    *,
    coefficients: Sequence[float],
    kernel_params: Sequence[float] = (),
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: Sequence[float],
    support_vectors: Sequence[float] = (),
) -> Tensor:
    """A weighted sum of how near each row is to the support vectors; inside or outside, signed."""
    xp = call.xp
    if n_supports:
        near = _nearness(call, x, support_vectors, n_supports, kernel_type, kernel_params)
    else:
        near = xp.cast(x, FLOAT32)
    weight = xp.from_host(np.array(coefficients, np.float32).reshape(-1, 1))
    y = xp.matmul(near, weight) + rho[0]
    if one_class:
        return xp.where(y > 0, xp.scalar(1, y), xp.scalar(-1, y))
    return transformed(call, y, post_transform)


def _nearness(
    call: Call,
    x: Tensor,
    vectors: Sequence[float],
    count: int,
    kind: str,
    parameters: Sequence[float],
) -> Tensor:
    """The kernel of each row with each support vector [rows, vectors]."""
    xp, wide = call.xp, call.xp.cast(x, FLOAT32)
    gamma, coef0, degree = parameters or (0.0, 0.0, 0.0)
    supports = np.array(vectors, np.float32).reshape(count, -1)
    if kind == "RBF":
        apart = wide[:, None, :] - xp.from_host(supports)[None]
        return xp.exp(-gamma * xp.sum(apart * apart, axis=-1))
    products = xp.matmul(wide, xp.from_host(np.ascontiguousarray(supports.T)))
    if kind == "LINEAR":
        return products
    if kind == "POLY":
        return (gamma * products + coef0) ** degree
    if kind == "SIGMOID":
        return xp.tanh(gamma * products + coef0)
    raise EngineError(f"kernel_type {kind!r} is not known")


@tabular("SVMClassifier")
def svm_classifier(
    call: Call,
    x: Tensor,
    *,
    classlabels_ints: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
    coefficients: Sequence[float],
    kernel_params: Sequence[float] = (),
    kernel_type: str = "LINEAR",
    post_transform: str = "NONE",
    prob_a: Sequence[float] = (),
    prob_b: Sequence[float] = (),
    rho: Sequence[float],
    support_vectors: Sequence[float] = (),
    vectors_per_class: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """The label that wins most of the duels of two classes; their outcomes, or probabilities."""
    xp, classes = call.xp, class_count(classlabels_ints, classlabels_strings)
    if not vectors_per_class:
        weight = np.array(coefficients, np.float32).reshape(classes, -1)
        scores = xp.matmul(xp.cast(x, FLOAT32), xp.from_host(np.ascontiguousarray(weight.T)))
        scores = scores + rho[0]
        places = xp.argmax(scores, axis=-1)
        scores = transformed(call, scores, post_transform)
        return labels(call, places, classlabels_ints, classlabels_strings), scores
    count = sum(vectors_per_class)
    near = _nearness(call, x, support_vectors, count, kernel_type, kernel_params)
    weights = _of_duels(np.array(coefficients, np.float32).reshape(-1, count), vectors_per_class)
    duels = xp.matmul(near, xp.from_host(weights)) + xp.from_host(np.array(rho, np.float32))
    if prob_a:
        scores = _probabilities(call, duels, prob_a, prob_b, len(vectors_per_class))
    else:
        scores = duels
    places = _most_won(call, duels, len(vectors_per_class))
    if duels.shape[-1] == 1 and not prob_a:
        scores = two_sided(call, duels, post_transform, probability=False)
    else:
        scores = transformed(call, scores, post_transform)
    return labels(call, places, classlabels_ints, classlabels_strings), scores


def _of_duels(coefficients: Host, per_class: Sequence[int]) -> Host:
    """The weight of each support vector in each duel [vectors, duels]."""
    ends = np.cumsum(per_class)
    parts = [slice(end - n, end) for end, n in zip(ends, per_class, strict=True)]
    duels = list(combinations(range(len(per_class)), 2))
    weights = np.zeros((coefficients.shape[1], len(duels)), np.float32)
    for column, (first, second) in enumerate(duels):
        weights[parts[first], column] = coefficients[second - 1, parts[first]]
        weights[parts[second], column] = coefficients[first, parts[second]]
    return weights


def _most_won(call: Call, duels: Tensor, classes: int) -> Tensor:
    """The class that wins most duels; the first of several."""
    wins = np.zeros((2, duels.shape[-1], classes), np.float32)
    for row, pair in enumerate(combinations(range(classes), 2)):
        wins[0, row, pair[0]] = wins[1, row, pair[1]] = 1
    xp = call.xp
    won = xp.cast(duels > 0, FLOAT32)
    votes = xp.matmul(won, xp.from_host(wins[0])) + xp.matmul(1 - won, xp.from_host(wins[1]))
    return xp.argmax(votes, axis=-1)


def _probabilities(
    call: Call, duels: Tensor, slopes: Sequence[float], shifts: Sequence[float], classes: int
) -> Tensor:
    """The probability of each class, coupled from those of the duels (Wu, Lin and Weng, 2004)."""
    try:
        outcomes = call.xp.to_host(duels)
    except ValueError as failure:
        raise EngineError("the coupling of probabilities cannot be traced") from failure
    bent = outcomes * np.array(slopes, np.float32) + np.array(shifts, np.float32)
    won = np.clip(1 / (1 + np.exp(bent)), SURELY_NOT, 1 - SURELY_NOT)
    table = np.zeros((len(won), classes, classes))
    for column, (first, second) in enumerate(combinations(range(classes), 2)):
        table[:, first, second] = won[:, column]
        table[:, second, first] = 1 - won[:, column]
    return call.xp.from_host(_coupled(table).astype(np.float32))


def _coupled(won: Host) -> Host:
    """The distribution that fits the outcomes of all duels best, by the authors' own iteration."""
    rows, classes, _ = won.shape
    lost = np.swapaxes(won, 1, 2)
    matrix = -lost * won
    each = np.arange(classes)
    matrix[:, each, each] = (lost**2).sum(axis=2)
    p = np.full((rows, classes), 1 / classes)
    going = np.ones(rows, np.bool_)
    for _ in range(max(100, classes)):
        slope = np.einsum("rij,rj->ri", matrix, p)
        level = np.einsum("ri,ri->r", p, slope)
        going &= np.abs(slope - level[:, None]).max(axis=1) >= COUPLED / classes
        if not going.any():
            break
        for one in range(classes):
            diagonal = matrix[:, one, one]
            step = np.where(going, (level - slope[:, one]) / diagonal, 0)
            p[:, one] += step
            grown = level + step * (step * diagonal + 2 * slope[:, one])
            level = grown / (1 + step) ** 2
            slope = (slope + step[:, None] * matrix[:, one]) / (1 + step)[:, None]
            p /= (1 + step)[:, None]
    return p
