import numpy as np
import pytest

from lepton_ai.graph.rules.ort_skip_norm import OrtSkipNorm

TEXT = """
<ir_version: 11, opset_import: ["" : 23]>
net (float[batch, tokens, 8] x, float[batch, tokens, 8] z) => (float[batch, tokens, 8] y)
{
    BEFORE
    sum = Add(left, z)
    y = NORM
}
"""
LAYER = "LayerNormalization<axis = -1, epsilon = 0.001>(sum, g, b)"
FUSED = "com.microsoft.SkipLayerNormalization"
RNG = np.random.default_rng(0)
WEIGHTS = {name: RNG.normal(size=8).astype("f") for name in ("g", "b", "c")}
WEIGHTS["m"] = RNG.normal(size=(8, 8)).astype("f")
FEED = {name: RNG.normal(size=(2, 3, 8)).astype("f") for name in ("x", "z")}


def text(norm=LAYER, before="left = Neg(x)"):
    return TEXT.replace("NORM", norm).replace("BEFORE", before)


@pytest.mark.parametrize(
    ("norm", "fused"),
    [
        (LAYER, FUSED),
        ("LayerNormalization(sum, g)", FUSED),
        ("RMSNormalization(sum, g)", "com.microsoft.SkipSimplifiedLayerNormalization"),
    ],
)
def test_a_sum_and_its_normalisation_are_one_node(apply, norm, fused):
    done = apply(OrtSkipNorm, text(norm), FEED, WEIGHTS)
    assert done.operators == {"Neg": 1, fused: 1}


@pytest.mark.parametrize("norm", [LAYER, "LayerNormalization(sum, g)", "RMSNormalization(sum, g)"])
def test_a_bias_goes_with_it(apply, norm):
    before = "p = MatMul(x, m) left = Add(c, p)"
    done = apply(OrtSkipNorm, text(norm, before), FEED, WEIGHTS)
    assert not done.operators["Add"]


def test_a_sum_that_the_next_layer_reads_is_an_output_of_it(apply):
    norm = LAYER.replace("y =", "") + " \n more = Mul(n, sum) y = Neg(more)"
    whole = text(norm).replace("y = LayerNorm", "n = LayerNorm")
    done = apply(OrtSkipNorm, whole, FEED, WEIGHTS)
    assert done.operators == {"Neg": 2, FUSED: 1, "Mul": 1}


def test_a_sum_that_is_an_output_keeps_its_name(apply):
    done = apply(
        OrtSkipNorm, text().replace("=> (", "=> (float[batch, tokens, 8] sum, "), FEED, WEIGHTS
    )
    assert done.operators == {"Neg": 1, FUSED: 1}
    assert [value.name for value in done.model.graph.outputs] == ["sum", "y"]


def test_sizes_that_may_differ_are_left_and_it_says_so(apply):
    whole = text().replace("tokens, 8] z", "others, 8] z")
    done = apply(OrtSkipNorm, whole, FEED, WEIGHTS)
    assert done.ledger.firings == []
    assert "same sizes" in done.ledger.near_misses[0].why


def test_another_axis_is_left(apply):
    wide = {**WEIGHTS, "g": np.ones((3, 8), "f"), "b": np.ones((3, 8), "f")}
    whole = text(LAYER.replace("-1", "1")).replace("tokens", "3")
    assert apply(OrtSkipNorm, whole, FEED, wide).ledger.firings == []


def test_statistics_that_are_read_keep_it(apply):
    whole = text(LAYER).replace("y = Layer", "y, mean = Layer")
    whole = whole.replace("=> (", "=> (float[batch, tokens, 1] mean, ")
    assert apply(OrtSkipNorm, whole, FEED, WEIGHTS).ledger.firings == []


def test_two_axes_are_left_and_it_says_so(apply):
    whole = text().replace("batch, tokens, 8", "tokens, 8")
    done = apply(OrtSkipNorm, whole, {n: v[0] for n, v in FEED.items()}, WEIGHTS)
    assert "three axes" in done.ledger.near_misses[0].why


def test_a_denied_site_is_left_alone(apply):
    done = apply(OrtSkipNorm, text(), FEED, WEIGHTS, denied=frozenset({"y"}))
    assert done.operators["Add"] == 1


def test_a_biased_value_added_to_itself_is_left_alone(apply):
    body = text(before="left = Add(x, c)").replace("Add(left, z)", "Add(left, left)")
    assert apply(OrtSkipNorm, body, FEED, WEIGHTS).ledger.firings == []


def test_a_norm_whose_weight_hangs_on_the_sum_is_left_alone(apply):
    norm = "LayerNormalization<axis = -1>(sum, w)"
    body = text(norm).replace("y =", "w = ReduceMean<keepdims = 0>(sum, axes)  y =")
    weights = {**WEIGHTS, "axes": np.array([0, 1])}
    assert apply(OrtSkipNorm, body, FEED, weights).ledger.firings == []
