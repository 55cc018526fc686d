import numpy as np
import pytest

from lepton_ai.graph.rules.fold_affine import FoldAffine

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
CONV = (
    HEAD
    + """
g (float[n, 4, h, 7] x) => (float[n, 6, a, b] y)
{
    made = LAYER
    y = STEP
}
"""
)
LAYERS = {
    "Conv": ("Conv <pads = [1, 1, 1, 1]> (x, w, b)", (6, 4, 3, 3)),
    "Conv without bias": ("Conv (x, w)", (6, 4, 3, 3)),
    "Conv in groups": ("Conv <group = 2> (x, w, b)", (6, 2, 3, 3)),
    "ConvTranspose": ("ConvTranspose <strides = [2, 2]> (x, w, b)", (4, 6, 2, 2)),
    "ConvTranspose in groups": (
        "ConvTranspose <group = 2, strides = [2, 2], output_padding = [1, 1]> (x, w)",
        (4, 3, 2, 2),
    ),
}
STEPS = {
    "BatchNormalization": "BatchNormalization (made, c, d, e, v)",
    "Mul": "Mul (made, k)",
    "Mul on the left": "Mul (k, made)",
    "Mul by a number": "Mul (made, number)",
    "Div": "Div (made, k)",
    "Add": "Add (made, k)",
    "Sub": "Sub (made, k)",
    "Sub from": "Sub (k, made)",
    "Add a number": "Add (number, made)",
}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("f")


def weights(shape):
    return {
        "w": numbers(*shape),
        "b": numbers(6, seed=1),
        "k": numbers(6, 1, 1, seed=2),
        "number": np.array(1.7, "f"),
        **{name: numbers(6, seed=3) for name in "cde"},
        "v": np.abs(numbers(6, seed=4)),
    }


IMAGES = {"x": numbers(2, 4, 8, 7, seed=9)}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("step", STEPS)
def test_what_follows_a_convolution_goes_into_it(apply, layer, step):
    operator, shape = LAYERS[layer]
    text = CONV.replace("LAYER", operator).replace("STEP", STEPS[step])
    done = apply(FoldAffine, text, IMAGES, weights(shape))
    assert [firing.site for firing in done.ledger.firings] == ["y"]
    assert done.operators == {layer.split()[0]: 1}


def test_a_whole_chain_goes_in_and_its_end_keeps_its_name(apply):
    text = CONV.replace("LAYER", "Conv (x, w, b)").replace(
        "y = STEP", "p = Mul (made, k) q = Add (p, number) y = BatchNormalization (q, c, d, e, v)"
    )
    done = apply(FoldAffine, text, IMAGES, weights((6, 4, 3, 3)))
    assert [firing.site for firing in done.ledger.firings] == ["p", "q", "y"]
    assert done.operators == {"Conv": 1}
    assert set(done.model.graph.initializers) & set("wbkcdev") == set()


def test_a_denied_step_stays_and_the_rest_goes(apply):
    text = CONV.replace("LAYER", "Conv (x, w, b)").replace(
        "y = STEP", "p = Mul (made, k) y = Add (p, number)"
    )
    done = apply(FoldAffine, text, IMAGES, weights((6, 4, 3, 3)), denied=frozenset({"y"}))
    assert [firing.site for firing in done.ledger.firings] == ["p"]
    assert done.operators == {"Conv": 1, "Add": 1}


GEMM = (
    HEAD
    + """
g (float[n, 4] x) => (float[n, 6] y)
{
    made = LAYER
    y = STEP
}
"""
)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("Gemm (x, w, b)", (4, 6)),
        ("Gemm <transB = 1, alpha = 0.5, beta = 3.0> (x, w, b)", (6, 4)),
        ("Gemm <alpha = 2.0> (x, w)", (4, 6)),
        ("Gemm <beta = 0.5> (x, w, number)", (4, 6)),
        ("Gemm <beta = 0.5> (x, w, row)", (4, 6)),
    ],
)
@pytest.mark.parametrize("step", [STEPS["BatchNormalization"], "Mul (made, b)", "Add (b, made)"])
def test_what_follows_a_gemm_goes_into_it(apply, layer, shape, step):
    text = GEMM.replace("LAYER", layer).replace("STEP", step)
    given = {**weights(shape), "row": numbers(1, 6, seed=5)}
    done = apply(FoldAffine, text, {"x": numbers(3, 4, seed=9)}, given)
    assert done.operators == {"Gemm": 1}


def test_a_normalised_product_leaves_an_addition(apply):
    text = GEMM.replace("LAYER", "MatMul (x, w)").replace("STEP", STEPS["BatchNormalization"])
    done = apply(FoldAffine, text, {"x": numbers(3, 4, seed=9)}, weights((4, 6)))
    assert done.operators == {"MatMul": 1, "Add": 1}


LAYER_SCALE = (
    HEAD
    + """
g (float[n, t, u, 4] x) => (float[n, 6, t, u] y)
{
    made = MatMul (x, w)
    biased = Add (made, b)
    scaled = STEP
    y = Transpose <perm = [0, 3, 1, 2]> (scaled)
}
"""
)


def test_a_layer_scale_goes_past_the_bias_into_the_product(apply):
    text = LAYER_SCALE.replace("STEP", "Mul (b, biased)")
    done = apply(FoldAffine, text, {"x": numbers(2, 3, 5, 4)}, weights((4, 6)))
    assert done.operators == {"MatMul": 1, "Add": 1, "Transpose": 1}


def test_a_layer_scale_goes_past_a_transpose_and_a_bias_of_one_number(apply):
    text = (
        LAYER_SCALE.replace("STEP", "Add (biased, number)")
        .replace("biased = Add (made, b)", "biased = Identity (made)")
        .replace("y = Transpose", "moved = Transpose")
        .replace("}", "    y = Mul (moved, k)\n}")
    )
    done = apply(FoldAffine, text, {"x": numbers(2, 3, 5, 4)}, weights((4, 6)))
    assert done.operators["Mul"] == 0
    assert done.operators["Add"] == 1


def test_the_bias_of_a_product_is_no_finding(apply):
    text = LAYER_SCALE.replace("STEP", "Relu (biased)")
    done = apply(FoldAffine, text, {"x": numbers(2, 3, 5, 4)}, weights((4, 6)))
    assert done.ledger.firings == done.ledger.near_misses == []


ATTENTION = (
    HEAD
    + """
g (float[n, t, 8] x) => (float[n, 2, t, t] y)
<int64[4] heads = {0, -1, 2, 4}>
{
    q = MatMul (x, wq)
    qb = Add (q, b)
    qh = Reshape (qb, heads)
    asked = Shape (qh)
    qt = Transpose <perm = [0, 2, 1, 3]> (qh)
    k = MatMul (x, wk)
    kh = Reshape (k, heads)
    kt = Transpose <perm = [0, 2, 3, 1]> (kh)
    SCALED
}
"""
)
HEADS = {"wq": numbers(8, 8), "wk": numbers(8, 8, seed=1), "b": numbers(8, seed=2)}


@pytest.mark.parametrize(
    "scaled",
    [
        "qs = Mul (qt, scale) ks = Mul (scale, kt) y = MatMul (qs, ks)",
        "product = MatMul (qt, kt) y = Div (product, scale)",
    ],
)
def test_the_scale_of_attention_goes_into_the_projections(apply, scaled):
    text = ATTENTION.replace("SCALED", scaled)
    given = {**HEADS, "scale": np.array([0.35], "f")}
    done = apply(FoldAffine, text, {"x": numbers(2, 5, 8, seed=3)}, given)
    assert done.operators["Mul"] == done.operators["Div"] == 0
    assert done.operators["MatMul"] == 3


def test_a_scale_that_varies_along_heads_does_not_pass_a_reshape(apply):
    text = ATTENTION.replace("SCALED", "qs = Mul (qt, scale) y = MatMul (qs, kt)")
    given = {**HEADS, "scale": numbers(4, seed=7)}
    done = apply(FoldAffine, text, {"x": numbers(2, 5, 8, seed=3)}, given)
    assert done.ledger.firings == []


def misses(done):
    assert done.ledger.firings == []
    return " ".join(miss.why for miss in done.ledger.near_misses)


def test_an_answer_that_is_read_elsewhere_stays(apply):
    text = CONV.replace("LAYER", "Conv (x, w, b)").replace(
        "y = STEP", "p = Mul (made, k) y = Add (p, made)"
    )
    done = apply(FoldAffine, text, IMAGES, weights((6, 4, 3, 3)))
    assert "read elsewhere" in misses(done)


def test_an_answer_that_is_an_output_stays(apply):
    text = CONV.replace("LAYER", "Conv (x, w, b)").replace("STEP", "Mul (made, k)")
    text = text.replace("b] y)", "b] y, float[n, 6, a, b] made)")
    done = apply(FoldAffine, text, IMAGES, weights((6, 4, 3, 3)))
    assert "read elsewhere" in misses(done)


def test_a_normalisation_by_the_batch_stays(apply):
    text = CONV.replace("LAYER", "Conv (x, w, b)").replace(
        "y = STEP", "y, m, s = BatchNormalization <training_mode = 1> (made, c, d, e, v)"
    )
    done = apply(FoldAffine, text, IMAGES, weights((6, 4, 3, 3)))
    assert "training mode" in misses(done)


def test_a_weight_that_a_caller_may_give_stays(apply):
    text = CONV.replace("LAYER", "Conv (x, w, b)").replace("STEP", "Mul (made, k)")
    text = text.replace("7] x)", "7] x, float[6, 4, 3, 3] w)")
    done = apply(FoldAffine, text, IMAGES, weights((6, 4, 3, 3)))
    assert done.ledger.firings == []


def test_a_bias_that_is_computed_stays(apply):
    text = CONV.replace("LAYER", "Conv (x, w, computed)").replace("STEP", "Mul (made, k)")
    text = text.replace("made =", "computed = Tanh (b)\n    made =")
    done = apply(FoldAffine, text, IMAGES, weights((6, 4, 3, 3)))
    assert "bias of Conv" in misses(done)


def test_a_constant_that_widens_the_answer_stays(apply):
    text = CONV.replace("LAYER", "Conv (x, w)").replace("STEP", "Mul (made, k)")
    done = apply(FoldAffine, text, IMAGES, weights((1, 4, 3, 3)))
    assert done.ledger.firings == []
    text = text.replace("float[n, 6, a, b] y", "float[1, n, 6, a, b] y").replace("k)", "far)")
    done = apply(FoldAffine, text, IMAGES, {**weights((6, 4, 3, 3)), "far": numbers(1, 1, 6, 1, 1)})
    assert done.ledger.firings == []


def test_a_scale_along_another_axis_stays(apply):
    text = CONV.replace("LAYER", "Conv <pads = [1, 1, 1, 1]> (x, w)").replace(
        "STEP", "Mul (made, l)"
    )
    done = apply(FoldAffine, text, IMAGES, {**weights((6, 4, 3, 3)), "l": numbers(7)})
    assert done.ledger.firings == []


SHARED = """
g (float[n, 4, 8, 7] x) => (float[n, 6, a, b] y, float[n, 6, a, b] z)
{
    made = Conv (x, w)
    y = Mul (made, k)
    z = Conv (x, w)
}
"""


def test_a_small_weight_with_two_readers_is_copied(apply):
    done = apply(FoldAffine, HEAD + SHARED, IMAGES, weights((6, 4, 3, 3)))
    assert done.operators == {"Conv": 2}


def test_a_large_weight_with_two_readers_stays(apply):
    text = HEAD + SHARED.replace("n, 4, 8, 7", "n, 256, 3, 3").replace("n, 6,", "n, 40,")
    given = {"w": numbers(40, 256, 3, 3), "k": numbers(40, 1, 1)}
    done = apply(FoldAffine, text, {"x": numbers(1, 256, 3, 3)}, given)
    assert "too large to copy" in misses(done)


def test_a_scale_that_half_precision_cannot_hold_stays(apply):
    text = CONV.replace("float", "float16").replace("LAYER", "Conv (x, w)")
    text = text.replace("STEP", "Mul (made, k)")
    given = {"w": numbers(6, 4, 3, 3).astype("e"), "k": np.full((6, 1, 1), 6e4, "e")}
    feed = {"x": numbers(1, 4, 8, 7).astype("e") * np.float16(1e-3)}
    done = apply(FoldAffine, text, feed, given)
    assert "do not fit" in misses(done)


def test_half_precision_is_folded_where_it_fits(apply):
    text = CONV.replace("float", "float16").replace("LAYER", "Conv (x, w)")
    text = text.replace("STEP", "Mul (made, k)")
    given = {"w": numbers(6, 4, 3, 3).astype("e"), "k": numbers(6, 1, 1).astype("e")}
    done = apply(FoldAffine, text, {"x": numbers(1, 4, 8, 7).astype("e")}, given)
    assert done.operators == {"Conv": 1}


BRANCHES = (
    HEAD
    + """
g (float[n, 4, 8, 7] x, bool which) => (float[n, 6, a, b] y)
{
    y = If (which) <
        then_branch = yes () => (float[n, 6, a, b] p) { made = Conv (x, w) p = Mul (made, k) },
        else_branch = no () => (float[n, 6, a, b] q) { q = Conv (x, w) }
    >
}
"""
)


@pytest.mark.parametrize("which", [True, False])
def test_a_branch_folds_a_weight_of_the_graph_around_it(apply, which):
    feed = {**IMAGES, "which": np.array(which)}
    done = apply(FoldAffine, BRANCHES, feed, weights((6, 4, 3, 3)))
    assert done.operators == {"If": 1, "Conv": 2}


def test_a_long_chain_of_additions_becomes_one_bias(apply):
    lines = "\n".join(f"v{i + 1} = Add (v{i}, number)" for i in range(300))
    text = CONV.replace("LAYER", "Conv (x, w, b)").replace(
        "y = STEP", f"v0 = Mul (made, k) {lines} y = Identity (v300)"
    )
    done = apply(FoldAffine, text, IMAGES, weights((6, 4, 3, 3)))
    assert done.operators == {"Conv": 1, "Identity": 1}
