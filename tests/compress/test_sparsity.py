"""Zeros in weights: half of them, or two of each four along what is summed over."""

import zlib

import numpy as np
import onnx_ir as ir
import pytest

from lepton_ai.compress.sparsity import HALF, PATTERNS, TWO_OF_FOUR, made_sparse
from lepton_ai.errors import ModelError

TEXT = """
<ir_version: 8, opset_import: ["" : 18]>
g (float[n, 66] x, float[n, 16, 8, 8] i) => (float[n, 64] y, float[n, 32, 6, 6] j) {{
    y = Gemm {transposed} (x, w)
    j = Conv (i, k)
}}
"""


def network(*, transposed: bool = False) -> ir.Model:
    from onnx import numpy_helper, parser

    text = TEXT.format(transposed="<transB = 1>" if transposed else "")
    model = parser.parse_model(text)
    random = np.random.default_rng(0)
    shapes = {"w": (64, 66) if transposed else (66, 64), "k": (32, 16, 3, 3)}
    for name, shape in shapes.items():
        values = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return ir.from_proto(model)


def held(model: ir.Model, name: str) -> np.ndarray:
    return model.graph.initializers[name].const_value.numpy()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_half_of_each_weight_goes_and_the_rest_stays_as_it_was(pattern):
    model, before = network(), network()
    assert set(made_sparse(model, pattern)) == {"w", "k"}
    for name in ("w", "k"):
        now, was = held(model, name), held(before, name)
        assert (now == 0).mean() == pytest.approx(0.5, abs=0.02)
        np.testing.assert_array_equal(now[now != 0], was[now != 0])
        assert np.abs(now).sum() > 0.7 * np.abs(was).sum(), "the larger ones stay"
        assert len(zlib.compress(now.tobytes())) < 0.65 * len(zlib.compress(was.tobytes()))


@pytest.mark.parametrize("transposed", [False, True])
def test_two_of_each_four_go_along_the_axis_that_is_summed_over(transposed):
    model = network(transposed=transposed)
    made_sparse(model, TWO_OF_FOUR)
    matrix = held(model, "w").T if not transposed else held(model, "w")
    assert ((matrix[:, :64].reshape(64, 16, 4) == 0).sum(-1) == 2).all()
    assert (matrix[:, 64:] != 0).all(), "what is left over stays"
    kernel = np.moveaxis(held(model, "k"), 1, -1)
    assert ((kernel.reshape(32, 3, 3, 4, 4) == 0).sum(-1) == 2).all()


def test_a_network_without_large_weights_is_refused():
    from onnx import parser

    model = ir.from_proto(
        parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 18]> g (float[n] x) => (float[n] y) {y = Relu(x)}'
        )
    )
    with pytest.raises(ModelError, match="1024 elements"):
        made_sparse(model, HALF)
