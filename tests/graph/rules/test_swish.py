import numpy as np

from lepton_ai.graph.rules.swish import Swish

HEAD = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 4] x) => (float[batch, 4] y)
<float alpha = {1.702}>
"""
X = np.random.default_rng(0).normal(size=(3, 4)).astype("f") * 3


def test_a_value_times_its_sigmoid_is_one_node(apply):
    done = apply(Swish, HEAD + "{ s = Sigmoid(x) y = Mul(s, x) }", {"x": X})
    assert done.operators == {"com.microsoft.QuickGelu": 1}
    assert done.model.opset_imports["com.microsoft"] == 1


def test_a_factor_inside_is_its_alpha(apply):
    done = apply(Swish, HEAD + "{ a = Mul(alpha, x) s = Sigmoid(a) y = Mul(x, s) }", {"x": X})
    assert done.operators == {"com.microsoft.QuickGelu": 1}
    (node,) = done.model.graph
    assert abs(node.attributes.get_float("alpha") - 1.702) < 1e-6


def test_a_gate_of_something_else_is_left(apply):
    done = apply(Swish, HEAD + "{ n = Neg(x) e = Exp(x) s = Sigmoid(e) y = Mul(n, s) }", {"x": X})
    assert done.ledger.firings == []


def test_a_sigmoid_that_is_an_output_stays(apply):
    text = HEAD.replace("=> (", "=> (float[batch, 4] s, ") + "{ s = Sigmoid(x) y = Mul(s, x) }"
    assert apply(Swish, text, {"x": X}).ledger.firings == []


def test_a_squared_sigmoid_is_left(apply):
    assert apply(Swish, HEAD + "{ s = Sigmoid(x) y = Mul(s, s) }", {"x": X}).ledger.firings == []


def test_float64_has_no_kernel_and_it_says_so(apply):
    text = (HEAD + "{ s = Sigmoid(x) y = Mul(s, x) }").replace("float[batch", "double[batch")
    done = apply(Swish, text, {"x": X.astype("d")})
    assert "DOUBLE" in done.ledger.near_misses[0].why


def test_a_denied_site_is_left_alone(apply):
    text = HEAD + "{ s = Sigmoid(x) y = Mul(s, x) }"
    done = apply(Swish, text, {"x": X}, denied=frozenset({"y"}))
    assert done.operators["Sigmoid"] == 1


def test_only_onnxruntime_has_it():
    assert Swish.engines == ("onnxruntime",)
