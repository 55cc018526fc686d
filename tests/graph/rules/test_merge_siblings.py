import time

import numpy as np
import onnx_ir as ir

from lepton_ai.graph.applying import apply_rule
from lepton_ai.graph.rules.merge_siblings import MergeSiblings

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
QKV = (
    HEAD
    + """
g (float[batch, tokens, 8] x) => (float[batch, 2, tokens, 4] q, float[batch, 2, tokens, 4] k,
                                  float[batch, 2, tokens, 4] v)
<int64[4] heads = {0, 0, 2, 4}>
{
    q0 = MatMul (x, wq)
    q1 = Add (q0, bq)
    q2 = Reshape (q1, heads)
    q = Transpose <perm = [0, 2, 1, 3]> (q2)
    k0 = MatMul (x, wk)
    k1 = Add (bk, k0)
    k2 = Reshape (k1, heads)
    k = Transpose <perm = [0, 2, 1, 3]> (k2)
    v0 = MatMul (x, wv)
    v1 = Add (v0, bv)
    v2 = Reshape (v1, heads)
    v = Transpose <perm = [0, 2, 1, 3]> (v2)
}
"""
)
PLAIN = (
    HEAD
    + """
g (float[batch, 8] x) => (float[batch, 4] a, float[batch, 5] b, float[batch, 6] c)
{
    a = MatMul (x, wa)
    b = MatMul (x, wb)
    c = MatMul (x, wc)
}
"""
)


def rng(seed=0):
    return np.random.default_rng(seed)


def draw(*shape, dtype="f", seed=0):
    return rng(seed + sum(shape)).normal(size=shape).astype(dtype)


def qkv_weights():
    weights = {f"w{name}": draw(8, 8, seed=at) for at, name in enumerate("qkv")}
    return weights | {f"b{name}": draw(8, seed=9 + at) for at, name in enumerate("qkv")}


def plain_weights():
    return {"wa": draw(8, 4), "wb": draw(8, 5), "wc": draw(8, 6)}


def tokens():
    return {"x": draw(2, 3, 8)}


def test_query_key_and_value_are_one_product_whose_heads_are_split(apply):
    done = apply(MergeSiblings, QKV, tokens(), qkv_weights())
    assert done.operators == {"MatMul": 1, "Add": 1, "Reshape": 1, "Transpose": 1, "Split": 1}
    assert [firing.site for firing in done.ledger.firings] == ["q1"]


def test_the_weights_are_replaced_not_doubled(apply):
    done = apply(MergeSiblings, QKV, tokens(), qkv_weights())
    sizes = {name: v.const_value.size for name, v in done.model.graph.initializers.items()}
    assert sum(sizes.values()) < 3 * (8 * 8 + 8) + 16


def test_keys_with_their_last_axes_swapped_are_swapped_after_the_split(apply):
    text = QKV.replace("k = Transpose <perm = [0, 2, 1, 3]>", "k = Transpose <perm = [0, 2, 3, 1]>")
    text = text.replace("float[batch, 2, tokens, 4] k", "float[batch, 2, 4, tokens] k")
    done = apply(MergeSiblings, text, tokens(), qkv_weights())
    assert done.operators == {"MatMul": 1, "Add": 1, "Reshape": 1, "Transpose": 2, "Split": 1}
    assert done.after["k"].shape == (2, 2, 4, 3)


def test_heads_left_open_in_a_computed_target_stay_open(apply):
    text = QKV.replace("<int64[4] heads = {0, 0, 2, 4}>", "<int64[2] tail = {-1, 4}>").replace(
        "    q0 = MatMul",
        "    n = Shape <start = 0, end = 2> (x)\n"
        "    heads = Concat <axis = 0> (n, tail)\n    q0 = MatMul",
    )
    done = apply(MergeSiblings, text, tokens(), qkv_weights())
    assert done.operators["Reshape"] == done.operators["Transpose"] == 1


def test_reshapes_that_differ_stay_below_the_split(apply):
    text = QKV.replace("v2 = Reshape (v1, heads)", "v2 = Reshape (v1, other)")
    text = text.replace(
        "heads = {0, 0, 2, 4}", "heads = {0, 0, 2, 4}, int64[4] other = {0, 0, 4, 2}"
    )
    text = text.replace("float[batch, 2, tokens, 4] v", "float[batch, 4, tokens, 2] v")
    done = apply(MergeSiblings, text, tokens(), qkv_weights())
    assert done.operators == {"MatMul": 1, "Add": 1, "Split": 1, "Reshape": 3, "Transpose": 3}


def test_a_sibling_without_bias_is_given_one_that_changes_nothing(apply):
    text = QKV.replace("    k1 = Add (bk, k0)\n", "").replace("Reshape (k1", "Reshape (k0")
    weights = qkv_weights()
    del weights["bk"]
    done = apply(MergeSiblings, text, tokens(), weights)
    assert done.operators["MatMul"] == 1
    assert np.array_equal(done.before["k"], done.after["k"])
    bias = next(v for n, v in done.model.graph.initializers.items() if n.endswith("merged_bias"))
    assert np.signbit(bias.const_value.numpy()[8:16]).all()


def test_outputs_keep_their_names_and_widths(apply):
    done = apply(MergeSiblings, PLAIN, {"x": draw(3, 8)}, plain_weights())
    assert done.operators == {"MatMul": 1, "Split": 1}
    assert {name: array.shape for name, array in done.after.items()} == {
        "a": (3, 4),
        "b": (3, 5),
        "c": (3, 6),
    }


def test_before_opset_13_the_split_says_its_widths_in_an_attribute(apply):
    text = PLAIN.replace('"" : 17', '"" : 12')
    done = apply(MergeSiblings, text, {"x": draw(3, 8)}, plain_weights())
    split = next(node for node in done.model.graph if node.op_type == "Split")
    assert list(split.attributes.get_ints("split")) == [4, 5, 6]


def test_float16_and_float64_stay_what_they_are(apply):
    for kind, dtype in (("float16", np.float16), ("double", np.float64)):
        text = PLAIN.replace("float[", f"{kind}[")
        weights = {name: one.astype(dtype) for name, one in plain_weights().items()}
        done = apply(MergeSiblings, text, {"x": draw(3, 8).astype(dtype)}, weights)
        assert done.operators["MatMul"] == 1


def test_a_product_that_is_an_output_before_its_bias_keeps_both(apply):
    text = QKV.replace(
        "(float[batch, 2, tokens, 4] q,",
        "(float[batch, tokens, 8] q0, float[batch, 2, tokens, 4] q,",
    )
    done = apply(MergeSiblings, text, tokens(), qkv_weights())
    assert done.operators["MatMul"] == 1
    assert done.operators["Add"] == 2
    assert "q0" in done.after


def test_two_products_without_bias_are_left_since_the_split_costs_as_much(apply):
    text = PLAIN.replace("    c = MatMul (x, wc)\n", "").replace(", float[batch, 6] c", "")
    weights = plain_weights()
    del weights["wc"]
    done = apply(MergeSiblings, text, {"x": draw(3, 8)}, weights)
    assert done.ledger.firings == []
    assert "as many nodes" in done.ledger.near_misses[0].why


def test_a_weight_that_is_read_elsewhere_is_left(apply):
    text = PLAIN.replace("c = MatMul (x, wc)", "c = MatMul (x, wc)\n    d = Neg (wa)").replace(
        "float[batch, 6] c", "float[batch, 6] c, float[8, 4] d"
    )
    done = apply(MergeSiblings, text, {"x": draw(3, 8)}, plain_weights())
    assert done.ledger.firings == []
    assert any("read elsewhere" in miss.why for miss in done.ledger.near_misses)


def test_a_weight_that_a_caller_may_replace_is_left(apply):
    text = PLAIN.replace("(float[batch, 8] x)", "(float[batch, 8] x, float[8, 4] wa)")
    done = apply(MergeSiblings, text, {"x": draw(3, 8)}, plain_weights())
    assert done.ledger.firings == []
    assert done.operators["MatMul"] == 3


def test_a_bias_that_is_not_one_number_per_channel_stays_an_addition(apply):
    weights = qkv_weights() | {"bv": draw(3, 8)}
    done = apply(MergeSiblings, QKV, tokens(), weights)
    assert done.operators["MatMul"] == 1
    assert done.operators["Add"] == 2


def test_a_denied_site_is_left_alone(apply):
    done = apply(MergeSiblings, QKV, tokens(), qkv_weights(), denied=frozenset({"q1"}))
    assert done.operators["MatMul"] == 3


def test_three_gemms_are_one_with_their_biases(apply):
    text = PLAIN
    for name in "abc":
        text = text.replace(
            f"{name} = MatMul (x, w{name})", f"{name} = Gemm <transB = 1> (x, w{name}, b{name})"
        )
    weights = {name: one.T.copy() for name, one in plain_weights().items()}
    weights |= {"ba": draw(4), "bb": draw(1, 5), "bc": draw(1)}
    done = apply(MergeSiblings, text, {"x": draw(3, 8)}, weights)
    assert done.operators == {"Gemm": 1, "Split": 1}


def test_gemms_of_other_settings_are_no_siblings(apply):
    text = PLAIN.replace("a = MatMul (x, wa)", "a = Gemm <alpha = 2.0> (x, wa)")
    text = text.replace("MatMul (x, wb)", "Gemm (x, wb)").replace("MatMul (x, wc)", "Gemm (x, wc)")
    done = apply(MergeSiblings, text, {"x": draw(3, 8)}, plain_weights())
    assert done.operators["Gemm"] == 3


CONV = (
    HEAD
    + """
g (float[batch, C, 6, 6] x) => (float[batch, 4, 6, 6] a, float[batch, 4, 6, 6] b,
                                float[batch, 4, 6, 6] c)
{
    a0 = Conv <kernel_shape = [1, 1]> (x, wa, ba)
    a = Relu (a0)
    b0 = Conv <kernel_shape = [1, 1]> (x, wb)
    b = Relu (b0)
    c0 = Conv <kernel_shape = [1, 1]> (x, wc)
    c = Relu (c0)
}
"""
)


def conv_weights(channels):
    shape = (4, channels, 1, 1)
    weights = {f"w{name}": draw(*shape, seed=at) for at, name in enumerate("abc")}
    return weights | {"ba": draw(4)}


def test_convolutions_are_one_and_their_activation_comes_before_the_split(apply):
    text = CONV.replace("C, 6", "64, 6")
    done = apply(MergeSiblings, text, {"x": draw(2, 64, 6, 6)}, conv_weights(64))
    assert done.operators == {"Conv": 1, "Relu": 1, "Split": 1}


def test_convolutions_whose_activations_differ_are_left(apply):
    text = CONV.replace("C, 6", "64, 6").replace("c = Relu", "c = Sigmoid")
    done = apply(MergeSiblings, text, {"x": draw(2, 64, 6, 6)}, conv_weights(64))
    assert done.operators["Conv"] == 3
    assert "inside the convolution" in done.ledger.near_misses[0].why


def test_convolutions_that_compute_little_are_left(apply):
    text = CONV.replace("C, 6", "3, 6")
    done = apply(MergeSiblings, text, {"x": draw(2, 3, 6, 6)}, conv_weights(3))
    assert done.operators["Conv"] == 3
    assert "copying" in done.ledger.near_misses[0].why


def test_small_convolutions_that_compute_little_are_one_even_so(apply):
    text = CONV.replace("C, 6", "3, 6").replace("batch", "2")
    done = apply(MergeSiblings, text, {"x": draw(2, 3, 6, 6)}, conv_weights(3))
    assert done.operators["Conv"] == 1


def test_kernels_of_other_sizes_are_no_siblings(apply):
    text = CONV.replace("C, 6", "64, 6").replace(
        "c0 = Conv <kernel_shape = [1, 1]>",
        "c0 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]>",
    )
    weights = conv_weights(64) | {"wc": draw(4, 64, 3, 3)}
    done = apply(MergeSiblings, text, {"x": draw(2, 64, 6, 6)}, weights)
    assert done.operators["Conv"] == 2


def test_a_split_that_is_there_goes_below_what_its_parts_share(apply):
    text = (
        HEAD
        + """
g (float[batch, tokens, 24] x) => (float[batch, 2, tokens, 4] a, float[batch, 4, tokens, 4] b)
<int64[2] widths = {8, 16}, int64[4] two = {0, 0, 2, 4}, int64[4] four = {0, 0, 4, 4}>
{
    a0, b0 = Split <axis = -1> (x, widths)
    a1 = Reshape (a0, two)
    a = Transpose <perm = [0, 2, 1, 3]> (a1)
    b1 = Reshape (b0, four)
    b = Transpose <perm = [0, 2, 1, 3]> (b1)
}
"""
    )
    done = apply(MergeSiblings, text, {"x": draw(2, 3, 24)})
    assert done.operators == {"Reshape": 1, "Transpose": 1, "Split": 1}


def test_a_part_that_is_an_output_holds_the_split_back(apply):
    text = (
        HEAD
        + """
g (float[batch, 8] x) => (float[batch, 4] a0, float[batch, 4] a, float[batch, 4] b)
<int64[2] widths = {4, 4}>
{
    a0, b0 = Split <axis = 1> (x, widths)
    a = Relu (a0)
    b = Relu (b0)
}
"""
    )
    done = apply(MergeSiblings, text, {"x": draw(2, 8)})
    assert done.operators == {"Split": 1, "Relu": 2}


def test_siblings_inside_a_branch_read_the_outer_graph(apply):
    text = (
        HEAD
        + """
g (bool flag, float[batch, 8] x) => (float[batch, 15] y)
{
    y = If (flag) <
        then_branch = t () => (float[batch, 15] yt) {
            a = MatMul (x, wa)
            b = MatMul (x, wb)
            c = MatMul (x, wc)
            yt = Concat <axis = 1> (a, b, c)
        },
        else_branch = e () => (float[batch, 15] ye) {
            s = ReduceSum <keepdims = 1> (x, axis)
            w = Expand (s, wide)
            ye = Identity (w)
        }
    >
}
"""
    )
    weights = plain_weights() | {"axis": np.array([1]), "wide": np.array([1, 15])}
    for flag in (True, False):
        done = apply(MergeSiblings, text, {"flag": np.array(flag), "x": draw(3, 8)}, weights)
        assert done.operators["MatMul"] == 1


def test_a_long_chain_of_siblings_takes_linear_time(write):
    body, weights = [], {}
    for at in range(600):
        for name in "abc":
            body.append(f"{name}{at} = MatMul (x{at}, w{name}{at})")
            weights[f"w{name}{at}"] = draw(4, 4)
        body.append(f"s{at} = Add (a{at}, b{at})")
        body.append(f"x{at + 1} = Add (s{at}, c{at})")
    text = HEAD + "g (float[n, 4] x0) => (float[n, 4] x600) {" + "\n".join(body) + "}"
    model = ir.load(write(text, **weights))
    for value in model.graph.all_nodes():
        value.outputs[0].shape = ir.Shape(["n", 4])
    began = time.perf_counter()
    ledger = apply_rule(model, MergeSiblings())
    assert len(ledger.firings) == 600
    assert time.perf_counter() - began < 10
