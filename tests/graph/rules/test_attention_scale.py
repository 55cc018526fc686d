import numpy as np
import pytest

from lepton_ai.graph.rules.attention_scale import AttentionScale

HEAD = """
<ir_version: 9, opset_import: ["" : 20]>
g (float[batch, 5, 4] q, float[batch, 4, 5] k) => (float[batch, 5, 5] y)
<float a = {0.25}, float b = {0.3}, float c = {3.0}, float[1, 4] row = {1.0, 2.0, 3.0, 4.0}>
"""
RNG = np.random.default_rng(0)
FEED = {
    "q": RNG.normal(size=(2, 5, 4)).astype("f"),
    "k": RNG.normal(size=(2, 4, 5)).astype("f"),
}


@pytest.mark.parametrize(
    "body",
    [
        "l = Mul(q, a) r = Mul(b, k) y = MatMul(l, r)",
        "l = Mul(q, a) r = Div(k, c) p = MatMul(l, r) y = Mul(p, b)",
        "r = Mul(k, b) p = MatMul(q, r) y = Div(p, c)",
    ],
)
def test_two_or_three_factors_become_one_at_the_first_operand(apply, body):
    done = apply(AttentionScale, HEAD + "{" + body + "}", FEED)
    assert done.operators == {"Mul": 1, "MatMul": 1}
    assert [node.op_type for node in done.model.graph] == ["Mul", "MatMul"]


def test_a_factor_of_the_result_of_a_projection_moves_to_it(apply):
    weights = {"w": np.random.default_rng(1).normal(size=(4, 4)).astype("f")}
    body = "l = MatMul(q, w) p = MatMul(l, k) y = Mul(p, a)"
    done = apply(AttentionScale, HEAD + "{" + body + "}", FEED, weights)
    assert [node.op_type for node in done.model.graph] == ["MatMul", "Mul", "MatMul"]


@pytest.mark.parametrize(
    "body",
    [
        "p = MatMul(q, k) y = Mul(p, a)",
        "l = Mul(q, a) y = MatMul(l, k)",
        "l = Mul(q, row) p = MatMul(l, k) y = Mul(p, a)",
        "l = Mul(q, a) p = MatMul(l, k) m = Mul(p, b) y = Add(m, p)",
    ],
)
def test_one_factor_or_one_that_is_read_elsewhere_stays(apply, body):
    assert apply(AttentionScale, HEAD + "{" + body + "}", FEED).ledger.firings == []


def test_a_scaled_operand_that_is_an_output_stays(apply):
    head = HEAD.replace("=> (", "=> (float[batch, 5, 4] l, ")
    body = "l = Mul(q, a) r = Mul(k, b) p = MatMul(l, r) y = Mul(p, c)"
    done = apply(AttentionScale, head + "{" + body + "}", FEED)
    assert done.operators["Mul"] == 2


def test_a_denied_site_is_left_alone(apply):
    body = "l = Mul(q, a) r = Mul(k, b) y = MatMul(l, r)"
    done = apply(AttentionScale, HEAD + "{" + body + "}", FEED, denied=frozenset({"y"}))
    assert done.operators["Mul"] == 2


@pytest.mark.parametrize("factor", [300, 1e-4])
def test_factors_whose_product_does_not_fit_stay(apply, factor):
    text = """
    <ir_version: 9, opset_import: ["" : 20]>
    g (float16[3, 4] q, float16[4, 3] k) => (float16[3, 3] y)
    { l = Mul(q, c) r = Mul(k, c) y = MatMul(l, r) }
    """
    feed = {"q": np.full((3, 4), 3 / factor, "e"), "k": np.full((4, 3), 3 / factor, "e")}
    done = apply(AttentionScale, text, feed, {"c": np.array(factor, "e")})
    assert done.ledger.firings == []
