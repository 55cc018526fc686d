import numpy as np

from lepton_ai.graph.rules.ort_decoder import OrtDecoder

#: One layer of attention with rotary positions, as PyTorch exports it.
TEXT = """
<ir_version: 9, opset_import: ["" : 20]>
net (float[batch, tokens, 32] x, int64[batch, tokens] at) => (float[batch, tokens, 32] y)
<int64[4] heads = {0, 0, 2, 16}, int64[3] joined = {0, 0, 32}, float scale = {0.25},
 int64[1] zero = {0}, int64[1] one = {1}, int64[1] half = {8}, int64[1] end = {16},
 int64[1] last = {3}>
{
    row = Unsqueeze(at, one) places = Cast<to = 1>(row)
    angles = MatMul(frequencies, places) turned = Transpose<perm = [0, 2, 1]>(angles)
    twice = Concat<axis = -1>(turned, turned)
    c = Cos(twice) s = Sin(twice) cos = Unsqueeze(c, one) sin = Unsqueeze(s, one)
    q1 = MatMul(x, wq) q2 = Reshape(q1, heads) q = Transpose<perm = [0, 2, 1, 3]>(q2)
    k1 = MatMul(x, wk) k2 = Reshape(k1, heads) k = Transpose<perm = [0, 2, 1, 3]>(k2)
    v1 = MatMul(x, wv) v2 = Reshape(v1, heads) v = Transpose<perm = [0, 2, 1, 3]>(v2)
    qc = Mul(q, cos) qa = Slice(q, zero, half, last, one) qb = Slice(q, half, end, last, one)
    qn = Neg(qb) qh = Concat<axis = -1>(qn, qa) qs = Mul(qh, sin) qr = Add(qc, qs)
    kc = Mul(k, cos) ka = Slice(k, zero, half, last, one) kb = Slice(k, half, end, last, one)
    kn = Neg(kb) kh = Concat<axis = -1>(kn, ka) ks = Mul(kh, sin) kr = Add(kc, ks)
    kt = Transpose<perm = [0, 1, 3, 2]>(kr)
    scores = MatMul(qr, kt) scaled = Mul(scores, scale)
    SOFTMAX
    o1 = MatMul(w, v) o2 = Transpose<perm = [0, 2, 1, 3]>(o1) y = Reshape(o2, joined)
}
"""
PLAIN = "w = Softmax<axis = -1>(scaled)"
GUARDED = """p = Softmax<axis = -1>(scaled) bad = IsNaN(p) n = Constant<value_float = 0.0>()
    w = Where(bad, n, p)"""


def weights():
    rng = np.random.default_rng(0)
    frequencies = 1 / 10000 ** (np.arange(0, 16, 2) / 16)
    matrices = {n: rng.normal(size=(32, 32)).astype("f") * 0.3 for n in ("wq", "wk", "wv")}
    return {**matrices, "frequencies": frequencies.astype("f").reshape(1, 8, 1)}


def feed():
    x = np.random.default_rng(1).normal(size=(2, 5, 32)).astype("f")
    return {"x": x, "at": np.tile(np.arange(5), (2, 1))}


def test_rotary_attention_becomes_onnxruntimes_operators(apply):
    done = apply(OrtDecoder, TEXT.replace("SOFTMAX", PLAIN), feed(), weights())
    assert done.operators["com.microsoft.RotaryEmbedding"] == 2
    assert done.operators["com.microsoft.MultiHeadAttention"] == 1
    assert not done.operators["Softmax"]
    assert set(done.model.opset_imports) == {"", "com.microsoft"}


def test_all_or_nothing(apply):
    text = TEXT.replace("SOFTMAX", PLAIN)
    done = apply(OrtDecoder, text, feed(), weights(), denied=frozenset({"y"}))
    assert done.ledger.firings == []
    assert done.operators["Softmax"] == 1
    assert "no form" in done.ledger.near_misses[-1].why


def test_a_guard_against_masked_rows_keeps_it(apply):
    done = apply(OrtDecoder, TEXT.replace("SOFTMAX", GUARDED), feed(), weights())
    assert done.operators["com.microsoft.RotaryEmbedding"] == 2
    assert done.operators["IsNaN"] == done.operators["Softmax"] == 1
