"""Products of matrices beyond the ONNX project's cases."""

import numpy as np
import pytest

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(), (5,), (1,), (3, 1), (1, 5), (3, 5)])
@pytest.mark.parametrize("opset", [6, 9, 13])
def test_gemm_of_every_opset_and_broadcast(one_node, shape, opset):
    a, b, c = normal(4, 3), normal(5, 4), normal(*shape)
    options = {"broadcast": 1} if opset < 7 else {}
    (y,) = one_node(
        "Gemm", [a, b, c], opset=opset, alpha=0.5, beta=2.0, transA=1, transB=1, **options
    )
    np.testing.assert_allclose(y, 0.5 * a.T @ b.T + 2 * c, rtol=1e-4, atol=1e-5)


def test_gemm_without_a_summand(one_node):
    a, b = normal(3, 4), normal(4, 5)
    np.testing.assert_allclose(one_node("Gemm", [a, b])[0], a @ b, rtol=1e-4, atol=1e-6)


def test_gemm_of_integers_stays_whole(one_node):
    a, b, c = (RNG.integers(-9, 9, size=(3, 3)).astype(np.int32) for _ in range(3))
    (y,) = one_node("Gemm", [a, b, c], beta=3.0)
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, a @ b + 3 * c)


def test_integers_with_zero_points_by_row_and_column(one_node):
    a = RNG.integers(0, 256, size=(2, 3, 500), dtype=np.uint8)
    b = RNG.integers(-128, 128, size=(2, 500, 4), dtype=np.int8)
    rows, columns = np.array([1, 200, 255], np.uint8), np.array([-128, 0, 3, 127], np.int8)
    (y,) = one_node("MatMulInteger", [a, b, rows, columns])
    wide = a.astype(np.int64) - rows[:, None].astype(np.int64)
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, wide @ (b.astype(np.int64) - columns))


def test_integers_with_one_zero_point_each_and_none(one_node):
    a = RNG.integers(0, 256, size=(3, 4), dtype=np.uint8)
    b = RNG.integers(0, 256, size=(4, 2), dtype=np.uint8)
    wide, other = a.astype(np.int64), b.astype(np.int64)
    (y,) = one_node("MatMulInteger", [a, b, np.array(7, np.uint8), np.array([9], np.uint8)])
    np.testing.assert_array_equal(y, (wide - 7) @ (other - 9))
    np.testing.assert_array_equal(one_node("MatMulInteger", [a, b])[0], wide @ other)


@pytest.mark.parametrize("operator", ["MatMul", "Einsum"])
def test_half_precision_is_summed_up_in_single(one_node, operator):
    a = np.ones((1, 4096), np.float16)
    a[0, 0] = 2048
    options = {"equation": "ij, jk -> ik"} if operator == "Einsum" else {}
    (y,) = one_node(operator, [a, np.ones((4096, 1), np.float16)], **options)
    assert y.dtype == np.float16
    assert y.item() == np.float16(2048 + 4095)


def test_determinants_of_a_batch(one_node):
    x = normal(2, 3, 4, 4)
    np.testing.assert_allclose(one_node("Det", [x])[0], np.linalg.det(x), rtol=1e-4)
