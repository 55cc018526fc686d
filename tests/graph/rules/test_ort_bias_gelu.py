import numpy as np

from lepton_ai.graph.rules.ort_bias_gelu import OrtBiasGelu

TEXT = """
<ir_version: 9, opset_import: ["" : 20]>
net (float[batch, 4] x) => (float[batch, 4] y)
{ a = Add(b, x) y = Gelu(a) }
"""
X = np.random.default_rng(0).normal(size=(3, 4)).astype("f")
WEIGHTS = {"b": np.arange(4, dtype="f")}
FUSED = {"com.microsoft.BiasGelu": 1}


def test_a_bias_and_its_gelu_are_one_node(apply):
    assert apply(OrtBiasGelu, TEXT, {"x": X}, WEIGHTS).operators == FUSED


def test_an_approximate_gelu_has_no_kernel_and_it_says_so(apply):
    text = TEXT.replace("Gelu(", 'Gelu<approximate = "tanh">(')
    done = apply(OrtBiasGelu, text, {"x": X}, WEIGHTS)
    assert done.ledger.firings == []
    assert "tanh" in done.ledger.near_misses[0].why


def test_a_bias_that_is_stretched_or_stretches_is_left(apply):
    done = apply(OrtBiasGelu, TEXT, {"x": X}, {"b": np.ones(1, "f")})
    assert "last axis" in done.ledger.near_misses[0].why
    text = TEXT.replace("4] x", "1] x")
    assert apply(OrtBiasGelu, text, {"x": X[:, :1]}, WEIGHTS).ledger.firings == []


def test_a_sum_that_is_an_output_stays(apply):
    text = TEXT.replace("=> (", "=> (float[batch, 4] a, ")
    assert apply(OrtBiasGelu, text, {"x": X}, WEIGHTS).ledger.firings == []


def test_a_denied_site_is_left_alone(apply):
    done = apply(OrtBiasGelu, TEXT, {"x": X}, WEIGHTS, denied=frozenset({"y"}))
    assert done.operators["Gelu"] == 1
