import numpy as np
import pytest

from lepton_ai.graph.rules.raise_opset import RaiseOpset

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f")
GELU = "d = Div(x, root) e = Erf(d) p = Add(e, one) m = Mul(x, p) g = Mul(m, half) "
RMS = "q = Mul(x, x) v = ReduceMean<axes = [-1]>(q) a = Add(v, eps) r = Sqrt(a) n = Div(x, r) "
HARD = "h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) s = Mul(x, h) "


def text(body, opset=17, extra=""):
    return f"""
    <ir_version: 8, opset_import: ["" : {opset}{extra}]>
    net (float[2, 3, 4] x) => (float[2, 3, 4] y)
    <float root = {{1.4142135}}, float half = {{0.5}}, float one = {{1.0}}, float eps = {{0.001}}>
    {{ {body} }}
    """


@pytest.mark.parametrize(
    ("body", "before", "after"),
    [
        (GELU + "y = Neg(g)", 13, 20),
        (RMS + "y = Neg(n)", 17, 23),
        (GELU + RMS + "y = Add(g, n)", 17, 23),
        (HARD + "y = Neg(s)", 12, 14),
    ],
)
def test_it_becomes_the_lowest_that_has_what_is_written_out(apply, body, before, after):
    done = apply(RaiseOpset, text(body, before), {"x": X})
    assert done.model.opset_imports[""] == after
    assert [firing.site for firing in done.ledger.firings] == ["opset"]


@pytest.mark.parametrize("body", ["y = Neg(x)", "z = Erf(x) y = Neg(z)"])
def test_without_a_reason_it_stays(apply, body):
    done = apply(RaiseOpset, text(body), {"x": X})
    assert done.model.opset_imports[""] == 17
    assert done.ledger.firings == []


def test_foreign_operators_come_along(apply):
    body = GELU + "y = com.microsoft.QuickGelu<alpha = 1.5>(g)"
    done = apply(RaiseOpset, text(body, extra=', "com.microsoft" : 1'), {"x": X})
    assert done.operators["com.microsoft.QuickGelu"] == 1
    assert done.model.opset_imports[""] == 20


def test_branches_are_converted_too(apply):
    body = (
        GELU
        + """
    t = ReduceMax<keepdims = 0>(g) yes = Greater(t, one)
    y = If(yes) <
        then_branch = a () => (float[2, 3, 4] o) { o1 = ReduceMean<axes = [2]>(g) o = Sub(g, o1) },
        else_branch = b () => (float[2, 3, 4] o) { o2 = Softmax<axis = 1>(g) o = Neg(o2) }>
    """
    )
    done = apply(RaiseOpset, text(body, opset=12), {"x": X})
    assert done.model.opset_imports[""] == 20


NORM = """
    <ir_version: 9, opset_import: ["" : 18]>
    net (float[2, channels, 4] x) => (float[2, channels, 4] y)
    <float eps = {0.001}, float[2] w = {1.0, 2.0}, float[2] b = {0.0, 1.0}, int64[1] last = {-1}>
    {
        q = Mul(x, x) v = ReduceMean(q, last) a = Add(v, eps) r = Sqrt(a) n = Div(x, r)
        y = GroupNormalization<num_groups = 2>(n, w, b)
    }
"""


def test_a_scale_per_group_becomes_one_per_channel(apply):
    x = np.random.default_rng(0).normal(size=(2, 4, 4)).astype("f")
    done = apply(RaiseOpset, NORM.replace("channels", "4"), {"x": x})
    assert done.model.opset_imports[""] == 23


def test_what_cannot_be_converted_stays_and_it_says_so(apply):
    # The converter would keep the scale of each group and call it one of each channel.
    x = np.random.default_rng(0).normal(size=(2, 4, 8)).astype("f")
    done = apply(RaiseOpset, NORM.replace(", 4]", ", 8]"), {"x": x})
    assert done.model.opset_imports[""] == 18
    assert "channels" in done.ledger.near_misses[0].why


def test_a_denied_raise_is_left_alone(apply):
    done = apply(RaiseOpset, text(GELU + "y = Neg(g)"), {"x": X}, denied=frozenset({"opset"}))
    assert done.model.opset_imports[""] == 17


@pytest.mark.parametrize(
    ("opset", "node"),
    [
        (12, "Hardmax<axis = 1>(s)"),
        (10, 'Resize<mode = "linear">(s, sizes)'),
        (9, 'Upsample<mode = "linear">(s, sizes)'),
    ],
)
def test_what_a_later_opset_understands_otherwise_keeps_its_own(apply, opset, node):
    body = text(HARD + f"y = {node}", opset)
    body = body.replace("<float root", "<float[3] sizes = {1.0, 1.5, 2.0}, float root")
    body = body.replace("(float[2, 3, 4] y)", "(float[a, b, c] y)")
    assert apply(RaiseOpset, body, {"x": X}).ledger.firings == []
