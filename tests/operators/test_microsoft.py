"""ONNX Runtime's fused operators, against ONNX Runtime."""

import numpy as np
import pytest
from against_onnxruntime import same

draw = np.random.default_rng(0)


def floats(*shape):
    return draw.standard_normal(shape).astype(np.float32)


def test_gelus(namespace):
    x, bias = floats(2, 3, 8), floats(8)
    same(namespace, "Gelu", [x])
    same(namespace, "FastGelu", [x])
    same(namespace, "FastGelu", [x, bias])
    same(namespace, "BiasGelu", [x, bias])
    same(namespace, "QuickGelu", [x])
    same(namespace, "QuickGelu", [x], alpha=1.0)


@pytest.mark.parametrize("turned", [0, 1])
def test_fused_matmul(namespace, turned):
    a, b = floats(2, 3, 5), floats(2, 5, 4)
    same(namespace, "FusedMatMul", [a, b], alpha=0.5)
    a, b = floats(2, 5, 3), floats(2, 4, 5)
    same(namespace, "FusedMatMul", [a, b], transA=1, transB=1)
    a, b = (floats(3, 2, 5), floats(5, 2, 4)) if not turned else (floats(5, 2, 3), floats(4, 2, 5))
    options = {"transBatchA": 1, "transBatchB": 1, "transA": turned, "transB": turned}
    same(namespace, "FusedMatMul", [a, b], **options)


def test_fused_gemm_and_conv(namespace):
    a, b, c = floats(3, 5), floats(4, 5), floats(4)
    same(namespace, "FusedGemm", [a, b, c], transB=1, alpha=0.5, activation="Relu")
    leaky = {"activation": "LeakyRelu", "activation_alpha": 0.2}
    same(namespace, "FusedGemm", [a, b, c], transB=1, **leaky)
    x, w, bias, residual = floats(1, 3, 6, 6), floats(4, 3, 3, 3), floats(4), floats(1, 4, 6, 6)
    padded = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    same(namespace, "FusedConv", [x, w, bias, residual], activation="Relu", **padded)
    clip = {"activation": "Clip", "activation_params": [-0.5, 0.5]}
    same(namespace, "FusedConv", [x, w, bias], **clip, **padded)
    bent = {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]}
    same(namespace, "FusedConv", [x, w, bias], **bent, **padded)


def test_normalisations_of_sums(namespace):
    x, skip, scale, shift, bias = floats(2, 3, 8), floats(2, 3, 8), *(floats(8) for _ in range(3))
    outputs = ("y", "", "", "total")
    name = "SkipLayerNormalization"
    same(namespace, name, [x, skip, scale, shift, bias], outputs, epsilon=1e-5)
    same(namespace, name, [x, skip, scale])
    same(namespace, name, [x, skip[:1], scale, shift], outputs)
    name = "SkipSimplifiedLayerNormalization"
    same(namespace, name, [x, skip, scale, bias], outputs, epsilon=1e-5)
    same(namespace, name, [x, skip, scale], outputs)
    same(namespace, "SimplifiedLayerNormalization", [x, scale], domain="", epsilon=1e-5)


def test_embeddings(namespace):
    words = draw.integers(0, 11, (2, 5)).astype(np.int32)
    segments = draw.integers(0, 2, (2, 5)).astype(np.int32)
    tables = floats(11, 8), floats(7, 8), floats(2, 8)
    scale, shift = floats(8), floats(8)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    outputs = ("y", "counted", "total")
    name = "EmbedLayerNormalization"
    same(namespace, name, [words, segments, *tables, scale, shift, mask], outputs)
    places = np.array([[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]], np.int32)
    given = [words, None, tables[0], tables[1], None, scale, shift, None, places]
    same(namespace, name, given, outputs)
