"""What is taken out of a graph leaves one that answers as if its weights were zero."""

import numpy as np
import onnx_ir as ir
import pytest

from lepton_ai.compress.slimming.components import components_of

RNG = np.random.default_rng(0)
IMAGE = {"x": RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)}
TEXT = {"x": RNG.normal(size=(2, 5, 24)).astype(np.float32)}

RESIDUAL = """
g (float[n, 3, 8, 8] x) => (float[n, 4] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w, wb)
    b = Relu (a)
    c = Conv <pads = [1, 1, 1, 1]> (b, v)
    s = Sigmoid (c)
    d = Mul (c, s)
    e = Add (d, b)
    f = GlobalAveragePool (e)
    h = Flatten (f)
    y = Gemm <transB = 1> (h, u, ub)
}
"""
DEPTHWISE = """
g (float[n, 3, 8, 8] x) => (float[n, 4] y) {
    a = Conv (x, w)
    b = Conv <group = 18, pads = [1, 1, 1, 1]> (a, v)
    c = BatchNormalization (b, p, q, m, r)
    m1 = ReduceMean <keepdims = 1> (c, axes)
    m2 = Conv (m1, u)
    m3 = Relu (m2)
    m4 = Conv (m3, t)
    m5 = Sigmoid (m4)
    d = Mul (c, m5)
    e = Conv (d, z)
    f = ReduceMean <keepdims = 0> (e, axes)
    y = Identity (f)
}
"""
BRANCHES = """
g (float[n, 3, 8, 8] x) => (float[n, 4, 8, 8] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w)
    b = Conv <pads = [1, 1, 1, 1]> (x, v)
    c = Concat <axis = 1> (a, b, a)
    d, e = Split <axis = 1> (c, parts)
    f = Conv (d, u)
    h = Conv (e, t)
    i = Add (f, h)
    j = Conv <group = 3> (i, s)
    k = Relu (j)
    y = Conv (k, r)
}
"""
ATTENTION = """
g (float[n, t, 24] x) => (float[n, t, 24] y) {
    q = MatMul (x, wq)
    k = MatMul (x, wk)
    v = MatMul (x, wv)
    vb = Add (v, bv)
    q1 = Reshape (q, heads)
    k1 = Reshape (k, heads)
    v1 = Reshape (vb, heads)
    q2 = Transpose <perm = [0, 2, 1, 3]> (q1)
    k2 = Transpose <perm = [0, 2, 3, 1]> (k1)
    v2 = Transpose <perm = [0, 2, 1, 3]> (v1)
    s = MatMul (q2, k2)
    p = Softmax <axis = -1> (s)
    o = MatMul (p, v2)
    o1 = Transpose <perm = [0, 2, 1, 3]> (o)
    o2 = Reshape (o1, flat)
    o3 = MatMul (o2, wo)
    r = Add (x, o3)
    l = LayerNormalization (r, gain, shift)
    f = MatMul (l, up)
    fb = Add (f, upb)
    e = Erf (fb)
    z = MatMul (e, down)
    y = Add (l, z)
}
"""
#: As exporters write attention: the sizes of heads are computed, but for how large each is.
COMPUTED = (
    ATTENTION.replace(
        "q = MatMul",
        "s0 = Shape <start = 0, end = 1> (x) t0 = Shape <start = 1, end = 2> (x) q = MatMul",
    )
    .replace("q1 = Reshape", "heads = Concat <axis = 0> (s0, t0, HEADS, four) q1 = Reshape", 1)
    .replace("o2 = Reshape", "flat = Concat <axis = 0> (s0, t0, rest) o2 = Reshape")
)
RECURRENT = """
g (float[t, n, 24] x) => (float[t, n, 4] y) {
    h, hl, c = LSTM <hidden_size = 12> (x, w, r, b)
    s = Squeeze (h, one)
    z = MatMul (s, u)
    y = Tanh (z)
}
"""
NETWORKS = {
    "residual": (
        RESIDUAL,
        {"w": (12, 3, 3, 3), "wb": (12,), "v": (12, 12, 3, 3), "u": (4, 12), "ub": (4,)},
        IMAGE,
        [12],
    ),
    "depthwise": (
        DEPTHWISE,
        {
            "w": (18, 3, 1, 1),
            "v": (18, 1, 3, 3),
            "p": (18,),
            "q": (18,),
            "m": (18,),
            "r": np.ones(18, dtype=np.float32),
            "u": (6, 18, 1, 1),
            "t": (18, 6, 1, 1),
            "z": (4, 18, 1, 1),
            "axes": np.array([2, 3]),
        },
        IMAGE,
        [6, 18],
    ),
    "branches": (
        BRANCHES,
        {
            "w": (6, 3, 3, 3),
            "v": (9, 3, 3, 3),
            "u": (12, 10, 1, 1),
            "t": (12, 11, 1, 1),
            "s": (6, 4, 1, 1),
            "r": (4, 6, 1, 1),
            "parts": np.array([10, 11]),
        },
        IMAGE,
        None,
    ),
    "attention": (
        ATTENTION,
        {
            **dict.fromkeys(("wq", "wk", "wv", "wo"), (24, 24)),
            "bv": (24,),
            "heads": np.array([0, 0, 6, 4]),
            "flat": np.array([0, 0, 24]),
            "gain": (24,),
            "shift": (24,),
            "up": (24, 40),
            "upb": (40,),
            "down": (40, 24),
        },
        TEXT,
        [6, 40],
    ),
    **{
        name: (
            COMPUTED.replace("HEADS", constant),
            {
                **dict.fromkeys(("wq", "wk", "wv", "wo"), (24, 24)),
                "bv": (24,),
                "gain": (24,),
                "shift": (24,),
                "up": (24, 40),
                "upb": (40,),
                "down": (40, 24),
                "zero": np.array([0]),
                "two": np.array([2]),
                "four": np.array([4]),
                constant: np.array([size]),
                "rest": np.array([-1]),
            },
            TEXT,
            [6, 40],
        )
        for name, constant, size in (
            ("sizes partly computed", "six", 6),
            ("sizes partly computed, heads left open", "open", -1),
        )
    },
    "recurrent": (
        RECURRENT,
        {
            "w": (1, 48, 24),
            "r": (1, 48, 12),
            "b": (1, 96),
            "u": (12, 4),
            "one": np.array([1]),
        },
        {"x": RNG.normal(size=(5, 2, 24)).astype(np.float32)},
        [12],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_without_channels_a_graph_answers_as_with_their_weights_at_zero(name, build, check):
    text, weights, feed, widths = NETWORKS[name]
    found = check(build(text, weights), feed)
    assert found == widths if widths is not None else len(found) > 1


def labels(model: ir.Model, name: str, axis: int) -> np.ndarray:
    values = {
        value.name: value
        for node in model.graph
        for value in (*node.inputs, *node.outputs)
        if value
    }
    return components_of(model).of((values[name], axis))


def test_heads_go_whole(build):
    text, weights, _, _ = NETWORKS["attention"]
    rows = labels(build(text, weights), "wo", 0)
    assert [len(set(head)) for head in rows.reshape(6, 4)] == [1] * 6
    assert len(set(rows)) == 6


def test_what_callers_give_and_get_stays(build):
    text, weights, _, _ = NETWORKS["residual"]
    model = build(text, weights)
    free = components_of(model).free
    assert not free[labels(model, "w", 1)].any()
    assert not free[labels(model, "u", 0)].any()


@pytest.mark.parametrize(
    "node",
    [
        "b = CumSum (a, one)",  # an operator that no coupler speaks for
        "b = Softmax <axis = 1> (a)",
        "b = Reshape (a, sizes)",  # its sizes are computed
        "b = LayerNormalization <axis = 1> (a, gain)",
        "b = Pad (a, pads)",
        "b = Gather <axis = 1> (a, rows)",
    ],
)
def test_what_is_not_understood_keeps_its_channels(node, build):
    text = f"""
    g (float[n, 3, 8, 8] x, int64[4] sizes) => (float[n, m, k, l] y) {{
        a = Conv (x, w)
        {node}
        y = Relu (b)
    }}
    """
    weights = {
        "w": (12, 3, 1, 1),
        "one": np.array(1),
        "gain": (12, 8, 8),
        "pads": np.array([0, 1, 0, 0, 0, 0, 0, 0]),
        "rows": np.array([0, 3, 5]),
    }
    model = build(text, {name: each for name, each in weights.items() if name in text})
    assert not components_of(model).free[labels(model, "w", 0)].any()


def test_a_weight_that_a_caller_may_give_stays(build):
    text = """
    g (float[n, 3] x, float[3, 16] w) => (float[n, 4] y) {
        a = MatMul (x, w)
        y = MatMul (a, v)
    }
    """
    assert components_of(build(text, {"w": (3, 16), "v": (16, 4)})).widths() == []
