import numpy as np
import pytest

from lepton_ai.graph.rules.fold_constants import FoldConstants

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
FEED = {"x": np.float32([[1, 2, 3, 4]])}


def sites(done):
    return [firing.site for firing in done.ledger.firings]


def test_what_reads_constants_alone_becomes_a_weight(apply):
    text = (
        HEAD
        + """
    g (float[n, 4] x) => (float[n, 4] y)
    <float[4] a = {1.0, 2.0, 3.0, 4.0}>
    {
        two = Constant <value_float = 2.0> ()
        b = Mul (a, two)
        c = Exp (b)
        y = Add (x, c)
    }
    """
    )
    done = apply(FoldConstants, text, FEED)
    assert sites(done) == ["two:all", "b", "c"]
    assert done.operators == {"Add": 1}


def test_several_outputs_fold_at_once(apply):
    text = (
        HEAD
        + """
    g (float[n, 2] x) => (float[n, 2] y)
    <float[4] a = {1.0, 2.0, 3.0, 4.0}>
    { b, c = Split <axis = 0> (a)  d = Add (x, b)  y = Mul (d, c) }
    """
    )
    done = apply(FoldConstants, text, {"x": np.float32([[1, 2]])})
    assert done.operators == {"Add": 1, "Mul": 1}


def test_a_denied_node_stays_and_what_follows_it(apply):
    text = (
        HEAD
        + """
    g (float[n, 4] x) => (float[n, 4] y)
    <float[4] a = {1.0, 2.0, 3.0, 4.0}>
    { b = Neg (a)  c = Exp (b)  y = Add (x, c) }
    """
    )
    done = apply(FoldConstants, text, FEED, denied=frozenset({"b"}))
    assert done.operators == {"Neg": 1, "Exp": 1, "Add": 1}


def test_an_output_of_the_model_stays_a_node_under_its_name(apply):
    text = (
        HEAD
        + """
    g (float[n, 4] x) => (float[n, 4] y, float[4] c)
    <float[4] a = {1.0, 2.0, 3.0, 4.0}>
    { c = Neg (a)  y = Add (x, c) }
    """
    )
    done = apply(FoldConstants, text, FEED)
    assert done.operators == {"Constant": 1, "Add": 1}


def test_a_weight_that_a_caller_may_give_is_not_constant(apply):
    text = (
        HEAD
        + """
    g (float[n, 4] x, float[4] a = {1.0, 2.0, 3.0, 4.0}) => (float[n, 4] y)
    { b = Neg (a)  y = Add (x, b) }
    """
    )
    done = apply(FoldConstants, text, {**FEED, "a": np.float32([5, 5, 5, 5])})
    assert done.ledger.firings == []


def test_numbers_drawn_by_chance_are_not_folded(apply):
    text = (
        HEAD
        + """
    g (float[n, 4] x) => (bool[n, 4] y)
    <float[4] a = {1.0, 2.0, 3.0, 4.0}, float most = {9.0}>
    { b = RandomUniformLike (a)  c = Add (x, b)  y = Less (c, most) }
    """
    )
    assert apply(FoldConstants, text, FEED).ledger.firings == []


def test_what_would_grow_the_file_is_a_near_miss(apply):
    text = (
        HEAD
        + """
    g (float[n] x) => (float[1000, 1000] y)
    <int64[2] wide = {1000, 1000}, float one = {1.0}>
    { a = Expand (one, wide)  s = ReduceSum <keepdims = 0> (x)  y = Add (a, s) }
    """
    )
    done = apply(FoldConstants, text, {"x": np.float32([1])})
    assert done.ledger.firings == []
    assert done.ledger.near_misses[0].why == "its answer would add 3999980 bytes to the file"


def test_a_weight_that_is_only_turned_is_folded_whatever_its_size(apply):
    text = (
        HEAD
        + """
    g (float[n, 600] x) => (float[n, 600] y)
    { t = Transpose <perm = [1, 0]> (w)  y = MatMul (x, t) }
    """
    )
    weights = {"w": np.random.default_rng(0).normal(size=(600, 600)).astype("f")}
    done = apply(FoldConstants, text, {"x": np.ones((1, 600), "f")}, weights)
    assert done.operators == {"MatMul": 1}


def test_a_weight_that_something_else_reads_is_not_stored_twice(apply):
    text = (
        HEAD
        + """
    g (float[n, 600] x) => (float[n, 600] y)
    { t = Transpose <perm = [1, 0]> (w)  a = MatMul (x, t)  y = MatMul (a, w) }
    """
    )
    weights = {"w": np.random.default_rng(0).normal(size=(600, 600)).astype("f")}
    done = apply(FoldConstants, text, {"x": np.ones((1, 600), "f")}, weights)
    assert "would add 1440000 bytes" in done.ledger.near_misses[0].why


@pytest.mark.parametrize("flag", [0, 1])
def test_the_branch_that_is_always_taken_stands_where_its_if_was(apply, flag):
    text = (
        HEAD
        + """
    g (float[n, 4] x) => (float[n, 4] y, float[n, 4] z)
    <float[4] a = {1.0, 2.0, 3.0, 4.0}, int64 flag = {FLAG}>
    {
        c = Cast <to = 9> (flag)
        y, z = If (c) <
            then_branch = t () => (float[n, 4] t1, float[n, 4] t2)
                <float[1] k = {3.0}> { t1 = Mul (x, k)  t2 = Identity (x) },
            else_branch = e () => (float[n, 4] e1, float[n, 4] e2)
                <float[1] k = {5.0}> { p = Neg (a)  e1 = Add (x, p)  e2 = Add (x, k) }
        >
    }
    """.replace("FLAG", str(flag))
    )
    done = apply(FoldConstants, text, FEED)
    assert "If" not in done.operators
    assert done.operators == ({"Mul": 1, "Identity": 1} if flag else {"Add": 2})


def test_a_branch_folds_what_it_reads_from_outside(apply):
    text = (
        HEAD
        + """
    g (bool c, float[n, 4] x) => (float[n, 4] y)
    <float[4] a = {1.0, 2.0, 3.0, 4.0}>
    {
        y = If (c) <
            then_branch = t () => (float[n, 4] u) { p = Neg (a)  u = Add (x, p) },
            else_branch = e () => (float[n, 4] v) { v = Relu (x) }
        >
    }
    """
    )
    done = apply(FoldConstants, text, {"c": np.array(True), **FEED})
    assert sites(done) == ["p"]
    assert done.operators == {"If": 1, "Add": 1, "Relu": 1}


def test_a_quantised_weight_stays_quantised(apply):
    text = (
        HEAD
        + """
    g (float[n, 4] x) => (float[n, 4] y)
    <int8[4] q = {1, 2, 3, 4}, float s = {0.5}, int8 z = {0}>
    { w = DequantizeLinear (q, s, z)  y = Mul (x, w) }
    """
    )
    assert apply(FoldConstants, text, FEED).ledger.firings == []


def test_text_folds(apply):
    text = (
        HEAD
        + """
    g (int64[n] x) => (string[n] y)
    <int64[1] zero = {0}>
    { t = Constant <value_strings = ["a", "b"]> ()  u = Identity (t)  y = Gather (u, x) }
    """
    )
    done = apply(FoldConstants, text, {"x": np.int64([1, 0, 1])})
    assert done.after["y"].tolist() == ["b", "a", "b"]
    assert done.operators == {"Gather": 1}


@pytest.mark.parametrize("operator", ["Hardmax", "LogSoftmax", "Softmax"])
@pytest.mark.parametrize(("opset", "folds"), [(12, 0), (13, 1)])
def test_a_softmax_over_several_axes_at_once_is_left_to_the_engine(apply, operator, opset, folds):
    text = f"""
    <ir_version: 8, opset_import: ["" : {opset}]>
    g (float[2, 3, 4] x) => (float[2, 3, 4] y) {{ a = {operator} <axis = 1> (w)  y = Add (x, a) }}
    """
    weight = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f")
    done = apply(FoldConstants, text, {"x": weight}, {"w": weight})
    assert len(done.ledger.firings) == folds


def test_how_a_number_is_spelt_is_left_to_the_engine(apply):
    text = HEAD + "g (float x) => (string[2] y) <float[2] w = {1.0, 0.1}> { y = Cast <to = 8> (w) }"
    assert apply(FoldConstants, text, {"x": np.array(0, "f")}).ledger.firings == []


def test_a_branch_may_answer_with_a_weight_of_its_own(apply):
    text = (
        HEAD
        + """
    g (float[2] x) => (float[2] y) <bool c = {1}>
    {
        b = If (c) <
            then_branch = t () => (float[2] w) <float[2] w = {5.0, 6.0}> { u = Neg (x) },
            else_branch = e () => (float[2] v) { v = Neg (x) }
        >
        y = Add (x, b)
    }
    """
    )
    assert apply(FoldConstants, text, {"x": np.zeros(2, "f")}).operators == {"Add": 1}


def test_what_engines_compute_otherwise_is_left_to_them(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 19]>
    g (float[1, 1, h, w] x) => (float[1, 1, h, w] y)
    <float[4] scales = {1.0, 1.0, 0.6, 0.6}>
    {
        a = Resize <mode = "linear", coordinate_transformation_mode = "align_corners">
            (image, , scales)
        y = Add (x, a)
    }
    """
    image = np.arange(8, dtype="f").reshape(1, 1, 2, 4)
    done = apply(FoldConstants, text, {"x": np.zeros((1, 1, 1, 2), "f")}, {"image": image})
    assert done.ledger.firings == []
