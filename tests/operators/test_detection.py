"""Boxes: suppressed against a plain loop, pooled against the definition."""

import numpy as np
import onnx_ir as ir
import pytest

from lepton_ai.errors import EngineError
from lepton_ai.operators.evaluation import Evaluation
from lepton_ai.operators.namespace import namespaces

RNG = np.random.default_rng(0)


def boxes(count, size=100):
    corner = RNG.uniform(0, size * 0.6, size=(count, 2))
    return np.concatenate([corner, corner + RNG.uniform(5, size * 0.4, (count, 2))], 1).astype("f4")


@pytest.mark.parametrize("centre", [0, 1])
@pytest.mark.parametrize("most", [3, 100])
def test_suppression_is_onnxruntimes(one_node, by_onnxruntime, centre, most):
    these = np.stack([boxes(60), boxes(60)])
    if centre:
        low, high = these[..., :2], these[..., 2:]
        these = np.concatenate([(low + high) / 2, high - low], axis=-1)
    scores = RNG.uniform(size=(2, 3, 60)).astype(np.float32)
    limits = [np.array([most]), np.array([0.3], "f4"), np.array([0.2], "f4")]
    inputs = [these, scores, *limits]
    (y,) = one_node("NonMaxSuppression", inputs, center_point_box=centre)
    (wanted,) = by_onnxruntime("NonMaxSuppression", inputs, center_point_box=centre)
    np.testing.assert_array_equal(y, wanted)
    assert len(y) > 6


def test_no_limit_is_no_box(one_node):
    (y,) = one_node("NonMaxSuppression", [boxes(5)[None], np.ones((1, 1, 5), "f4")])
    assert y.shape == (0, 3)
    assert y.dtype == np.int64


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize(
    ("opset", "options"),
    [
        (10, {}),
        (16, {}),
        (16, {"coordinate_transformation_mode": "output_half_pixel"}),
    ],
)
def test_aligned_pooling_is_onnxruntimes(one_node, by_onnxruntime, mode, ratio, opset, options):
    x = RNG.uniform(size=(2, 3, 12, 15)).astype(np.float32)
    rois = np.concatenate([boxes(7, 24), np.array([[5, 5, 5, 5], [-9, -9, 60, 60]], "f4")])
    inputs = [x, rois, np.array([0, 1, 1, 0, 1, 0, 0, 1, 0])]
    sizes = {"output_height": 3, "output_width": 2, "sampling_ratio": ratio, "spatial_scale": 0.6}
    (y,) = one_node("RoiAlign", inputs, opset=opset, mode=mode, **sizes, **options)
    (wanted,) = by_onnxruntime("RoiAlign", inputs, opset=opset, mode=mode, **sizes, **options)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_greatest_of_whole_elements_is_onnxruntimes(one_node, by_onnxruntime):
    x = RNG.normal(size=(2, 3, 12, 15)).astype(np.float32)
    rois = np.concatenate([RNG.integers(0, 2, (9, 1)), boxes(9, 24)], axis=1).astype(np.float32)
    options = {"pooled_shape": [3, 4], "spatial_scale": 0.6, "opset": 21}
    (y,) = one_node("MaxRoiPool", [x, rois], **options)
    (wanted,) = by_onnxruntime("MaxRoiPool", [x, rois], **options)
    np.testing.assert_array_equal(y, wanted)


def test_a_box_outside_of_the_image_holds_zeros(one_node):
    x = RNG.normal(size=(1, 2, 4, 4)).astype(np.float32) - 9
    rois = np.array([[0, 50, 50, 60, 60]], np.float32)
    (y,) = one_node("MaxRoiPool", [x, rois], pooled_shape=[2, 2])
    np.testing.assert_array_equal(y, np.zeros((1, 2, 2, 2)))


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        ("NonMaxSuppression", [boxes(5)[None], np.ones((1, 1, 5), np.float32), np.array([3])]),
        ("RoiAlign", [np.ones((1, 1, 9, 9), np.float32), boxes(2), np.array([0, 0])]),
    ],
)
def test_boxes_that_depend_on_data_are_refused_in_a_trace(model_of_one_node, operator, inputs):
    jax = pytest.importorskip("jax")
    model = ir.from_proto(model_of_one_node(operator, inputs, 22, 1))
    evaluation = Evaluation(model, namespaces.get("jax")())
    with jax.enable_x64(True), pytest.raises(EngineError, match=rf"{operator}.*beforehand"):
        jax.jit(evaluation.run)({f"x{i}": one for i, one in enumerate(inputs)})
