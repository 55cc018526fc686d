import numpy as np
import pytest

from lepton_ai.graph.rules.hard_swish import HardSwish

HEAD = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 4] x) => (float[batch, 4] y)
<float three = {3.0}, float zero = {0.0}, float six = {6.0}, float sixth = {0.16666667}>
"""
X = np.random.default_rng(0).normal(size=(8, 4)).astype("f") * 4

FORMS = {
    "product, then six": "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)",
    "six, then product": "a = Add(three, x) c = Clip(a, zero, six) m = Mul(c, sixth) y = Mul(m, x)",
    "hard sigmoid": "h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, h)",
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_each_way_of_writing_it_becomes_one_node(apply, body):
    assert apply(HardSwish, HEAD + "{" + body + "}", {"x": X}).operators == {"HardSwish": 1}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("three = {3.0}", "three = {2.5}"),
        ("zero = {0.0}", "zero = {-1.0}"),
        ("six = {6.0}", "six = {5.0}"),
    ],
)
def test_another_constant_is_another_formula(apply, old, new):
    text = (HEAD + "{" + FORMS["product, then six"] + "}").replace(old, new)
    assert apply(HardSwish, text, {"x": X}).ledger.firings == []


def test_the_default_hard_sigmoid_is_another(apply):
    text = HEAD + "{ h = HardSigmoid(x) y = Mul(x, h) }"
    assert apply(HardSwish, text, {"x": X}).ledger.firings == []


def test_a_step_that_is_an_output_stays(apply):
    head = HEAD.replace("=> (", "=> (float[batch, 4] c, ")
    text = head + "{" + FORMS["product, then six"] + "}"
    assert apply(HardSwish, text, {"x": X}).ledger.firings == []


def test_an_older_opset_has_none(apply):
    text = (HEAD + "{" + FORMS["hard sigmoid"] + "}").replace(": 17", ": 13")
    assert apply(HardSwish, text, {"x": X}).ledger.firings == []


def test_a_denied_site_is_left_alone(apply):
    text = HEAD + "{" + FORMS["hard sigmoid"] + "}"
    done = apply(HardSwish, text, {"x": X}, denied=frozenset({"y"}))
    assert done.operators["HardSigmoid"] == 1
