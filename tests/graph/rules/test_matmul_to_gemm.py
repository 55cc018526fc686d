import numpy as np
import pytest

from lepton_ai.graph.rules.matmul_to_gemm import MatmulToGemm

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 4] x) => (float[n, 6] y)
{
    made = MatMul (x, w)
    y = Add (made, b)
}
"""


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("f")


FEED = {"x": numbers(3, 4, seed=9)}
WEIGHT = {"w": numbers(4, 6)}


@pytest.mark.parametrize("shape", [(6,), (1, 6), (1,), ()])
def test_a_product_and_its_bias_are_one_node(apply, shape):
    done = apply(MatmulToGemm, TEXT, FEED, {**WEIGHT, "b": numbers(*shape)})
    assert [firing.site for firing in done.ledger.firings] == ["y"]
    assert done.operators == {"Gemm": 1}


def test_the_bias_may_be_on_the_left(apply):
    text = TEXT.replace("Add (made, b)", "Add (b, made)")
    done = apply(MatmulToGemm, text, FEED, {**WEIGHT, "b": numbers(6)})
    assert done.operators == {"Gemm": 1}


@pytest.mark.parametrize("shape", [(1, 1, 6), (3, 6), (3, 1)])
def test_what_is_no_bias_stays(apply, shape):
    text = TEXT.replace("[n, 6] y", "[1, n, 6] y") if len(shape) == 3 else TEXT
    done = apply(MatmulToGemm, text, FEED, {**WEIGHT, "b": numbers(*shape)})
    assert done.operators == {"MatMul": 1, "Add": 1}
    assert "one number per column" in done.ledger.near_misses[0].why


def test_a_bias_that_widens_the_product_stays(apply):
    done = apply(MatmulToGemm, TEXT, FEED, {"w": numbers(4, 1), "b": numbers(6)})
    assert done.ledger.firings == []
    assert done.operators == {"MatMul": 1, "Add": 1}


def test_a_product_that_is_read_elsewhere_stays(apply):
    text = TEXT.replace("n, 6] y)", "n, 6] y, float[n, 6] made)")
    done = apply(MatmulToGemm, text, FEED, {**WEIGHT, "b": numbers(6)})
    assert "read without its bias" in done.ledger.near_misses[0].why


def test_sequences_are_left_to_the_product(apply):
    text = TEXT.replace("[n, ", "[n, 2, ")
    done = apply(MatmulToGemm, text, {"x": numbers(3, 2, 4)}, {**WEIGHT, "b": numbers(6)})
    assert done.ledger.firings == done.ledger.near_misses == []


def test_an_unknown_rank_is_a_near_miss(apply):
    text = TEXT.replace("made = MatMul (x, w)", "r = Reshape (x, s) made = MatMul (r, w)")
    text = text.replace("float[n, 4] x", "float[n, 4] x, int64[k] s")
    feed = {**FEED, "s": np.array([3, 4])}
    done = apply(MatmulToGemm, text, feed, {**WEIGHT, "b": numbers(6)})
    assert "how many axes" in done.ledger.near_misses[0].why


def test_a_denied_site_is_left_alone(apply):
    given = {**WEIGHT, "b": numbers(6)}
    done = apply(MatmulToGemm, TEXT, FEED, given, denied=frozenset({"y"}))
    assert done.operators == {"MatMul": 1, "Add": 1}
