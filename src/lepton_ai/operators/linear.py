"""Products of matrices."""

from typing import Any

from lepton_ai.operators.accumulation import INT32, accumulated, whole
from lepton_ai.operators.dtypes import is_floating
from lepton_ai.operators.namespace import Namespace, Tensor
from lepton_ai.operators.operator import Call, operator


@operator("MatMul")
@accumulated
def matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, broadcast over all axes but the last two."""
    return call.xp.matmul(a, b)


@operator("Gemm")
@accumulated
def gemm(
    call: Call,
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    broadcast: int = 0,
    transA: int = 0,  # noqa: N803  ONNX's spelling
    transB: int = 0,  # noqa: N803  ONNX's spelling
) -> Tensor:
    """``alpha * a @ b + beta * c``; ``c`` is broadcast, which ``broadcast`` once had to allow."""
    xp = call.xp
    a = xp.matrix_transpose(a) if transA else a
    b = xp.matrix_transpose(b) if transB else b
    y = _times(xp, xp.matmul(a, b), alpha)
    return y if c is None else y + _times(xp, c, beta)


def _times(xp: Namespace, x: Tensor, factor: float) -> Tensor:
    """``factor * x`` in the dtype of ``x``."""
    if factor == 1:
        return x
    dtype = xp.dtype_of(x)
    return x * factor if is_floating(dtype) else xp.cast(x * factor, dtype)


@operator("MatMulInteger")
def matmul_integer(
    call: Call,
    a: Tensor,
    b: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
) -> Tensor:
    """The product of integers of eight bits, summed up in 32, with a zero point per row of ``a``
    and per column of ``b``.
    """
    xp = call.xp
    rows = a_zero_point is not None and a_zero_point.ndim == 1 and a_zero_point.shape[0] != 1
    wide_a = whole(xp, a, a_zero_point, _shape(a_zero_point, (-1, 1) if rows else (-1,)))
    wide_b = whole(xp, b, b_zero_point, _shape(b_zero_point, (-1,)))
    return xp.cast(xp.matmul(wide_a, wide_b), INT32)


def _shape(zero_point: Tensor | None, of_vector: tuple[int, ...]) -> tuple[Any, ...]:
    """The shape in which a zero point is subtracted: a vector's, or the one that it has."""
    if zero_point is None or zero_point.ndim == 1:
        return of_vector
    return tuple(zero_point.shape)


@operator("Einsum")
@accumulated
def einsum(call: Call, *inputs: Tensor, equation: str) -> Tensor:
    """Einstein's summation; blanks in the equation mean nothing."""
    return call.xp.einsum(equation.replace(" ", ""), *inputs)


@operator("Det")
@accumulated
def det(call: Call, x: Tensor) -> Tensor:
    """The determinants of the matrices in the last two axes."""
    return call.xp.linalg.det(x)
