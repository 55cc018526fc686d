"""ONNX Runtime's attention, in the forms that its optimiser and exporters of large models write."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from lepton_ai.errors import EngineError
from lepton_ai.operators.attention import (
    UNBOUNDED,
    WEIGHTS,
    Window,
    joined,
    parted,
    rotated,
    shared,
    softmax_or_nothing,
    visible,
    weighed,
)
from lepton_ai.operators.dtypes import FLOAT32
from lepton_ai.operators.linear import matmul, matmul_integer
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import MICROSOFT, Call, integers, operator

#: What is added to the score of a key that is padding.
PADDING = -10000.0
#: ONNX Runtime's softmax is in float32 whatever it is given.
IN_FLOAT32 = 1

_microsoft = partial(operator, domain=MICROSOFT)


@_microsoft("MultiHeadAttention")
def multi_head_attention(
    call: Call,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    padding: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *,
    num_heads: int,
    mask_filter_value: float = PADDING,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> tuple[Tensor, ...]:
    """Attention of projections that are made already; keys and values so far; the scores."""
    query, key, value = _apart(query, key, value)
    query, key, value = _biased(call, query, key, value, bias, num_heads)
    queries, keys, values = (
        one if one.ndim == 4 else parted(call, one, num_heads) for one in (query, key, value)
    )
    return _attended(
        call,
        queries,
        keys,
        values,
        past=(past_key, past_value),
        padding=(padding, mask_filter_value),
        bias=attention_bias,
        scale=scale,
        causal=unidirectional,
    )


def _apart(
    query: Tensor, key: Tensor | None, value: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value as they are, or out of one tensor [batch, tokens, heads, n, width]."""
    if key is None:
        query, key, value = (_merged(query[:, :, :, place]) for place in range(3))
    elif value is None:
        key, value = (_merged(key[:, :, :, place]) for place in range(2))
    return query, key, value


def _merged(x: Tensor) -> Tensor:
    batch, tokens, heads, width = x.shape
    return x.reshape((batch, tokens, heads * width))


def _biased(
    call: Call, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """All three with their parts of the bias; keys and values of four axes have theirs already."""
    if bias is None:
        return query, key, value
    width = query.shape[-1]
    query = query + bias[:width]
    if key.ndim == 3:
        key, value = key + bias[width : 2 * width], value + bias[2 * width :]
    return query, key, value


def _attended(
    call: Call,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    past: tuple[Tensor | None, Tensor | None] = (None, None),
    padding: tuple[Tensor | None, float] = (None, PADDING),
    bias: Tensor | None = None,
    scale: float = 0.0,
    causal: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The attention, joined; keys and values with the past; the scores as they are weighed."""
    xp, offset = call.xp, 0
    if past[0] is not None:
        offset = past[0].shape[2]
        key, value = xp.concat([past[0], key], axis=2), xp.concat([past[1], value], axis=2)
    right = 0 if causal else UNBOUNDED
    seen = visible(call, query, key, Window(offset=offset, right=right))
    hidden = _hidden(call, padding[0], key, query, padding[1])
    stages = weighed(
        call, query, key, masks=(bias, hidden, seen), scale=scale or None, precision=IN_FLOAT32
    )
    return joined(call, matmul(call, stages[WEIGHTS], value)), key, value, stages[0]


def _hidden(
    call: Call, padding: Tensor | None, key: Tensor, query: Tensor, filling: float
) -> Tensor | None:
    """What is added to the scores on account of padding.

    ``padding`` counts the keys of each sample, or tells where they end and (in a second half) where
    they start, or says for each key (and perhaps each query) whether it is one.
    """
    if padding is None:
        return None
    xp, batch, total = call.xp, query.shape[0], key.shape[2]
    if padding.ndim == 1:
        places = xp.positions(total)
        ends = xp.reshape(padding[:batch], (-1, 1, 1, 1))
        kept = places < ends
        if padding.shape[0] == 2 * batch:
            kept = xp.logical_and(kept, places >= xp.reshape(padding[batch:], (-1, 1, 1, 1)))
    elif padding.ndim == 2:
        kept = padding[:, None, None, :] > 0
    elif padding.ndim == 3:
        kept = padding[:, None, :, :] > 0
    else:
        tokens = query.shape[2]
        kept = padding[:, :, total - tokens : total, :total] > 0
    return xp.where(kept, xp.scalar(0, query), xp.scalar(filling, query))


@_microsoft("Attention")
def packed_attention(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    past: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_length: Tensor | None = None,
    *,
    num_heads: int,
    do_rotary: int = 0,
    mask_filter_value: float = PADDING,
    past_present_share_buffer: int = 0,
    qkv_hidden_sizes: Sequence[int] | None = None,
    rotary_embedding_dim: int = 0,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> tuple[Tensor, Tensor]:
    """Attention of projections that one product makes; keys and values so far, in one tensor."""
    if do_rotary or past_present_share_buffer:
        raise EngineError("Attention with rotary positions or a shared buffer is not known here")
    made = matmul(call, x, weight)
    made = made if bias is None else made + bias
    return _of_packed(
        call,
        made,
        _widths(made.shape[-1], qkv_hidden_sizes),
        num_heads,
        past=past,
        padding=(mask, mask_filter_value),
        bias=attention_bias,
        scale=scale,
        causal=unidirectional,
    )


def _widths(total: int, given: Sequence[int] | None) -> list[int]:
    return list(given) if given else [total // 3] * 3


def _of_packed(
    call: Call,
    made: Tensor,
    widths: Sequence[int],
    heads: int,
    *,
    past: Tensor | None,
    **circumstances: Any,
) -> tuple[Tensor, Tensor]:
    """Attention of query, key and value side by side, with ``past`` [2, batch, heads, ...]."""
    first, second = widths[0], widths[0] + widths[1]
    rows = made[..., :first], made[..., first:second], made[..., second:]
    query, key, value = (parted(call, one, heads) for one in rows)
    before = (None, None) if past is None else (past[0], past[1])
    out, key, value, _ = _attended(call, query, key, value, past=before, **circumstances)
    if call.outputs < 2:
        return out, out
    return out, call.xp.stack([key, value], axis=0)


@_microsoft("QAttention")
def quantized_attention(
    call: Call,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    x_scale: Tensor,
    weight_scale: Tensor,
    mask: Tensor | None = None,
    x_zero: Tensor | None = None,
    weight_zero: Tensor | None = None,
    past: Tensor | None = None,
    *,
    num_heads: int,
    do_rotary: int = 0,
    mask_filter_value: float = PADDING,
    past_present_share_buffer: int = 0,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> tuple[Tensor, Tensor]:
    """Attention of projections that a product of integers makes."""
    if do_rotary or past_present_share_buffer:
        raise EngineError("QAttention with rotary positions or a shared buffer is not known here")
    sums = call.xp.cast(matmul_integer(call, x, weight, x_zero, weight_zero), FLOAT32)
    made = sums * (x_scale * weight_scale) + bias
    return _of_packed(
        call,
        made,
        _widths(made.shape[-1], None),
        num_heads,
        past=past,
        padding=(mask, mask_filter_value),
        scale=scale,
        causal=unidirectional,
    )


@_microsoft("RotaryEmbedding")
def rotary_embedding(
    call: Call,
    x: Tensor,
    positions: Tensor,
    cosines: Tensor,
    sines: Tensor,
    *,
    interleaved: int = 0,
    is_packed_batching: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Tensor:
    """Pairs of features turned by an angle that grows with the position.

    ``positions`` may be a single one, of the first token.
    """
    xp, shape = call.xp, x.shape
    if x.ndim == 4:
        x = xp.permute_dims(x, (0, 2, 1, 3))
    else:
        width = shape[2] // num_heads if num_heads else 2 * cosines.shape[-1]
        x = xp.reshape(x, (*shape[:2], shape[2] // width, width))
    if positions.ndim == 1:
        positions = xp.reshape(positions, (1, 1)) + xp.positions(x.shape[1])[None, :]
    out = _turned(call, x, cosines[positions], sines[positions], interleaved)
    return xp.permute_dims(out, (0, 2, 1, 3)) if len(shape) == 4 else xp.reshape(out, shape)


def _turned(call: Call, x: Tensor, cosines: Tensor, sines: Tensor, interleaved: int) -> Tensor:
    """The features that there are angles for turned, those behind them as they are."""
    width = 2 * cosines.shape[-1]
    turned = rotated(call, x[..., :width], cosines, sines, interleaved)
    return call.xp.concat([turned, x[..., width:]], axis=-1)


@_microsoft("GroupQueryAttention", host=("total",))
def group_query_attention(
    call: Call,
    query: Tensor,
    key: Tensor | None,
    value: Tensor | None,
    past_key: Tensor | None,
    past_value: Tensor | None,
    last: Tensor,
    total: Any,
    cosines: Tensor | None = None,
    sines: Tensor | None = None,
    positions: Tensor | None = None,
    attention_bias: Tensor | None = None,
    head_sink: Tensor | None = None,
    *,
    num_heads: int,
    kv_num_heads: int,
    causal: int = 1,
    do_rotary: int = 0,
    k_quant_type: str = "NONE",
    kv_cache_bit_width: int = 0,
    local_window_size: int = UNBOUNDED,
    qk_output: int = 0,
    rotary_interleaved: int = 0,
    scale: float = 0.0,
    smooth_softmax: int = 0,
    softcap: float = 0.0,
    v_quant_type: str = "NONE",
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of many heads of queries on few of keys, over a cache that it fills in place.

    ``last`` is the place of the last token of each sample, ``total`` how many tokens there are with
    those of the past in the longest.
    """
    xp = call.xp
    if qk_output or not causal or (k_quant_type, v_quant_type) != ("NONE", "NONE"):
        raise EngineError(
            "a quantised cache, scores as an output, or keys ahead are not known here"
        )
    query, key, value = _of_groups(call, query, key, value, (num_heads, kv_num_heads))
    tokens, length = query.shape[2], integers(total)[0]
    prompt = isinstance(length, int) and length == tokens
    filled = xp.reshape(last, (-1,)) + 1
    offset = filled * 0 if prompt or past_key is None else filled - tokens
    if do_rotary:
        query, key = _positioned(
            call, (query, key), offset, (cosines, sines, positions), rotary_interleaved
        )
    key = _cached(call, past_key, key, offset, length)
    value = _cached(call, past_value, value, offset, length)
    left = local_window_size - 1 if local_window_size > 0 else UNBOUNDED
    seen = visible(call, query, key, Window(offset=offset, left=left, right=0))
    bias = attention_bias
    if bias is not None and isinstance(length, int) and key.shape[2] != length:
        bias = xp.pad(bias, [(0, 0)] * 3 + [(0, key.shape[2] - length)], 0)
    stages = weighed(
        call,
        query,
        key,
        masks=(bias, seen),
        scale=scale or None,
        softcap=softcap,
        precision=IN_FLOAT32,
    )
    weights = stages[WEIGHTS]
    if head_sink is not None or smooth_softmax:
        weights = _beside_sink(call, stages[WEIGHTS - 1], head_sink)
    out = matmul(call, weights, shared(call, value, num_heads))
    return joined(call, out), key, value


def _of_groups(
    call: Call, query: Tensor, key: Tensor | None, value: Tensor | None, heads: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """All three with their heads parted, out of one tensor if key and value are not given."""
    if key is None or value is None:
        width = query.shape[-1] // (heads[0] + 2 * heads[1])
        first, second = heads[0] * width, (heads[0] + heads[1]) * width
        query, key, value = query[..., :first], query[..., first:second], query[..., second:]
    return (
        parted(call, query, heads[0]),
        parted(call, key, heads[1]),
        parted(call, value, heads[1]),
    )


def _positioned(
    call: Call,
    both: tuple[Tensor, Tensor],
    offset: Tensor,
    angles: tuple[Tensor | None, Tensor | None, Tensor | None],
    interleaved: int,
) -> list[Tensor]:
    """Queries and keys turned by their positions, which follow ``offset`` unless given."""
    cosines, sines, positions = angles
    if cosines is None or sines is None:
        raise EngineError("do_rotary needs cos_cache and sin_cache")
    xp = call.xp
    if positions is None:
        positions = xp.reshape(offset, (-1, 1)) + xp.positions(both[0].shape[2])[None, :]
    angle = cosines[positions], sines[positions]
    moved = [xp.permute_dims(one, (0, 2, 1, 3)) for one in both]
    turned = [_turned(call, one, *angle, interleaved) for one in moved]
    return [xp.permute_dims(one, (0, 2, 1, 3)) for one in turned]


def _cached(call: Call, past: Tensor | None, new: Tensor, offset: Tensor, total: Any) -> Tensor:
    """The cache with the new tokens of each sample at its ``offset``; as long as it needs to be."""
    if past is None:
        return new
    xp, tokens, size = call.xp, new.shape[2], past.shape[2]
    known = isinstance(size, int) and isinstance(total, int)
    length = max(size, total) if known else total
    places = xp.positions(length)[None, :] - xp.reshape(offset, (-1, 1))
    inside = xp.logical_and(places >= 0, places < tokens)[:, None, :, None]
    near = xp.minimum(xp.maximum(places, places * 0), places * 0 + (tokens - 1))
    rows = xp.positions(new.shape[0])[:, None]
    spread = xp.permute_dims(xp.permute_dims(new, (0, 2, 1, 3))[rows, near], (0, 2, 1, 3))
    if known and length == size:
        longer = past
    else:
        # What is past the end of the past is new, or nobody's.
        longer = xp.concat([past, xp.zeros_like(spread)[:, :, size:]], axis=2)
    kept = xp.where((places < 0)[:, None, :, None], longer, xp.zeros_like(longer))
    return xp.where(inside, spread, kept)


def _beside_sink(call: Call, scores: Tensor, sink: Tensor | None) -> Tensor:
    """Weights that leave a share to a score of the head's own, zero unless given."""
    xp = call.xp
    beside = xp.zeros_like(scores[..., :1])
    if sink is not None:
        beside = beside + xp.cast(xp.reshape(sink, (1, -1, 1, 1)), xp.dtype_of(scores))
    return softmax_or_nothing(call, xp.concat([scores, beside], axis=-1))[..., :-1]
