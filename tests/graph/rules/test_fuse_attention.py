import numpy as np
import pytest

from lepton_ai.graph.rules.fuse_attention import FuseAttention

TEXT = """
<ir_version: 9, opset_import: ["" : 20]>
g (float[batch, tokens, 8] x, float[batch, words, 8] z, float[1, 1, tokens, words] mask)
    => (float[batch, tokens, 8] y)
<int64[4] heads = {0, 0, 2, 4}, int64[3] joined = {0, 0, 8}, float scale = {0.7},
 float half = {0.5}>
{
    q1 = MatMul(x, wq) q2 = Add(q1, bq) q3 = Reshape(q2, heads)
    q = Transpose<perm = [0, 2, 1, 3]>(q3)
    k1 = MatMul(z, wk) k3 = Reshape(k1, heads) k = Transpose<perm = [0, 2, 3, 1]>(k3)
    v1 = MatMul(z, wv) v2 = Add(bv, v1) v3 = Reshape(v2, heads)
    v = Transpose<perm = [0, 2, 1, 3]>(v3)
    SCORES
    o1 = MatMul(weights, v) o2 = Transpose<perm = [0, 2, 1, 3]>(o1) y = Reshape(o2, joined)
}
"""
PLAIN = "s = MatMul(q, k) weights = Softmax<axis = -1>(s)"
SCALED = "qs = Mul(q, half) p = MatMul(qs, k) s = Mul(p, scale) weights = Softmax<axis = -1>(s)"
MASKED = "p = MatMul(q, k) s = Add(p, mask) weights = Softmax<axis = -1>(s)"
FUSED = {"com.microsoft.MultiHeadAttention": 1, "MatMul": 3}


def weights():
    rng = np.random.default_rng(0)
    matrices = {name: rng.normal(size=(8, 8)).astype("f") * 0.5 for name in ("wq", "wk", "wv")}
    return {**matrices, **{name: rng.normal(size=8).astype("f") for name in ("bq", "bv")}}


def feed(tokens=5, words=6, mask=None):
    rng = np.random.default_rng(1)
    mask = (tokens, words) if mask is None else mask
    return {
        "x": rng.normal(size=(2, tokens, 8)).astype("f"),
        "z": rng.normal(size=(2, words, 8)).astype("f"),
        "mask": rng.normal(size=(1, 1, *mask)).astype("f"),
    }


@pytest.mark.parametrize("scores", [PLAIN, SCALED, MASKED])
def test_it_is_one_node_with_its_biases(apply, scores):
    done = apply(FuseAttention, TEXT.replace("SCORES", scores), feed(), weights())
    assert done.operators == FUSED
    assert "2 heads" in done.ledger.firings[0].why


@pytest.mark.parametrize("shape", ["1, 1, 1, words", "1, 2, 1, words", "1, 1, tokens, anything"])
def test_a_mask_for_all_queries_or_of_unproven_keys_is_widened(apply, shape):
    text = TEXT.replace("SCORES", MASKED).replace("1, 1, tokens, words] mask", f"{shape}] mask")
    given = feed(mask=(1, 6) if "1, words" in shape else (5, 6))
    if "1, 2" in shape:
        given["mask"] = np.concatenate([given["mask"], -given["mask"]], axis=1)
    done = apply(FuseAttention, text, given, weights())
    assert done.operators["com.microsoft.MultiHeadAttention"] == 1
    assert done.operators["Expand"] == 1


def test_a_key_that_is_transposed_twice(apply):
    text = TEXT.replace("SCORES", PLAIN).replace(
        "k = Transpose<perm = [0, 2, 3, 1]>(k3)",
        "k4 = Transpose<perm = [0, 2, 1, 3]>(k3) k = Transpose<perm = [0, 1, 3, 2]>(k4)",
    )
    assert apply(FuseAttention, text, feed(), weights()).operators == FUSED


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "weights = Softmax<axis = -1>(s)",
            "w = Softmax<axis = -1>(s) bad = IsNaN(w) n = Constant<value_float = 0.0>() "
            "weights = Where(bad, n, w)",
            "guard",
        ),
        (
            "v = Transpose<perm = [0, 2, 1, 3]>(v3)",
            "v4 = Neg(v3) v = Transpose<perm = [0, 2, 1, 3]>(v4)",
            "heads",
        ),
        ("1, 1, tokens, words] mask", "m, 1, tokens, words] mask", "batch"),
        ("1, 1, tokens, words] mask", "1, h, tokens, words] mask", "heads"),
        ("1, 1, tokens, words] mask", "1, 1, rows, words] mask", "queries"),
        ("batch, words, 8] z", "other, words, 8] z", "sizes"),
        ("int64[3] joined = {0, 0, 8}", "int64[3] joined = {0, -1, 4}", "another shape"),
    ],
)
def test_what_does_not_fit_is_left_and_it_says_so(apply, old, new, why):
    done = apply(FuseAttention, TEXT.replace("SCORES", MASKED).replace(old, new), feed(), weights())
    assert done.ledger.firings == []
    assert why in done.ledger.near_misses[0].why


def test_heads_that_are_an_output_stay(apply):
    text = TEXT.replace("SCORES", PLAIN).replace("=> (", "=> (float[batch, words, 2, 4] k3, ")
    assert apply(FuseAttention, text, feed(), weights()).ledger.firings == []


def test_another_axis_is_no_attention(apply):
    text = TEXT.replace("SCORES", PLAIN.replace("axis = -1", "axis = 2"))
    assert apply(FuseAttention, text, feed(), weights()).ledger.firings == []


def test_a_projection_that_is_an_output_keeps_its_bias_outside(apply):
    text = TEXT.replace("SCORES", PLAIN).replace("=> (", "=> (float[batch, tokens, 8] q2, ")
    done = apply(FuseAttention, text, feed(), weights())
    assert done.operators == {**FUSED, "Add": 1}


def test_a_denied_site_is_left_alone(apply):
    text = TEXT.replace("SCORES", PLAIN)
    done = apply(FuseAttention, text, feed(), weights(), denied=frozenset({"y"}))
    assert done.operators["Softmax"] == 1


def test_only_onnxruntime_has_it():
    assert FuseAttention.engines == ("onnxruntime",)


@pytest.mark.parametrize("opset", [12, 14])
def test_masks_are_widened_in_old_opsets_too(apply, opset):
    text = TEXT.replace("20", str(opset))
    text = text.replace("float[1, 1, tokens, words] mask", "float[batch, 1, 1, words] mask")
    rng = np.random.default_rng(0)
    feed = {
        "x": rng.normal(size=(2, 3, 8)).astype("f"),
        "z": rng.normal(size=(2, 5, 8)).astype("f"),
        "mask": rng.normal(size=(2, 1, 1, 5)).astype("f"),
    }
    done = apply(FuseAttention, text.replace("SCORES", MASKED), feed, weights())
    assert done.operators["com.microsoft.MultiHeadAttention"] == 1


def test_before_opset_13_a_softmax_without_axis_is_another(apply):
    text = TEXT.replace("20", "12").replace("SCORES", PLAIN.replace("<axis = -1>", ""))
    rng = np.random.default_rng(0)
    feed = {
        "x": rng.normal(size=(2, 3, 8)).astype("f"),
        "z": rng.normal(size=(2, 5, 8)).astype("f"),
        "mask": np.zeros((1, 1, 3, 5), "f"),
    }
    assert apply(FuseAttention, text, feed, weights()).ledger.firings == []
