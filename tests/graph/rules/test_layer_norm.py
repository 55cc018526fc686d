import numpy as np
import pytest

from lepton_ai.graph.rules.layer_norm import LayerNorm

HEAD = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 5, 4] x) => (float[batch, 5, 4] y)
<float eps = {0.00001}, float two = {2.0}, float half = {0.5}, float minus = {-0.5},
 float one = {1.0}>
"""
MEAN = "m = ReduceMean<axes = [AXES]>(x) d = Sub(x, m) "
ROOT = "q = Mul(d, d) v = ReduceMean<axes = [AXES]>(q) e = Add(v, eps) r = Sqrt(e) "
FORMS = {
    "divided": MEAN + ROOT + "n = Div(d, r) ",
    "power": MEAN + ROOT.replace("Mul(d, d)", "Pow(d, two)") + "n = Div(d, r) ",
    "reciprocal": MEAN + ROOT + "i = Reciprocal(r) n = Mul(i, d) ",
    "one over": MEAN + ROOT + "i = Div(one, r) n = Mul(d, i) ",
    "power of the root": MEAN + ROOT.replace("Sqrt(e)", "Pow(e, minus)") + "n = Mul(d, r) ",
}
X = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("f") * 2 + 1
WEIGHTS = {"w": np.arange(1, 5, dtype="f"), "b": np.arange(4, dtype="f") - 1}


def text(body, axes="-1"):
    return HEAD + "{" + body.replace("AXES", axes) + "}"


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_each_way_of_writing_it_becomes_one_node_with_scale_and_bias(apply, body):
    done = apply(LayerNorm, text(body + "s = Mul(n, w) y = Add(b, s)"), {"x": X}, WEIGHTS)
    assert done.operators == {"LayerNormalization": 1}
    assert [value.name for value in done.model.graph[0].inputs] == ["x", "w", "b"]


def test_without_a_scale_it_has_ones(apply):
    done = apply(LayerNorm, text(FORMS["divided"] + "y = Add(n, b)"), {"x": X}, WEIGHTS)
    assert done.operators == {"LayerNormalization": 1}


def test_several_last_axes(apply):
    weights = {"w": np.random.default_rng(1).normal(size=(1, 5, 4)).astype("f")}
    body = FORMS["divided"] + "y = Mul(n, w)"
    done = apply(LayerNorm, text(body, axes="1, 2"), {"x": X}, weights)
    assert done.operators == {"LayerNormalization": 1}


def test_a_scale_per_token_stays_outside(apply):
    weights = {"w": np.random.default_rng(1).normal(size=(5, 1)).astype("f")}
    done = apply(LayerNorm, text(FORMS["divided"] + "y = Mul(n, w)"), {"x": X}, weights)
    assert done.operators == {"LayerNormalization": 1, "Mul": 1}


@pytest.mark.parametrize("axes", ["1", "0, 2"])
def test_other_axes_are_left_and_it_says_so(apply, axes):
    done = apply(LayerNorm, text(FORMS["divided"] + "y = Mul(n, one)", axes=axes), {"x": X})
    assert done.ledger.firings == []
    assert "last axes" in done.ledger.near_misses[0].why


def test_means_over_different_axes_are_no_layer_normalisation(apply):
    body = MEAN.replace("AXES", "1") + ROOT.replace("AXES", "2") + "y = Div(d, r)"
    assert apply(LayerNorm, text(body), {"x": X}).ledger.firings == []


def test_a_mean_of_something_else_is_left(apply):
    body = FORMS["divided"].replace("(x) d", "(z) d")
    done = apply(LayerNorm, text("z = Exp(x) " + body + "y = Neg(n)"), {"x": X})
    assert done.ledger.firings == []


def test_centred_values_that_are_read_elsewhere_keep_it(apply):
    done = apply(LayerNorm, text(FORMS["divided"] + "y = Add(n, d)"), {"x": X})
    assert done.ledger.firings == []
    assert "read elsewhere" in done.ledger.near_misses[0].why


def test_a_step_that_is_an_output_stays(apply):
    whole = text(FORMS["divided"] + "y = Mul(n, w)").replace("=> (", "=> (float[batch, 5, 1] v, ")
    assert apply(LayerNorm, whole, {"x": X}, WEIGHTS).ledger.firings == []


def test_unknown_sizes_are_left(apply):
    whole = text(FORMS["divided"] + "y = Neg(n)").replace("5, 4]", "5, width]")
    done = apply(LayerNorm, whole, {"x": X})
    assert "not known" in done.ledger.near_misses[0].why


def test_a_weight_that_a_caller_may_give_stays_outside(apply):
    whole = text(FORMS["divided"] + "y = Mul(n, w)").replace("4] x)", "4] x, float[4] w)")
    done = apply(LayerNorm, whole, {"x": X, "w": WEIGHTS["w"]})
    assert done.operators == {"LayerNormalization": 1, "Mul": 1}


def test_float64_would_lose_precision_and_it_says_so(apply):
    whole = text(FORMS["divided"] + "y = Neg(n)").replace("float", "double")
    done = apply(LayerNorm, whole, {"x": X.astype("d")})
    assert "float32" in done.ledger.near_misses[0].why


def test_a_denied_site_is_left_alone(apply):
    body = FORMS["divided"] + "y = Mul(n, w)"
    done = apply(LayerNorm, text(body), {"x": X}, WEIGHTS, denied=frozenset({"y"}))
    assert done.operators["Sqrt"] == 1


@pytest.mark.parametrize("number", ["eps", "two", "one"])
@pytest.mark.parametrize("form", ["power", "one over"])
def test_a_constant_that_adds_an_axis_is_left_alone(apply, number, form):
    used = {"eps": True, "two": form == "power", "one": form == "one over"}[number]
    body = text(FORMS[form] + "y = Neg(n)")
    body = body.replace(f"float {number} =", f"float[1, 1, 1, 1] {number} =")
    if used:
        body = body.replace("=> (float[batch", "=> (float[1, batch")
    done = apply(LayerNorm, body, {"x": X})
    assert ("LayerNormalization" in done.operators) is not used
