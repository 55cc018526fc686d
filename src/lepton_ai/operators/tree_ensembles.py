"""Forests: every row walks down all trees at once, a level at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import FLOAT32, INT64, is_floating
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call
from lepton_ai.operators.scoring import class_count, labels, transformed, two_sided
from lepton_ai.operators.tabular import tabular

Host = np.ndarray[Any, Any]
LEAF = "LEAF"
#: The modes of nodes in the order in which ``TreeEnsemble`` numbers them.
_MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER")
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Nodes of all trees in one row; a leaf leads to itself.

    ``members`` [nodes, most] is what nodes of mode MEMBER look for, NaN where there is nothing
    more. ``weights`` [nodes, targets] is what a leaf adds, and ``given`` says which of them it has.
    """

    roots: Host
    depth: int
    features: Host
    values: Host
    modes: Host
    yes: Host
    no: Host
    missing: Host
    members: Host
    weights: Host
    given: Host


def _gathered(call: Call, x: Tensor, forest: Forest, aggregate: str) -> Tensor:
    """What the leaves that each row ends in add up to [rows, targets]."""
    xp, own = call.xp, call.xp.dtype_of(x)
    leaves = _leaves(call, x, forest)
    weights = xp.from_host(forest.weights.astype(own))[leaves]
    if aggregate in ("SUM", "AVERAGE"):
        total = xp.sum(weights, axis=1)
        return total / len(forest.roots) if aggregate == "AVERAGE" else total
    least = aggregate == "MIN"
    given = xp.from_host(forest.given)[leaves]
    outside = xp.scalar(np.inf if least else -np.inf, x)
    kept = xp.where(given, weights, outside)
    best = xp.min(kept, axis=1) if least else xp.max(kept, axis=1)
    return xp.where(xp.any(given, axis=1), best, xp.scalar(0, x))


def _leaves(call: Call, x: Tensor, forest: Forest) -> Tensor:
    """The leaf that each row ends in, in each tree [rows, trees]."""
    xp, own = call.xp, call.xp.dtype_of(x)
    features, yes, no, modes = (
        xp.from_host(one) for one in (forest.features, forest.yes, forest.no, forest.modes)
    )
    values, missing = xp.from_host(forest.values.astype(own)), xp.from_host(forest.missing)
    members = xp.from_host(forest.members.astype(own))
    rows = xp.positions(x.shape[0])[:, None]
    at = xp.from_host(forest.roots)[None, :] + rows * 0
    present = {_MODES[mode] for mode in np.unique(forest.modes) if mode >= 0}
    for _ in range(forest.depth):
        seen, value, mode = x[rows, features[at]], values[at], modes[at]
        holds = seen <= value
        for name in sorted(present - {"LEQ"}):
            if name == "MEMBER":
                tested = xp.any(seen[..., None] == members[at], axis=-1)
            else:
                tested = _compared(name, seen, value)
            holds = xp.where(mode == _MODES.index(name), tested, holds)
        holds = xp.logical_or(holds, xp.logical_and(seen != seen, missing[at]))
        at = xp.where(holds, yes[at], no[at])
    return at


def _compared(name: str, seen: Tensor, value: Tensor) -> Tensor:
    return {
        "LT": seen.__lt__,
        "GTE": seen.__ge__,
        "GT": seen.__gt__,
        "EQ": seen.__eq__,
        "NEQ": seen.__ne__,
    }[name](value)


def _depth(roots: Host, yes: Host, no: Host) -> int:
    """The most steps from a root to a leaf."""
    level, steps = np.unique(roots), 0
    while True:
        inner = level[(yes[level] != level) | (no[level] != level)]
        if not len(inner):
            return steps
        if steps > len(yes):
            raise EngineError("its trees lead in a circle")
        level, steps = np.unique(np.concatenate([yes[inner], no[inner]])), steps + 1


@tabular("TreeEnsembleRegressor")
def tree_ensemble_regressor(
    call: Call,
    x: Tensor,
    *,
    aggregate_function: str = "SUM",
    base_values: Sequence[float] = (),
    base_values_as_tensor: Host | None = None,
    n_targets: int = 1,
    nodes_falsenodeids: Sequence[int],
    nodes_featureids: Sequence[int],
    nodes_hitrates: Sequence[float] = (),
    nodes_hitrates_as_tensor: Host | None = None,
    nodes_missing_value_tracks_true: Sequence[int] = (),
    nodes_modes: Sequence[str],
    nodes_nodeids: Sequence[int],
    nodes_treeids: Sequence[int],
    nodes_truenodeids: Sequence[int],
    nodes_values: Sequence[float] = (),
    nodes_values_as_tensor: Host | None = None,
    post_transform: str = "NONE",
    target_ids: Sequence[int],
    target_nodeids: Sequence[int],
    target_treeids: Sequence[int],
    target_weights: Sequence[float] = (),
    target_weights_as_tensor: Host | None = None,
) -> Tensor:
    """The sum, mean, least or greatest of what the trees say for each target."""
    nodes = _Nodes(
        trees=nodes_treeids,
        ids=nodes_nodeids,
        features=nodes_featureids,
        modes=nodes_modes,
        values=_either(nodes_values, nodes_values_as_tensor),
        yes=nodes_truenodeids,
        no=nodes_falsenodeids,
        missing=nodes_missing_value_tracks_true,
    )
    weights = _either(target_weights, target_weights_as_tensor)
    leaves = target_treeids, target_nodeids, target_ids, weights
    x = _floats(call, x)
    y = _gathered(call, x, _forest(nodes, leaves, n_targets), aggregate_function)
    base = _either(base_values, base_values_as_tensor)
    if len(base):
        y = y + call.xp.from_host(base.astype(call.xp.dtype_of(x)))
    return call.xp.cast(transformed(call, y, post_transform), FLOAT32)


@tabular("TreeEnsembleClassifier")
def tree_ensemble_classifier(
    call: Call,
    x: Tensor,
    *,
    base_values: Sequence[float] = (),
    base_values_as_tensor: Host | None = None,
    class_ids: Sequence[int],
    class_nodeids: Sequence[int],
    class_treeids: Sequence[int],
    class_weights: Sequence[float] = (),
    class_weights_as_tensor: Host | None = None,
    classlabels_int64s: Sequence[int] = (),
    classlabels_strings: Sequence[str] = (),
    nodes_falsenodeids: Sequence[int],
    nodes_featureids: Sequence[int],
    nodes_hitrates: Sequence[float] = (),
    nodes_hitrates_as_tensor: Host | None = None,
    nodes_missing_value_tracks_true: Sequence[int] = (),
    nodes_modes: Sequence[str],
    nodes_nodeids: Sequence[int],
    nodes_treeids: Sequence[int],
    nodes_truenodeids: Sequence[int],
    nodes_values: Sequence[float] = (),
    nodes_values_as_tensor: Host | None = None,
    post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:
    """The label that the trees together favour, and the score of each."""
    nodes = _Nodes(
        trees=nodes_treeids,
        ids=nodes_nodeids,
        features=nodes_featureids,
        modes=nodes_modes,
        values=_either(nodes_values, nodes_values_as_tensor),
        yes=nodes_truenodeids,
        no=nodes_falsenodeids,
        missing=nodes_missing_value_tracks_true,
    )
    weights = _either(class_weights, class_weights_as_tensor)
    classes = class_count(classlabels_int64s, classlabels_strings)
    x = _floats(call, x)
    forest = _forest(nodes, (class_treeids, class_nodeids, class_ids, weights), classes)
    scores = call.xp.cast(_gathered(call, x, forest, "SUM"), FLOAT32)
    base = _either(base_values, base_values_as_tensor)
    if classes == 2 and len(set(class_ids)) == 1:
        score = scores[:, class_ids[0] : class_ids[0] + 1]
        score = score + base[-1].item() if len(base) else score
        probability = bool((weights >= 0).all())
        places = call.xp.cast(score[:, 0] > (0.5 if probability else 0), INT64)
        scores = two_sided(call, score, post_transform, probability)
    else:
        scores = scores + call.xp.from_host(base.astype(np.float32)) if len(base) else scores
        places = _favourite(call, x, forest, scores)
        scores = transformed(call, scores, post_transform)
    return labels(call, places, classlabels_int64s, classlabels_strings), scores


def _favourite(call: Call, x: Tensor, forest: Forest, scores: Tensor) -> Tensor:
    """The class of the greatest score, among those that a leaf speaks of."""
    xp = call.xp
    named = xp.any(xp.from_host(forest.given)[_leaves(call, x, forest)], axis=1)
    return xp.argmax(xp.where(named, scores, xp.scalar(-np.inf, scores)), axis=-1)


@tabular("TreeEnsemble")
def tree_ensemble(
    call: Call,
    x: Tensor,
    *,
    aggregate_function: int = 1,
    leaf_targetids: Sequence[int],
    leaf_weights: Host,
    membership_values: Host | None = None,
    n_targets: int = 1,
    nodes_falseleafs: Sequence[int],
    nodes_falsenodeids: Sequence[int],
    nodes_featureids: Sequence[int],
    nodes_hitrates: Host | None = None,
    nodes_missing_value_tracks_true: Sequence[int] = (),
    nodes_modes: Host,
    nodes_splits: Host,
    nodes_trueleafs: Sequence[int],
    nodes_truenodeids: Sequence[int],
    post_transform: int = 0,
    tree_roots: Sequence[int],
) -> Tensor:
    """The sum, mean, least or greatest of what the trees say for each target."""
    inner, leaves = len(nodes_modes), len(leaf_targetids)
    ends = np.arange(inner, inner + leaves)
    yes, no = (
        np.concatenate([np.where(is_leaf, inner, 0) + np.array(ids, np.int64), ends])
        for is_leaf, ids in (
            (np.array(nodes_trueleafs, bool), nodes_truenodeids),
            (np.array(nodes_falseleafs, bool), nodes_falsenodeids),
        )
    )
    weights = np.zeros((inner + leaves, n_targets))
    weights[ends, leaf_targetids] = leaf_weights
    given = np.zeros(weights.shape, np.bool_)
    given[ends, leaf_targetids] = True
    roots = np.array(tree_roots, np.int64)
    forest = Forest(
        roots=roots,
        depth=_depth(roots, yes, no),
        features=_lengthened(nodes_featureids, leaves, 0),
        values=np.concatenate([nodes_splits, np.zeros(leaves, nodes_splits.dtype)]),
        modes=_lengthened(nodes_modes, leaves, -1),
        yes=yes,
        no=no,
        missing=_lengthened(nodes_missing_value_tracks_true or [0] * inner, leaves, 0) > 0,
        members=_members(nodes_modes, membership_values, leaves),
        weights=weights,
        given=given,
    )
    y = _gathered(call, x, forest, _AGGREGATES[aggregate_function])
    return transformed(call, y, _TRANSFORMS[post_transform])


def _lengthened(numbers: Any, more: int, filling: int) -> Host:
    return np.concatenate([np.array(numbers, np.int64), np.full(more, filling, np.int64)])


def _members(modes: Host, values: Host | None, leaves: int) -> Host:
    """What each node looks for; the list has those of one node up to a NaN, then of the next."""
    sets: list[list[float]] = [[]]
    for value in [] if values is None else values.tolist():
        sets = [*sets, []] if value != value else [*sets[:-1], [*sets[-1], value]]
    table = np.full((len(modes) + leaves, max(map(len, sets)) or 1), np.nan)
    for row, one in zip(np.flatnonzero(modes == _MODES.index("MEMBER")), sets, strict=False):
        table[row, : len(one)] = one
    return table


@dataclass(frozen=True, kw_only=True)
class _Nodes:
    """Nodes as the older operators list them, each named by its tree and its number there."""

    trees: Sequence[int]
    ids: Sequence[int]
    features: Sequence[int]
    modes: Sequence[str]
    values: Host
    yes: Sequence[int]
    no: Sequence[int]
    missing: Sequence[int]


def _forest(
    nodes: _Nodes, leaves: tuple[Sequence[int], Sequence[int], Sequence[int], Host], targets: int
) -> Forest:
    """The forest of ``nodes`` and of the trees, nodes, targets and weights of the leaves."""
    count = len(nodes.ids)
    place = {key: at for at, key in enumerate(zip(nodes.trees, nodes.ids, strict=True))}
    leaf = np.array([mode == LEAF for mode in nodes.modes], np.bool_)
    own = np.arange(count)
    yes, no = (
        np.where(leaf, own, [place.get(key, 0) for key in zip(nodes.trees, ids, strict=True)])
        for ids in (nodes.yes, nodes.no)
    )
    children = np.concatenate([yes[~leaf], no[~leaf]])
    roots = np.setdiff1d(own, children)
    at = np.array([place[key] for key in zip(leaves[0], leaves[1], strict=True)], np.int64)
    weights, given = np.zeros((count, targets)), np.zeros((count, targets), np.bool_)
    np.add.at(weights, (at, np.array(leaves[2], np.int64)), leaves[3])
    given[at, np.array(leaves[2], np.int64)] = True
    numbers = {f"BRANCH_{name}": number for number, name in enumerate(_MODES)}
    return Forest(
        roots=roots,
        depth=_depth(roots, yes, no),
        features=np.where(leaf, 0, np.array(nodes.features, np.int64)),
        values=nodes.values,
        modes=np.array([numbers.get(mode, -1) for mode in nodes.modes], np.int64),
        yes=yes,
        no=no,
        missing=np.array(nodes.missing or [0] * count, np.bool_),
        members=np.full((count, 1), np.nan),
        weights=weights,
        given=given,
    )


def _either(numbers: Sequence[float], tensor: Host | None) -> Host:
    return np.array(numbers, np.float32) if tensor is None else tensor.reshape(-1)


def _floats(call: Call, x: Tensor) -> Tensor:
    return x if is_floating(call.xp.dtype_of(x)) else call.xp.cast(x, FLOAT32)
