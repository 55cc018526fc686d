import numpy as np
import pytest

from lepton_ai.graph.rules.fold_affine_before import FoldAffineBefore

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
CONV = (
    HEAD
    + """
g (float[n, 4, h, 7] x) => (float[n, 6, a, b] y)
{
    given = STEP
    y = LAYER
}
"""
)
UNPADDED = {
    "Conv": ("Conv (given, w, b)", (6, 4, 3, 3)),
    "Conv without bias": ('Conv <auto_pad = "VALID"> (given, w)', (6, 4, 3, 3)),
    "Conv in groups": ("Conv <group = 2> (given, w, b)", (6, 2, 3, 3)),
}
PADDED = {
    "Conv": ("Conv <pads = [1, 1, 0, 1]> (given, w, b)", (6, 4, 3, 3)),
    "Conv that pads by itself": ('Conv <auto_pad = "SAME_UPPER"> (given, w)', (6, 4, 3, 3)),
    "ConvTranspose in groups": (
        "ConvTranspose <strides = [2, 2], group = 2> (given, w, b)",
        (4, 3, 3, 3),
    ),
}
SCALES = ("Mul (x, k)", "Div (x, number)")
SHIFTS = ("Add (x, k)", "Sub (number, x)", "BatchNormalization (x, c, d, e, v)")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("f")


def weights(*shape):
    return {
        "w": numbers(*shape),
        "b": numbers(6, seed=1),
        "k": numbers(4, 1, 1, seed=2),
        "number": np.array(1.7, "f"),
        **{name: numbers(4, seed=3) for name in "cde"},
        "v": np.abs(numbers(4, seed=4)),
    }


IMAGES = {"x": numbers(2, 4, 8, 7, seed=9)}


@pytest.mark.parametrize("layer", UNPADDED)
@pytest.mark.parametrize("step", SCALES + SHIFTS)
def test_what_precedes_an_unpadded_convolution_goes_into_it(apply, layer, step):
    operator, shape = UNPADDED[layer]
    text = CONV.replace("LAYER", operator).replace("STEP", step)
    done = apply(FoldAffineBefore, text, IMAGES, weights(*shape))
    assert [firing.site for firing in done.ledger.firings] == ["given"]
    assert done.operators == {"Conv": 1}


@pytest.mark.parametrize("layer", PADDED)
@pytest.mark.parametrize("step", SCALES)
def test_a_scale_goes_into_what_pads(apply, layer, step):
    operator, shape = PADDED[layer]
    text = CONV.replace("LAYER", operator).replace("STEP", step)
    done = apply(FoldAffineBefore, text, IMAGES, weights(*shape))
    assert sum(done.operators.values()) == 1


@pytest.mark.parametrize("layer", PADDED)
@pytest.mark.parametrize("step", SHIFTS)
def test_what_is_added_before_padding_stays(apply, layer, step):
    operator, shape = PADDED[layer]
    text = CONV.replace("LAYER", operator).replace("STEP", step)
    done = apply(FoldAffineBefore, text, IMAGES, weights(*shape))
    assert done.ledger.firings == []
    assert {"padding" in m.why or "border" in m.why for m in done.ledger.near_misses} == {True}


def test_a_chain_goes_in_from_its_end(apply):
    text = CONV.replace("LAYER", "Conv (given, w, b)")
    text = text.replace("given = STEP", "p = Mul (x, k) given = Add (p, number)")
    done = apply(FoldAffineBefore, text, IMAGES, weights(6, 4, 3, 3))
    assert [firing.site for firing in done.ledger.firings] == ["given", "p"]
    assert done.operators == {"Conv": 1}


def test_a_denied_step_stays(apply):
    text = CONV.replace("LAYER", "Conv (given, w, b)").replace("STEP", "Mul (x, k)")
    denied = frozenset({"given"})
    done = apply(FoldAffineBefore, text, IMAGES, weights(6, 4, 3, 3), denied=denied)
    assert done.operators == {"Conv": 1, "Mul": 1}


PRODUCT = (
    HEAD
    + """
g (float[n, t, 4] x) => (float[n, t, 6] y)
{
    given = STEP
    made = MatMul (given, w)
    y = END
}
"""
)


def test_what_precedes_a_product_goes_into_it_and_its_bias(apply):
    text = PRODUCT.replace("STEP", "Add (x, c)").replace("END", "Add (b, made)")
    done = apply(FoldAffineBefore, text, {"x": numbers(2, 3, 4)}, weights(4, 6))
    assert done.operators == {"MatMul": 1, "Add": 1}
    text = PRODUCT.replace("STEP", "Mul (c, x)").replace("END", "Tanh (made)")
    done = apply(FoldAffineBefore, text, {"x": numbers(2, 3, 4)}, weights(4, 6))
    assert done.operators == {"MatMul": 1, "Tanh": 1}


def test_what_is_added_before_a_product_without_bias_stays(apply):
    text = PRODUCT.replace("STEP", "Add (x, c)").replace("END", "Tanh (made)")
    done = apply(FoldAffineBefore, text, {"x": numbers(2, 3, 4)}, weights(4, 6))
    assert done.ledger.firings == []
    assert "no place" in done.ledger.near_misses[0].why


GEMM = (
    HEAD
    + """
g (float[4, 4] x) => (float[4, 6] y)
{
    given = STEP
    y = LAYER
}
"""
)


@pytest.mark.parametrize("step", ["Mul (x, c)", "BatchNormalization (x, c, d, e, v)"])
def test_what_precedes_a_gemm_goes_into_it(apply, step):
    text = GEMM.replace("STEP", step)
    feed = {"x": numbers(4, 4, seed=8)}
    turned = text.replace("LAYER", "Gemm <transB = 1, alpha = 0.5, beta = 2.0> (given, w, b)")
    assert apply(FoldAffineBefore, turned, feed, weights(6, 4)).operators == {"Gemm": 1}
    bare = text.replace("LAYER", "Gemm <alpha = 2.0> (given, w)")
    assert apply(FoldAffineBefore, bare, feed, weights(4, 6)).operators == {"Gemm": 1}


def test_a_scale_of_columns_does_not_go_into_rows(apply):
    text = GEMM.replace("STEP", "Mul (x, c)").replace("LAYER", "Gemm <transA = 1> (given, w)")
    done = apply(FoldAffineBefore, text, {"x": numbers(4, 4, seed=8)}, weights(4, 6))
    assert done.ledger.firings == []
    assert "input channels" in done.ledger.near_misses[0].why


TWO = """
g (float[n, 4, 8, 7] x) => (float[n, 6, a, b] y, float[n, p, q, r] z)
{
    given = BatchNormalization (x, c, d, e, v)
    y = Conv (given, w, b)
    z = OTHER
}
"""


def test_a_normalisation_goes_into_all_its_readers(apply):
    text = HEAD + TWO.replace("OTHER", "Conv <strides = [2, 2]> (given, other)")
    given = {**weights(6, 4, 3, 3), "other": numbers(2, 4, 1, 1)}
    done = apply(FoldAffineBefore, text, IMAGES, given)
    assert done.operators == {"Conv": 2}


@pytest.mark.parametrize("other", ["Relu (given)", "Conv (w, given)", "Identity (given)"])
def test_a_normalisation_that_another_reads_stays(apply, other):
    text = HEAD + TWO.replace("OTHER", other)
    if "w, given" in other:  # as a weight, an input is no input
        text = text.replace("n, 4, 8, 7", "5, 4, 3, 3")
        images = {"x": numbers(5, 4, 3, 3, seed=9)}
    else:
        images = IMAGES
    done = apply(FoldAffineBefore, text, images, weights(6, 4, 3, 3))
    assert done.ledger.firings == []
    assert "reads it as well" in done.ledger.near_misses[0].why


def test_a_normalisation_that_is_an_output_stays(apply):
    text = CONV.replace("LAYER", "Conv (given, w, b)").replace("STEP", "Mul (x, k)")
    text = text.replace("b] y)", "b] y, float[n, 4, h, 7] given)")
    done = apply(FoldAffineBefore, text, IMAGES, weights(6, 4, 3, 3))
    assert done.ledger.firings == []


def test_a_body_of_a_loop_is_folded(apply):
    text = (
        HEAD
        + """
g (float[2, 4, 3, 3] x, int64 times) => (float[2, 4, 3, 3] y)
<bool go = {1}>
{
    y = Loop (times, go, x) <
        body = step (int64 i, bool c, float[2, 4, 3, 3] s) => (bool d, float[2, 4, 3, 3] t)
        {
            d = Identity (c)
            given = Mul (s, k)
            t = Conv <pads = [1, 1, 1, 1]> (given, w)
        }
    >
}
"""
    )
    feed = {"x": numbers(2, 4, 3, 3), "times": np.array(3)}
    done = apply(FoldAffineBefore, text, feed, {"w": numbers(4, 4, 3, 3), "k": numbers(4, 1, 1)})
    assert done.operators == {"Loop": 1, "Identity": 1, "Conv": 1}


@pytest.mark.parametrize("channels", ["1", "c"])
def test_one_channel_that_a_constant_widens_to_many_stays(apply, channels):
    text = f"""
    {HEAD}
    g (float[n, {channels}, 5, 5] x) => (float[n, 2, 3, 3] y)
    <float[3, 1, 1] k = {{2.0, 3.0, 4.0}}> {{ s = Mul (x, k)  y = Conv (s, w) }}
    """
    rng = np.random.default_rng(0)
    feed = {"x": rng.normal(size=(1, 1, 5, 5)).astype("f")}
    weight = rng.normal(size=(2, 3, 3, 3)).astype("f")
    assert apply(FoldAffineBefore, text, feed, {"w": weight}).ledger.firings == []


def test_a_gemm_that_adds_what_it_multiplies_keeps_the_step(apply):
    text = (
        HEAD
        + "g (float[n, 3] x) => (float[n, 3] y) <float k = {2.0}> "
        + "{ s = Mul (x, k)  y = Gemm (s, w, s) }"
    )
    rng = np.random.default_rng(0)
    feed = {"x": rng.normal(size=(3, 3)).astype("f")}
    weight = rng.normal(size=(3, 3)).astype("f")
    assert apply(FoldAffineBefore, text, feed, {"w": weight}).ledger.firings == []
