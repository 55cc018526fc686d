"""Attention, what it needs to know about positions, and its linear relatives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.errors import EngineError
from lepton_ai.operators.dtypes import FLOAT32, is_narrow
from lepton_ai.operators.linear import matmul
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, dtype_named, operator
from lepton_ai.operators.placing import placed
from lepton_ai.operators.quantization import repeated

PREVIEW = "ai.onnx.preview"
#: What the fourth output of Attention is: the scores, those that are capped, those that are masked
#: too, or the weights.
SCORES, CAPPED, MASKED, WEIGHTS = range(4)
#: From here on a mask may be shorter than the keys, of which the rest is then masked.
SHORT_MASKS = 24
UNBOUNDED = -1


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which keys a query sees: query ``i`` stands at ``i + offset``, and sees so far to each side.

    ``offset`` is a number, or an array of one for each sample.
    """

    offset: Any
    left: int = UNBOUNDED
    right: int = UNBOUNDED


@operator("Attention")
def attention(
    call: Call,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    is_causal: int = 0,
    q_num_heads: int | None = None,
    kv_num_heads: int | None = None,
    qk_matmul_output_mode: int = SCORES,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
    left_window_size: int = UNBOUNDED,
    right_window_size: int = UNBOUNDED,
) -> tuple[Tensor, ...]:
    """Weighted sums of values, by how well keys fit queries (1706.03762); keys and values so far.

    The fourth output is the scores at the stage that ``qk_matmul_output_mode`` says.
    """
    xp, packed = call.xp, query.ndim == 3
    if packed:
        if q_num_heads is None or kv_num_heads is None:
            raise EngineError("inputs of three axes need q_num_heads and kv_num_heads")
        query = parted(call, query, q_num_heads)
        key, value = parted(call, key, kv_num_heads), parted(call, value, kv_num_heads)
    offset: Any = 0
    if past_key is not None:
        offset = past_key.shape[2]
        key = xp.concat([past_key, key], axis=2)
        value = xp.concat([past_value, value], axis=2)
    elif lengths is not None:
        offset = xp.reshape(lengths, (-1,)) - query.shape[2]
    right = 0 if is_causal else right_window_size
    seen = visible(call, query, key, Window(offset=offset, left=left_window_size, right=right))
    if lengths is not None:
        places = xp.positions(key.shape[2])
        filled = places < xp.reshape(lengths, (-1, 1, 1, 1))
        seen = filled if seen is None else xp.logical_and(seen, filled)
    stages = weighed(
        call,
        query,
        key,
        masks=(seen, None if mask is None else _lengthened(call, mask, key.shape[2])),
        scale=scale,
        softcap=softcap,
        precision=softmax_precision,
    )
    out = matmul(call, stages[WEIGHTS], shared(call, value, query.shape[1]))
    return joined(call, out) if packed else out, key, value, stages[qk_matmul_output_mode]


def weighed(
    call: Call,
    query: Tensor,
    key: Tensor,
    *,
    masks: Sequence[Tensor | None] = (),
    scale: float | None = None,
    softcap: float = 0.0,
    precision: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The scores of keys for queries in four stages, the last of which adds up to one over keys.

    Masks of booleans say what counts, others are added. A query that sees nothing weighs nothing.
    """
    xp, own = call.xp, call.xp.dtype_of(query)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = _scores(call, query, key, factor)
    capped = xp.tanh(scores / softcap) * softcap if softcap else scores
    masked = capped
    for mask in masks:
        if mask is not None:
            masked = _masked(call, masked, mask)
    wide = masked if precision is None else xp.cast(masked, dtype_named(precision))
    weights = xp.cast(softmax_or_nothing(call, wide), own)
    return scores, capped, masked, weights


def _scores(call: Call, query: Tensor, key: Tensor, factor: float) -> Tensor:
    """The products, of which each side takes half the factor, lest narrow floats overflow."""
    if factor < 0:
        return matmul(call, query * factor, _transposed(call, shared(call, key, query.shape[1])))
    half = call.xp.scalar(math.sqrt(factor), query) if isinstance(factor, float) else factor**0.5
    keys = shared(call, key * half, query.shape[1])
    return matmul(call, query * half, _transposed(call, keys))


def _masked(call: Call, scores: Tensor, mask: Tensor) -> Tensor:
    if call.xp.dtype_of(mask) == np.bool_:
        return call.xp.where(mask, scores, call.xp.scalar(-math.inf, scores))
    return scores + call.xp.cast(mask, call.xp.dtype_of(scores))


def softmax_or_nothing(call: Call, scores: Tensor) -> Tensor:
    """Exponentials that add up to one over the last axis; zeros where all is minus infinity.

    It is computed in the dtype of the scores, as the definition has it.
    """
    xp = call.xp
    most = xp.max(scores, axis=-1, keepdims=True)
    powers = xp.exp(scores - xp.where(most == -math.inf, xp.scalar(0, scores), most))
    total = xp.sum(powers, axis=-1, keepdims=True)
    return powers / xp.where(total == 0, xp.scalar(1, scores), total)


def visible(call: Call, query: Tensor, key: Tensor, window: Window) -> Tensor | None:
    """Which keys each query sees, as booleans that broadcast to the scores; ``None`` if all."""
    if window.left == UNBOUNDED and window.right == UNBOUNDED:
        return None
    xp, offset = call.xp, window.offset
    if call.xp.owns(offset):
        offset = xp.reshape(offset, (-1, 1, 1, 1))
    ahead = xp.positions(key.shape[2]) - (xp.positions(query.shape[2])[:, None] + offset)
    if window.left == UNBOUNDED:
        return ahead <= window.right
    if window.right == UNBOUNDED:
        return ahead >= -window.left
    return xp.logical_and(ahead >= -window.left, ahead <= window.right)


def _lengthened(call: Call, mask: Tensor, keys: Any) -> Tensor:
    """The mask over all keys; those behind its end are masked."""
    length, xp = mask.shape[-1], call.xp
    sizes_known = isinstance(length, int) and isinstance(keys, int)
    if call.opset < SHORT_MASKS or not sizes_known or length == keys:
        return mask
    pads = [(0, 0)] * (mask.ndim - 1) + [(0, keys - length)]
    if xp.dtype_of(mask) == np.bool_:
        return xp.cast(xp.pad(xp.cast(mask, np.dtype(np.int32)), pads, 0), np.dtype(np.bool_))
    return xp.pad(mask, pads, -math.inf)


def parted(call: Call, x: Tensor, heads: int) -> Tensor:
    """[batch, tokens, heads * width] as [batch, heads, tokens, width]."""
    batch, tokens, width = x.shape
    apart = call.xp.reshape(x, (batch, tokens, heads, width // heads))
    return call.xp.permute_dims(apart, (0, 2, 1, 3))


def joined(call: Call, x: Tensor) -> Tensor:
    """The inverse of :func:`parted`."""
    batch, heads, tokens, width = x.shape
    moved = call.xp.permute_dims(x, (0, 2, 1, 3))
    return call.xp.reshape(moved, (batch, tokens, heads * width))


def shared(call: Call, x: Tensor, heads: int) -> Tensor:
    """Keys or values of fewer heads than the queries have, each for a group of those."""
    return repeated(call, x, heads // x.shape[1], 1)


def _transposed(call: Call, x: Tensor) -> Tensor:
    return call.xp.permute_dims(x, (0, 1, 3, 2))


@operator("RotaryEmbedding")
def rotary_embedding(
    call: Call,
    x: Tensor,
    cosines: Tensor,
    sines: Tensor,
    positions: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """Pairs of features turned by an angle that grows with the position (2104.09864)."""
    xp, shape = call.xp, x.shape
    if x.ndim == 4:
        x = xp.permute_dims(x, (0, 2, 1, 3))
    else:
        if not num_heads:
            raise EngineError("an input of three axes needs num_heads")
        x = xp.reshape(x, (*shape[:2], num_heads, shape[2] // num_heads))
    if positions is not None:
        cosines, sines = cosines[positions], sines[positions]
    width = rotary_embedding_dim or x.shape[-1]
    turned = rotated(call, x[..., :width], cosines, sines, interleaved)
    out = xp.concat([turned, x[..., width:]], axis=-1) if rotary_embedding_dim else turned
    return xp.permute_dims(out, (0, 2, 1, 3)) if len(shape) == 4 else xp.reshape(out, shape)


def rotated(call: Call, x: Tensor, cosines: Tensor, sines: Tensor, interleaved: int) -> Tensor:
    """``x`` [batch, tokens, heads, width], its pairs turned; angles are [batch, tokens, width / 2].

    A pair is two neighbours if ``interleaved``, else two that stand half a width apart.
    """
    xp, half = call.xp, x.shape[-1] // 2
    cosines, sines = (xp.expand_dims(one, axis=-2) for one in (cosines, sines))
    if interleaved:
        first, second = x[..., 0::2], x[..., 1::2]
    else:
        first, second = x[..., :half], x[..., half:]
    pair = cosines * first - sines * second, sines * first + cosines * second
    if interleaved:
        return xp.reshape(xp.stack(pair, axis=-1), x.shape)
    return xp.concat(pair, axis=-1)


@operator("FlexAttention", domain=PREVIEW, as_is=True)
def flex_attention(
    call: Call,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float | None = None,
    score_mod: ir.Graph | None = None,
    prob_mod: ir.Graph | None = None,
    softmax_precision: int | None = None,
) -> Tensor:
    """Attention in which subgraphs may change the scores and the weights."""
    xp = call.xp
    query, key, value = (placed(xp, one) for one in (query, key, value))
    own = xp.dtype_of(query)
    at = FLOAT32 if is_narrow(own) else own
    at = at if softmax_precision is None else dtype_named(softmax_precision)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = xp.cast(_scores(call, query, key, factor), at)
    if score_mod is not None:
        scores = xp.cast(placed(xp, call.evaluate(score_mod, [scores])[0]), at)
    weights = softmax_or_nothing(call, scores)
    if prob_mod is not None:
        weights = xp.cast(placed(xp, call.evaluate(prob_mod, [weights])[0]), at)
    out = matmul(call, weights, xp.cast(shared(call, value, query.shape[1]), at))
    return xp.cast(out, xp.dtype_of(value))


@operator("LinearAttention")
def linear_attention(
    call: Call,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    q_num_heads: int,
    kv_num_heads: int,
    update_rule: str = "gated_delta",
    scale: float = 0.0,
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor]:
    """Attention by a state that each token decays, corrects and adds to; the last state.

    ``chunk_size`` is a hint to those who compute it in chunks.
    """
    xp, own = call.xp, call.xp.dtype_of(query)
    corrects = update_rule in ("delta", "gated_delta")
    decays = update_rule in ("gated", "gated_delta")
    if not (corrects or decays or update_rule == "linear"):
        raise EngineError(f"update_rule {update_rule!r} is not known")
    if decays != (decay is not None) or corrects != (beta is not None):
        raise EngineError(f"update_rule {update_rule!r} does not fit the inputs that it is given")
    keys = _by_token(call, key, kv_num_heads)
    along = [_by_token(call, query, q_num_heads), keys, _by_token(call, value, kv_num_heads)]
    along += [] if decay is None else [xp.exp(_by_token(call, decay, kv_num_heads))]
    along += [] if beta is None else [_by_token(call, beta, min(kv_num_heads, beta.shape[-1]))]
    factor = scale or along[0].shape[-1] ** -0.5
    state = _first_state(call, past, along[1], along[2])

    def step(carry: tuple[Tensor, ...], xs: tuple[Tensor, ...]) -> Any:
        state, (q, k, v, *rest) = carry[0], xs
        if decays:
            state = state * rest[0][..., None]
        if corrects:
            v = rest[-1] * (v - xp.einsum("bhdm,bhd->bhm", state, k))
        state = state + k[..., :, None] * v[..., None, :]
        read = shared(call, state, q_num_heads)
        return (state,), (xp.einsum("bhd,bhdm->bhm", q * factor, read),)

    (state,), (out,) = xp.scan(step, (state,), tuple(along))
    joint = xp.permute_dims(out, (1, 0, 2, 3))
    joint = xp.reshape(joint, (*joint.shape[:2], joint.shape[2] * joint.shape[3]))
    return xp.cast(joint, own), xp.cast(state, own if past is None else xp.dtype_of(past))


def _by_token(call: Call, x: Tensor, heads: int) -> Tensor:
    """[batch, tokens, heads * width] in float32 as [tokens, batch, heads, width]."""
    batch, tokens, width = x.shape
    apart = call.xp.reshape(call.xp.cast(x, FLOAT32), (batch, tokens, heads, width // heads))
    return call.xp.permute_dims(apart, (1, 0, 2, 3))


def _first_state(call: Call, past: Tensor | None, keys: Tensor, values: Tensor) -> Tensor:
    """The past, or zeros in its place."""
    if past is not None:
        return call.xp.cast(past, FLOAT32)
    _, batch, heads, width = keys.shape
    nothing = call.xp.zeros((batch, heads, width, values.shape[-1]))
    return call.xp.cast(nothing, FLOAT32)
