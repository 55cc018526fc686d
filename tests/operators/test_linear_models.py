"""Linear models and support vector machines, against ONNX Runtime."""

import numpy as np
import pytest
from against_onnxruntime import compiled, same

from lepton_ai.operators.namespace import namespaces

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


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("classes", [2, 3])
def test_linear_classifier(namespace, transform, classes):
    rows = 1 if classes == 2 else classes
    weights = {"coefficients": listed(rows, COLUMNS), "intercepts": listed(rows)}
    options = {**weights, "post_transform": transform, **DOMAIN}
    x = floats(ROWS, COLUMNS)
    numbers = {"classlabels_ints": [5, 7, 9][:classes]}
    same(namespace, "LinearClassifier", [x], OUT, **numbers, **options)
    texts = {"classlabels_strings": ["five", "seven", "nine"][:classes]}
    same(namespace, "LinearClassifier", [x], OUT, **texts, **options)


def test_linear_regressor(namespace):
    weights = {"coefficients": listed(2, COLUMNS), "intercepts": listed(2), "targets": 2}
    same(namespace, "LinearRegressor", [floats(ROWS, COLUMNS)], **weights, **DOMAIN)


def machine(kind, supports):
    options = {"support_vectors": listed(supports, COLUMNS), "kernel_type": kind}
    parameters = [0.5, 0.1, 2.0] if kind != "RBF" else [0.5, 0.0, 0.0]
    return {**options, "kernel_params": parameters, **DOMAIN}


@pytest.mark.parametrize("kind", ["LINEAR", "RBF", "POLY", "SIGMOID"])
def test_support_vectors_of_a_regression(namespace, kind):
    options = {"coefficients": listed(6), "rho": [0.3], "n_supports": 6, **machine(kind, 6)}
    same(namespace, "SVMRegressor", [floats(ROWS, COLUMNS)], **options)
    same(namespace, "SVMRegressor", [floats(ROWS, COLUMNS)], one_class=1, **options)


@pytest.mark.parametrize("kind", ["LINEAR", "RBF"])
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("probabilities", [False, True])
def test_support_vectors_of_classes(namespace, kind, classes, probabilities):
    duels = classes * (classes - 1) // 2
    options = {
        "classlabels_ints": [3, 5, 7, 9][:classes],
        "coefficients": listed(classes - 1, 3 * classes),
        "rho": listed(duels),
        "vectors_per_class": [3] * classes,
        **machine(kind, 3 * classes),
    }
    if probabilities:
        options |= {"prob_a": [-1.5] * duels, "prob_b": [0.1] * duels}
    same(namespace, "SVMClassifier", [floats(ROWS, COLUMNS)], OUT, **options)


def test_a_machine_is_compiled():
    options = {
        "classlabels_ints": [3, 5, 7],
        "coefficients": listed(2, 9),
        "rho": listed(3),
        "vectors_per_class": [3] * 3,
        **machine("RBF", 9),
    }
    compiled("SVMClassifier", [floats(ROWS, COLUMNS)], OUT, **options)
