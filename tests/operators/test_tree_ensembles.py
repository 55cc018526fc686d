"""Forests, against ONNX Runtime."""

import numpy as np
import pytest
from against_onnxruntime import both, compiled, same
from onnx import numpy_helper

from lepton_ai.operators.namespace import namespaces
from lepton_ai.operators.namespaces.numpy import NumpyNamespace

draw = np.random.default_rng(0)
DOMAIN = {"domain": "ai.onnx.ml", "version": 3}
OUT = ("label", "scores")
TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]
ROWS, COLUMNS = 20, 4


@pytest.fixture(params=["numpy", "torch"])
def namespace(request):
    """The libraries that need not compile every step; JAX compiles a few of these as a whole."""
    pytest.importorskip(request.param)
    return namespaces.get(request.param)()


def floats(*shape):
    return draw.standard_normal(shape).astype(np.float32)


def listed(*shape):
    return floats(*shape).reshape(-1).tolist()


def trees(count, depth, modes=("BRANCH_LEQ",)):
    """Full trees of random splits: the attributes of their nodes, and their leaves."""
    size, inner = 2 ** (depth + 1) - 1, 2**depth - 1
    ids = list(range(size)) * count
    leaf = [one >= inner for one in ids]
    modes = draw.choice(modes, len(ids)).tolist()
    nodes = {
        "nodes_treeids": [tree for tree in range(count) for _ in range(size)],
        "nodes_nodeids": ids,
        "nodes_featureids": [0 if end else int(draw.integers(COLUMNS)) for end in leaf],
        "nodes_modes": ["LEAF" if end else mode for end, mode in zip(leaf, modes, strict=True)],
        "nodes_values": listed(len(ids)),
        "nodes_truenodeids": [
            0 if end else 2 * one + 1 for one, end in zip(ids, leaf, strict=True)
        ],
        "nodes_falsenodeids": [
            0 if end else 2 * one + 2 for one, end in zip(ids, leaf, strict=True)
        ],
        "nodes_missing_value_tracks_true": draw.integers(0, 2, len(ids)).tolist(),
    }
    leaves = [(tree, one) for tree in range(count) for one in range(inner, size)]
    return nodes, [tree for tree, _ in leaves], [one for _, one in leaves]


def table():
    x = floats(ROWS, COLUMNS)
    x[0, 0] = x[1, 2] = np.nan
    return x


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_forest_of_a_regression(namespace, aggregate):
    nodes, of, ids = trees(5, 3)
    options = {
        "target_treeids": of,
        "target_nodeids": ids,
        "target_ids": draw.integers(0, 2, len(ids)).tolist(),
        "target_weights": listed(len(ids)),
        "n_targets": 2,
        "aggregate_function": aggregate,
    }
    same(namespace, "TreeEnsembleRegressor", [table()], **nodes, **options, **DOMAIN)


def test_forest_with_a_base_and_splits_of_every_kind(namespace):
    kinds = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE", "BRANCH_EQ", "BRANCH_NEQ")
    nodes, of, ids = trees(4, 3, kinds)
    options = {
        "target_treeids": of,
        "target_nodeids": ids,
        "target_ids": [0] * len(ids),
        "target_weights": listed(len(ids)),
        "base_values": [0.25],
        "n_targets": 1,
    }
    same(namespace, "TreeEnsembleRegressor", [table()], **nodes, **options, **DOMAIN)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kind", ["three", "one of two", "one of two, positive"])
def test_forest_of_classes(namespace, transform, kind):
    nodes, of, ids = trees(5, 3)
    classes = 3 if kind == "three" else 2
    weights = floats(len(ids))
    options = {
        "class_treeids": of,
        "class_nodeids": ids,
        "class_ids": [place % classes if "one" not in kind else 0 for place in range(len(ids))],
        "class_weights": (abs(weights) / 5 if "positive" in kind else weights).tolist(),
        "classlabels_int64s": [4, 6, 8][:classes],
        "post_transform": transform,
    }
    same(namespace, "TreeEnsembleClassifier", [table()], OUT, **nodes, **options, **DOMAIN)


def test_forest_that_scores_both_of_two_classes():
    """Scores as ONNX Runtime's; it takes the second class wherever that has any score above zero,
    of whatever labels, while the definition wants the label of the greater one.
    """
    nodes, of, ids = trees(5, 3)
    options = {
        "class_treeids": of * 2,
        "class_nodeids": ids * 2,
        "class_ids": [0] * len(ids) + [1] * len(ids),
        "class_weights": listed(2 * len(ids)),
        "classlabels_int64s": [4, 6],
        "post_transform": "NONE",
    }
    wanted, (label, scores) = both(
        NumpyNamespace(), "TreeEnsembleClassifier", [table()], OUT, **nodes, **options, **DOMAIN
    )
    np.testing.assert_allclose(scores, wanted[1], rtol=1e-5, atol=1e-5)
    assert np.array_equal(label, np.array([4, 6])[scores.argmax(axis=1)])


@pytest.mark.parametrize("aggregate", range(4))
def test_forest_of_the_newer_kind(namespace, aggregate):
    def tensor(name, array):
        return numpy_helper.from_array(array, name)

    options = {
        "n_targets": 2,
        "aggregate_function": aggregate,
        "tree_roots": [0, 3],
        "nodes_modes": tensor("m", np.array([0, 1, 3, 2], np.uint8)),
        "nodes_featureids": [0, 1, 2, 3],
        "nodes_splits": tensor("s", floats(4)),
        "nodes_truenodeids": [1, 0, 2, 4],
        "nodes_trueleafs": [0, 1, 1, 1],
        "nodes_falsenodeids": [2, 1, 3, 5],
        "nodes_falseleafs": [0, 1, 1, 1],
        "leaf_targetids": [0, 1, 0, 1, 1, 0],
        "leaf_weights": tensor("w", floats(6)),
    }
    domain = {"domain": "ai.onnx.ml", "version": 5}
    same(namespace, "TreeEnsemble", [floats(ROWS, COLUMNS)], **options, **domain)


def test_a_forest_is_compiled():
    nodes, of, ids = trees(3, 3)
    options = {
        "class_treeids": of,
        "class_nodeids": ids,
        "class_ids": [place % 3 for place in range(len(ids))],
        "class_weights": listed(len(ids)),
        "classlabels_int64s": [4, 6, 8],
        "post_transform": "SOFTMAX",
    }
    compiled("TreeEnsembleClassifier", [table()], OUT, **nodes, **options, **DOMAIN)
