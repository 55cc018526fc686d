import numpy as np
import pytest

from lepton_ai.graph.rules.rms_norm import RmsNorm

HEAD = """
<ir_version: 11, opset_import: ["" : 23]>
g (float[batch, 5, 4] x) => (float[batch, 5, 4] y)
<float eps = {0.00001}, float two = {2.0}, int64[1] last = {-1},
 int64[1] middle = {1}, float one = {1.0}>
"""
ROOT = "q = Pow(x, two) v = ReduceMean(q, last) e = Add(v, eps) r = Sqrt(e) "
FORMS = {
    "divided": ROOT + "n = Div(x, r) ",
    "reciprocal": ROOT + "i = Reciprocal(r) n = Mul(x, i) ",
    "one over": ROOT + "i = Div(one, r) n = Mul(x, i) ",
}
X = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("f") * 2 + 1
WEIGHTS = {"w": np.arange(1, 5, dtype="f")}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_each_way_of_writing_it_becomes_one_node(apply, body):
    done = apply(RmsNorm, HEAD + "{" + body + "y = Mul(w, n) }", {"x": X}, WEIGHTS)
    assert done.operators == {"RMSNormalization": 1}


def test_what_is_less_its_mean_is_layer_normalisation(apply):
    root = ROOT.replace("(x", "(d")
    body = "m = ReduceMean(x, last) d = Sub(x, m) " + root + "y = Div(d, r)"
    assert apply(RmsNorm, HEAD + "{" + body + "}", {"x": X}).ledger.firings == []


def test_another_axis_is_left_and_it_says_so(apply):
    body = FORMS["divided"].replace("last", "middle")
    done = apply(RmsNorm, HEAD + "{" + body + "y = Neg(n) }", {"x": X})
    assert "last axes" in done.ledger.near_misses[0].why


def test_the_square_of_something_else_is_left(apply):
    body = "z = Exp(x) " + FORMS["divided"].replace("Pow(x", "Pow(z")
    assert apply(RmsNorm, HEAD + "{" + body + "y = Neg(n) }", {"x": X}).ledger.firings == []


def test_an_older_opset_has_none(apply):
    text = (HEAD + "{" + FORMS["divided"] + "y = Neg(n) }").replace(": 23", ": 22")
    assert apply(RmsNorm, text, {"x": X}).ledger.firings == []


def test_a_denied_site_is_left_alone(apply):
    text = HEAD + "{" + FORMS["divided"] + "y = Mul(n, w) }"
    done = apply(RmsNorm, text, {"x": X}, WEIGHTS, denied=frozenset({"y"}))
    assert done.operators["Sqrt"] == 1


def test_a_constant_that_adds_an_axis_is_left_alone(apply):
    body = HEAD.replace("float eps", "float[1, 1, 1, 1] eps") + "{" + FORMS["divided"]
    body = (body + "y = Neg(n) }").replace("=> (float[batch", "=> (float[1, batch")
    assert apply(RmsNorm, body, {"x": X}).ledger.firings == []
