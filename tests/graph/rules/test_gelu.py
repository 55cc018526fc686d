import numpy as np
import pytest

from lepton_ai.graph.rules.gelu import Gelu

HEAD = """
<ir_version: 9, opset_import: ["" : OPSET]>
g (TYPE[batch, 4] x) => (TYPE[batch, 4] y)
<float root = {1.4142135}, float half = {0.5}, float one = {1.0}, float two = {2.0},
 float three = {3.0}, float inverse = {0.70710678}, float cubic = {0.044715},
 float scale = {0.79788456}, float[1] half1 = {0.5}>
"""
X = np.random.default_rng(0).normal(size=(3, 4)).astype("f") * 3

FORMS = {
    "x (1 + erf) half": """d = Div(x, root) e = Erf(d) p = Add(e, one)
        m = Mul(x, p) y = Mul(m, half)""",
    "half x, then gate": """d = Mul(inverse, x) e = Erf(d) p = Add(one, e)
        m = Mul(half1, x) y = Mul(m, p)""",
    "gate over two": "d = Div(x, root) e = Erf(d) p = Add(e, one) m = Div(p, two) y = Mul(m, x)",
    "tanh, cube": """c = Pow(x, three) k = Mul(cubic, c) s = Add(x, k)
        t = Mul(s, scale) e = Tanh(t) p = Add(e, one) m = Mul(half, p) y = Mul(x, m)""",
    "tanh, square": """q = Mul(x, x) k = Mul(q, cubic) s = Add(one, k) t = Mul(x, s)
       u = Mul(t, scale) e = Tanh(u) p = Add(e, one) m = Mul(x, p) y = Mul(m, half)""",
}


def text(body, opset=20, dtype="float"):
    return HEAD.replace("OPSET", str(opset)).replace("TYPE", dtype) + "{" + body + "}"


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_each_way_of_writing_it_becomes_one_node(apply, body):
    done = apply(Gelu, text(body), {"x": X})
    assert done.operators == {"Gelu": 1}
    assert [firing.site for firing in done.ledger.firings] == ["y"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("half = {0.5}", "half = {0.51}"),
        ("root = {1.4142135}", "root = {1.41}"),
        ("one = {1.0}", "one = {1.001}"),
    ],
)
def test_another_constant_is_another_formula(apply, old, new):
    done = apply(Gelu, text(FORMS["x (1 + erf) half"]).replace(old, new), {"x": X})
    assert done.ledger.firings == []
    assert done.operators["Erf"] == 1


def test_another_power_is_another_formula(apply):
    body = FORMS["tanh, cube"]
    done = apply(Gelu, text(body).replace("three = {3.0}", "three = {2.0}"), {"x": X})
    assert done.ledger.firings == []


def test_two_different_tensors_are_no_gelu(apply):
    body = "d = Div(x, root) e = Erf(d) p = Add(e, one) z = Neg(x) m = Mul(z, p) y = Mul(m, half)"
    assert apply(Gelu, text(body), {"x": X}).ledger.firings == []


def test_a_step_that_is_read_elsewhere_keeps_it_and_it_says_so(apply):
    body = FORMS["x (1 + erf) half"].replace("y = Mul(m, half)", "z = Mul(m, half) y = Add(z, p)")
    done = apply(Gelu, text(body), {"x": X})
    assert done.ledger.firings == []
    assert "read elsewhere" in done.ledger.near_misses[0].why


def test_a_step_that_is_an_output_stays(apply):
    whole = text(FORMS["x (1 + erf) half"]).replace("=> (", "=> (float[batch, 4] e, ")
    assert apply(Gelu, whole, {"x": X}).ledger.firings == []


def test_an_older_opset_has_no_gelu(apply):
    done = apply(Gelu, text(FORMS["x (1 + erf) half"], opset=19), {"x": X})
    assert done.ledger.firings == []


def test_float64_has_no_kernel_and_it_says_so(apply):
    whole = text(FORMS["tanh, square"], dtype="double").replace("<float ", "<double ")
    whole = whole.replace(", float ", ", double ").replace("\n float ", "\n double ")
    done = apply(Gelu, whole, {"x": X.astype("d")})
    assert "DOUBLE" in done.ledger.near_misses[0].why


def test_a_constant_that_may_add_an_axis_is_left(apply):
    whole = text(FORMS["x (1 + erf) half"]).replace(
        "float half = {0.5}", "float[1,1,1] half = {0.5}"
    )
    whole = whole.replace("=> (float[batch, 4] y)", "=> (float[1, batch, 4] y)")
    assert apply(Gelu, whole, {"x": X}).ledger.firings == []


def test_a_denied_site_is_left_alone(apply):
    done = apply(Gelu, text(FORMS["gate over two"]), {"x": X}, denied=frozenset({"y"}))
    assert done.operators["Erf"] == 1


def test_it_is_found_in_a_branch(apply):
    inner = FORMS["gate over two"].replace("y =", "o =")
    body = f"""
    c = ReduceMax<keepdims = 0>(x) yes = Greater(c, one)
    y = If(yes) <
        then_branch = t () => (float[batch, 4] o) {{ {inner} }},
        else_branch = f () => (float[batch, 4] o) {{ o = Neg(x) }}>
    """
    assert apply(Gelu, text(body), {"x": X}).operators["Gelu"] == 1
