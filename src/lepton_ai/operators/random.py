"""Random draws, from NumPy's generators whichever library runs the graph.

A seed fixes the draw: every call gives the same. Without one each call draws anew, which a traced
graph cannot.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import FLOAT32, INT64
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, dtype_named, operator
from lepton_ai.operators.placing import known, placed

#: From here on Dropout is told by an input whether to drop, and before ``INFERENCE_ONLY`` by an
#: attribute; in between it never does.
TOLD_BY_INPUT, INFERENCE_ONLY = 12, 7
#: From here on Dropout's mask is of booleans.
BOOLEAN_MASK = 10


@operator("RandomNormal", as_is=True)
def random_normal(
    call: Call,
    *,
    shape: Sequence[int],
    dtype: int = 1,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Tensor:
    """Normal numbers."""
    drawn = _generator(call, seed, shape).standard_normal(tuple(shape))
    return placed(call.xp, (drawn * scale + mean).astype(dtype_named(dtype)))


@operator("RandomUniform", as_is=True)
def random_uniform(
    call: Call,
    *,
    shape: Sequence[int],
    dtype: int = 1,
    low: float = 0.0,
    high: float = 1.0,
    seed: float | None = None,
) -> Tensor:
    """Uniform numbers from ``low`` to below ``high``."""
    drawn = _uniform(call, seed, shape)
    return placed(call.xp, (drawn * (high - low) + low).astype(dtype_named(dtype)))


@operator("RandomNormalLike", as_is=True)
def random_normal_like(
    call: Call,
    x: Tensor,
    *,
    dtype: int | None = None,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Tensor:
    """Normal numbers in the shape of ``x``."""
    code = _code_of(call, x) if dtype is None else dtype
    return random_normal(call, shape=x.shape, dtype=code, mean=mean, scale=scale, seed=seed)


@operator("RandomUniformLike", as_is=True)
def random_uniform_like(
    call: Call,
    x: Tensor,
    *,
    dtype: int | None = None,
    low: float = 0.0,
    high: float = 1.0,
    seed: float | None = None,
) -> Tensor:
    """Uniform numbers in the shape of ``x``."""
    code = _code_of(call, x) if dtype is None else dtype
    return random_uniform(call, shape=x.shape, dtype=code, low=low, high=high, seed=seed)


@operator("Bernoulli", as_is=True)
def bernoulli(
    call: Call, x: Tensor, *, dtype: int | None = None, seed: float | None = None
) -> Tensor:
    """One with the probability that ``x`` says, zero otherwise."""
    xp, x = call.xp, placed(call.xp, x)
    drawn = placed(xp, _uniform(call, seed, x.shape).astype(np.float32))
    code = _code_of(call, x) if dtype is None else dtype
    return xp.cast(drawn < xp.cast(x, FLOAT32), dtype_named(code))


@operator("Multinomial", as_is=True)
def multinomial(
    call: Call, x: Tensor, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None
) -> Tensor:
    """Classes drawn for each row of unnormalised log-probabilities."""
    xp, x = call.xp, placed(call.xp, x)
    powers = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    bounds = xp.cast(xp.cumulative_sum(powers, axis=-1), FLOAT32)
    drawn = placed(xp, _uniform(call, seed, (x.shape[0], sample_size)).astype(np.float32))
    reached = drawn[:, :, None] * bounds[:, None, -1:] >= bounds[:, None, :-1]
    return xp.cast(xp.sum(xp.cast(reached, INT64), axis=-1), dtype_named(dtype))


@operator("Dropout", host=("probability", "training"), as_is=True)
def dropout(
    call: Call,
    x: Tensor,
    probability: Any = None,
    training: Any = None,
    *,
    ratio: float = 0.5,
    seed: int | None = None,
    is_test: int = 0,
    consumed_inputs: Sequence[int] = (),
) -> tuple[Tensor, ...]:
    """The input, in training without a random share of it; and which elements are left."""
    xp, x = call.xp, placed(call.xp, x)
    share = ratio if probability is None else float(probability.reshape(()))
    if call.opset >= TOLD_BY_INPUT:
        drops = training is not None and bool(training.reshape(()))
    else:
        drops = call.opset < INFERENCE_ONLY and not is_test
    dtype = np.dtype(np.bool_) if call.opset >= BOOLEAN_MASK else xp.dtype_of(x)
    if not drops or not share:
        return (x, xp.cast(xp.ones_like(x), dtype)) if call.outputs > 1 else (x,)
    kept = placed(xp, _uniform(call, seed, x.shape) >= share)
    own = xp.dtype_of(x)
    rest = xp.cast(x * xp.cast(kept, own) / (1 - share), own)
    return rest, xp.cast(kept, dtype)


def _uniform(call: Call, seed: float | None, shape: Sequence[Any]) -> np.ndarray[Any, Any]:
    return np.asarray(_generator(call, seed, shape).uniform(0, 1, tuple(shape)))


def _generator(
    call: Call, seed: float | None, shape: Sequence[Any]
) -> np.random.RandomState | np.random.Generator:
    """Numbers fit to fill ``shape``; with a seed those of NumPy's old generator, which ONNX used.

    Raises:
        EngineError: the graph is being traced, and would draw once and for all.
    """
    if not call.xp.eager:
        if seed is None or math.isnan(seed):
            raise EngineError(
                "a random draw without a seed would be the same for ever once it is traced; "
                "give it a seed, or make it an input of the graph"
            )
        if not all(isinstance(size, int) for size in shape):
            raise EngineError("a random draw needs a size that is known before it is traced")
    if seed is None or math.isnan(seed):
        return np.random.default_rng()
    return np.random.RandomState(int(seed))


def _code_of(call: Call, x: Tensor) -> int:
    dtype = x.dtype if known(x) else call.xp.dtype_of(x)
    return int(ir.DataType.from_numpy(dtype))
