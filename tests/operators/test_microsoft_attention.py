"""ONNX Runtime's forms of attention, against ONNX Runtime."""

import numpy as np
import pytest
from against_onnxruntime import compiled, same

from lepton_ai.operators.namespace import namespaces

draw = np.random.default_rng(0)
BATCH, HEADS, WIDTH, TOKENS, KEYS, PAST = 2, 2, 4, 3, 5, 4
HIDDEN = HEADS * WIDTH


@pytest.fixture(params=["numpy", "torch"])
def namespace(request):
    """The libraries that need not compile every step; JAX compiles a few of these as a whole."""
    pytest.importorskip(request.param)
    return namespaces.get(request.param)()


def floats(*shape):
    return draw.standard_normal(shape).astype(np.float32)


def integers(*numbers):
    return np.array(numbers, np.int32)


MULTI_HEAD = {
    "plain": ([], {}),
    "scaled": ([], {"scale": 0.3}),
    "causal": ([], {"unidirectional": 1}),
    "biased": ([floats(3 * HIDDEN)], {}),
    "padded by length": ([None, integers(2, 5)], {}),
    "padded by a mask": ([None, integers([1, 1, 0, 0, 0], [1, 1, 1, 1, 0])], {}),
    "with a bias of scores": ([None, None, floats(BATCH, HEADS, TOKENS, KEYS)], {}),
    "with one bias for all": ([None, None, floats(1, 1, TOKENS, KEYS)], {}),
}


@pytest.mark.parametrize("case", MULTI_HEAD)
def test_multi_head(namespace, case):
    more, options = MULTI_HEAD[case]
    tokens = KEYS if case == "causal" else TOKENS
    inputs = [
        floats(BATCH, tokens, HIDDEN),
        floats(BATCH, KEYS, HIDDEN),
        floats(BATCH, KEYS, HIDDEN),
    ]
    same(namespace, "MultiHeadAttention", [*inputs, *more], num_heads=HEADS, **options)


def test_multi_head_with_a_past(namespace):
    past = [floats(BATCH, HEADS, PAST, WIDTH) for _ in range(2)]
    new = [floats(BATCH, TOKENS, HIDDEN) for _ in range(3)]
    outputs = ("y", "key", "value")
    for causal in (0, 1):
        given = [*new, None, None, None, *past]
        options = {"num_heads": HEADS, "unidirectional": causal}
        same(namespace, "MultiHeadAttention", given, outputs, **options)


def test_multi_head_of_heads_that_are_parted_already(namespace):
    keys = [floats(BATCH, HEADS, KEYS, WIDTH) for _ in range(2)]
    query = floats(BATCH, TOKENS, HIDDEN)
    same(namespace, "MultiHeadAttention", [query, *keys], num_heads=HEADS)


PACKED = {
    "plain": ([], {}),
    "causal": ([], {"unidirectional": 1}),
    "lengths": ([integers(2, 3)], {}),
    "ends and starts": ([integers(2, 3, 0, 1)], {}),
    "a mask": ([integers([1, 1, 0], [1, 1, 1])], {}),
    "a mask by query": ([draw.integers(0, 2, (BATCH, TOKENS, TOKENS)).astype(np.int32)], {}),
    "a past": ([None, floats(2, BATCH, HEADS, PAST, WIDTH)], {"unidirectional": 1}),
    "a bias of scores": ([None, None, floats(BATCH, HEADS, TOKENS, TOKENS)], {"scale": 0.7}),
}


@pytest.mark.parametrize("case", PACKED)
def test_packed(namespace, case):
    more, options = PACKED[case]
    inputs = [floats(BATCH, TOKENS, 6), floats(6, 3 * HIDDEN), floats(3 * HIDDEN)]
    outputs = ("y", "present") if case == "a past" else ("y",)
    same(namespace, "Attention", [*inputs, *more], outputs, num_heads=HEADS, **options)


def test_packed_of_a_smaller_value(namespace):
    inputs = [floats(BATCH, TOKENS, 6), floats(6, 20), floats(20)]
    same(namespace, "Attention", inputs, num_heads=HEADS, qkv_hidden_sizes=[8, 8, 4])


@pytest.mark.parametrize("signed", [False, True])
def test_quantized(namespace, signed):
    x = draw.integers(0, 256, (BATCH, TOKENS, 6)).astype(np.uint8)
    low, high, dtype = (-128, 128, np.int8) if signed else (0, 256, np.uint8)
    weight = draw.integers(low, high, (6, 3 * HIDDEN)).astype(dtype)
    given = [x, weight, floats(3 * HIDDEN), np.float32(0.01), np.float32(0.02)]
    given = [np.asarray(one) for one in given]
    zeros = [np.array(120, np.uint8), np.array(0 if signed else 128, dtype)]
    mask = integers([1, 1, 0], [1, 1, 1])
    for masked in (None, mask):
        same(namespace, "QAttention", [*given, masked, *zeros], num_heads=HEADS)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary(namespace, interleaved):
    cosines, sines = floats(9, WIDTH // 2), floats(9, WIDTH // 2)
    options = {"interleaved": interleaved}
    x = floats(BATCH, TOKENS, HIDDEN)
    for places in (np.array([2]), np.array([[0, 1, 2], [4, 5, 6]])):
        same(namespace, "RotaryEmbedding", [x, places, cosines, sines], **options)
    x = floats(BATCH, HEADS, TOKENS, WIDTH)
    same(namespace, "RotaryEmbedding", [x, places, cosines, sines], **options)
    x = floats(BATCH, TOKENS, HEADS * 6)
    partial = {"num_heads": HEADS, "rotary_embedding_dim": WIDTH}
    same(namespace, "RotaryEmbedding", [x, places, cosines, sines], **options, **partial)


GROUPED = {
    "plain": {},
    "scaled and capped": {"scale": 0.4, "softcap": 5.0},
    "in a window": {"local_window_size": 2},
    "turned": {"do_rotary": 1},
    "turned by neighbours": {"do_rotary": 1, "rotary_interleaved": 1},
    "with a share for nothing": {"smooth_softmax": 1},
}
#: Heads of queries and of keys, a width that ONNX Runtime takes, the room of the cache.
MANY, FEW, WIDE, ROOM = 4, 2, 16, 12
FILLED = ("y", "key", "value")


def grouped(tokens, past, last, total):
    cache = [floats(BATCH, FEW, past, WIDE) for _ in range(2)]
    new = floats(BATCH, tokens, MANY * WIDE), *(floats(BATCH, tokens, FEW * WIDE) for _ in range(2))
    return [*new, *cache, integers(*last), np.array(total, np.int32)]


@pytest.mark.parametrize("case", GROUPED)
def test_grouped(namespace, case):
    options = {"num_heads": MANY, "kv_num_heads": FEW, **GROUPED[case]}
    angles = [floats(ROOM, WIDE // 2) for _ in range(2)] if options.get("do_rotary") else []
    prompt = grouped(TOKENS, 0, (2, 2), TOKENS)
    same(namespace, "GroupQueryAttention", [*prompt, *angles], FILLED, **options)
    step = grouped(1, PAST, (PAST, PAST), PAST + 1)
    same(namespace, "GroupQueryAttention", [*step, *angles], FILLED, **options)


def test_grouped_of_one_tensor(namespace):
    _, *rest = grouped(1, PAST, (PAST, PAST), PAST + 1)
    packed = floats(BATCH, 1, (MANY + 2 * FEW) * WIDE)
    given = [packed, None, None, *rest[2:]]
    same(namespace, "GroupQueryAttention", given, FILLED, num_heads=MANY, kv_num_heads=FEW)


def test_grouped_of_samples_of_several_lengths(namespace):
    step = grouped(1, PAST, (2, PAST), PAST + 1)
    same(namespace, "GroupQueryAttention", step, FILLED, num_heads=MANY, kv_num_heads=FEW)


def test_grouped_with_a_sink(namespace):
    step = [*grouped(1, PAST, (PAST, PAST), PAST + 1), *[None] * 4, floats(MANY)]
    same(namespace, "GroupQueryAttention", step, FILLED, num_heads=MANY, kv_num_heads=FEW)


def test_attention_is_compiled():
    inputs = [floats(BATCH, KEYS, HIDDEN) for _ in range(3)]
    padded = [*inputs, None, integers(2, 5)]
    compiled("MultiHeadAttention", padded, num_heads=HEADS, unidirectional=1)
    packed = [floats(BATCH, TOKENS, 6), floats(6, 3 * HIDDEN), floats(3 * HIDDEN)]
    compiled("Attention", packed, num_heads=HEADS)
