"""What comes before models of tables, against ONNX Runtime."""

import numpy as np
import pytest
from against_onnxruntime import same

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespace import namespaces

draw = np.random.default_rng(0)
DOMAIN = {"domain": "ai.onnx.ml", "version": 3}


@pytest.fixture(params=["numpy", "torch"])
def namespace(request):
    """The libraries that need not compile every step; JAX compiles a few of these as a whole."""
    pytest.importorskip(request.param)
    return namespaces.get(request.param)()


def floats(*shape):
    return draw.standard_normal(shape).astype(np.float32)


def texts(*words):
    return np.array(words, object)


def test_scaling(namespace):
    x = floats(4, 3)
    each = {"offset": [0.1, 0.2, 0.3], "scale": [2.0, 3.0, 4.0]}
    same(namespace, "Scaler", [x], **each, **DOMAIN)
    same(namespace, "Scaler", [x], offset=[0.5], scale=[2.0], **DOMAIN)
    same(namespace, "Scaler", [np.arange(6).reshape(2, 3)], **each, **DOMAIN)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_norms(namespace, norm):
    same(namespace, "Normalizer", [abs(floats(4, 3))], norm=norm, **DOMAIN)
    same(namespace, "Normalizer", [np.zeros((1, 3), np.float32)], norm=norm, **DOMAIN)


def test_gaps(namespace):
    x = floats(4, 3)
    x[1, 2] = x[0, 0] = np.nan
    gaps = {"replaced_value_float": float("nan")}
    same(namespace, "Imputer", [x], imputed_value_floats=[1.0, 2.0, 3.0], **gaps, **DOMAIN)
    same(namespace, "Imputer", [x], imputed_value_floats=[1.0], **gaps, **DOMAIN)
    x = np.array([[0, 7], [7, 1]])
    numbers = {"imputed_value_int64s": [5, 6], "replaced_value_int64": 7}
    same(namespace, "Imputer", [x], **numbers, **DOMAIN)


def test_columns(namespace):
    x = floats(4, 3)
    same(namespace, "Binarizer", [x], threshold=0.25, **DOMAIN)
    same(namespace, "ArrayFeatureExtractor", [x, np.array([[2, 0]])], **DOMAIN)
    sizes = {"inputdimensions": [3, 2]}
    same(namespace, "FeatureVectorizer", [x, floats(4, 2)], **sizes, **DOMAIN)


def test_one_hot(namespace):
    x = np.array([[3, 1], [9, 2]])
    same(namespace, "OneHotEncoder", [x], cats_int64s=[1, 2, 3], zeros=1, **DOMAIN)
    same(namespace, "OneHotEncoder", [texts("b", "c")], cats_strings=["a", "b"], **DOMAIN)
    with pytest.raises(EngineError, match="categories"):
        run_alone(namespace, "OneHotEncoder", [x], cats_int64s=[1, 2], zeros=0)


def run_alone(namespace, name, inputs, **attributes):
    import onnx_ir as ir
    from against_onnxruntime import node_model

    from lepton_ai.operators.evaluation import Evaluation

    model, names = node_model(name, inputs, ["y"], "ai.onnx.ml", 3, **attributes)
    feed = {
        key: one if one.dtype == object else namespace.from_host(one)
        for key, one in zip(names, inputs, strict=True)
    }
    return Evaluation(ir.from_proto(model), namespace).run(feed)["y"]


LABELS = {
    "texts to numbers": (
        texts("a", "z", "b"),
        {"keys_strings": ["a", "b"], "values_int64s": [4, 5], "default_int64": 9},
    ),
    "numbers to texts": (
        np.array([4, 7, 5]),
        {"keys_int64s": [5, 4], "values_strings": ["five", "four"], "default_string": "?"},
    ),
    "texts to floats": (
        texts("a", "z"),
        {"keys_strings": ["a"], "values_floats": [0.5], "default_float": -1.0},
    ),
    "numbers to numbers": (
        np.array([[4, 7], [5, 1]]),
        {"keys_int64s": [5, 4, 1], "values_int64s": [50, 40, 10], "default_int64": -1},
    ),
    "floats to floats": (
        np.array([0.5, np.nan, 3.0], np.float32),
        {
            "keys_floats": [3.0, float("nan"), 0.25],
            "values_floats": [1.0, 2.0, 3.0],
            "default_float": 7.0,
        },
    ),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels(namespace, case):
    x, options = LABELS[case]
    same(namespace, "LabelEncoder", [x], domain="ai.onnx.ml", version=4, **options)


def test_categories(namespace):
    options = {"cats_strings": ["a", "b"], "cats_int64s": [4, 5]}
    same(namespace, "CategoryMapper", [texts("b", "c")], **options, **DOMAIN)
    same(namespace, "CategoryMapper", [np.array([4, 6])], **options, **DOMAIN)


def test_maps(namespace):
    found = run_alone(namespace, "ZipMap", [floats(2, 2)], classlabels_strings=["no", "yes"])
    assert [list(one) for one in found] == [["no", "yes"]] * 2
