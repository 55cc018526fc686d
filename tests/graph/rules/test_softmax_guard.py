import numpy as np
import pytest

from lepton_ai.graph.rules.softmax_guard import SoftmaxGuard

HEAD = """
<ir_version: 9, opset_import: ["" : 20]>
g (float[batch, 5, 4] x, bool[batch, 5, 5] keep) => (float[batch, 5, 5] y)
<float zero = {0.0}, float lowest = {-3.4028235e38},
 float[1, 1, 5] row = {0.0, 0.0, 0.0, -1e30, 0.0}>
{
    t = Transpose<perm = [0, 2, 1]>(x)
    scores = MatMul(x, t)
    MASK
    s = Softmax<axis = -1>(logits)
    bad = IsNaN(s)
    y = Where(bad, zero, s)
}
"""
PLAIN = "logits = Identity(scores)"
CHOSEN = "m = Where(keep, zero, lowest) logits = Add(scores, m)"
TWICE = "m = Where(keep, zero, lowest) n = Add(m, m) logits = Add(scores, n)"
INFINITE = "i = Constant<value_float = -inf>() m = Where(keep, zero, i) logits = Add(scores, m)"


def feed(masked_row=True):
    rng = np.random.default_rng(0)
    keep = rng.random((2, 5, 5)) > 0.3
    keep[:, 2] = not masked_row
    return {"x": rng.normal(size=(2, 5, 4)).astype("f"), "keep": keep}


@pytest.mark.parametrize("mask", [PLAIN, CHOSEN, "logits = Add(scores, row)"])
def test_logits_that_are_finite_need_no_guard(apply, mask):
    done = apply(SoftmaxGuard, HEAD.replace("MASK", mask), feed())
    assert [firing.site for firing in done.ledger.firings] == ["s"]
    assert not done.operators["IsNaN"]
    assert done.operators["Where"] == (mask == CHOSEN)


@pytest.mark.parametrize("mask", [INFINITE, TWICE])
def test_masked_rows_that_may_be_minus_infinity_keep_it_and_it_says_so(apply, mask):
    done = apply(SoftmaxGuard, HEAD.replace("MASK", mask), feed())
    assert done.ledger.firings == []
    assert done.operators["IsNaN"] == 1
    assert "infinite" in done.ledger.near_misses[0].why


def test_a_mask_from_the_caller_may_be_anything(apply):
    text = HEAD.replace("MASK", "logits = Add(scores, given)").replace(
        "float[batch, 5, 4] x,", "float[batch, 5, 4] x, float[batch, 5, 5] given,"
    )
    given = np.zeros((2, 5, 5), "f")
    given[0, 1] = -np.inf
    done = apply(SoftmaxGuard, text, {**feed(), "given": given})
    assert done.ledger.firings == []
    assert "'given'" in done.ledger.near_misses[0].why


def test_the_logarithm_of_a_mask_is_minus_infinity(apply):
    mask = "k = Cast<to = 1>(keep) m = Log(k) logits = Add(scores, m)"
    assert apply(SoftmaxGuard, HEAD.replace("MASK", mask), feed()).ledger.firings == []


def test_in_float16_a_row_of_the_lowest_number_overflows(apply):
    text = HEAD.replace("MASK", "h = Cast<to = 10>(scores) logits = Add(h, low)")
    text = text.replace("=> (float[", "=> (float16[").replace("Where(bad, zero", "Where(bad, none")
    weights = {"low": np.full((1, 5, 5), -65504, np.float16), "none": np.zeros((), np.float16)}
    assert apply(SoftmaxGuard, text, feed(), weights).ledger.firings == []


def test_a_guard_of_something_else_is_left(apply):
    text = HEAD.replace("MASK", PLAIN).replace("Softmax<axis = -1>(logits)", "Sqrt(logits)")
    assert apply(SoftmaxGuard, text, feed()).ledger.firings == []


def test_a_softmax_that_is_an_output_as_well_keeps_its_name(apply):
    text = HEAD.replace("MASK", PLAIN).replace("=> (", "=> (float[batch, 5, 5] s, ")
    done = apply(SoftmaxGuard, text, feed())
    assert [value.name for value in done.model.graph.outputs] == ["s", "y"]
    assert "output" in done.ledger.near_misses[0].why


def test_a_denied_site_is_left_alone(apply):
    done = apply(SoftmaxGuard, HEAD.replace("MASK", PLAIN), feed(), denied=frozenset({"s"}))
    assert done.operators["IsNaN"] == 1
