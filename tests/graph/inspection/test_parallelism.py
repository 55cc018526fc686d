"""Work, span and branches of small graphs whose answers are known."""

import numpy as np
import pytest

from lepton_ai.graph.inspection.inspect import inspect_graph

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


@pytest.fixture
def side(write):
    def measured(text, **weights):
        return inspect_graph(write(f"{HEAD} {text}", **weights)).parallelism

    return measured


def test_a_chain_has_no_branches(side):
    one = side("g (float[4] x) => (float[4] y) { a = Abs (x) b = Neg (a) y = Exp (b) }")
    assert (one.nodes, one.longest_chain, one.ratio, one.branches) == (3, 3, 1.0, ())
    assert one.work == one.span == 3 * 8


def test_two_branches_and_their_weights(side):
    one = side(
        """g (float[4, 4] x) => (float[4, 4] y)
        { a = MatMul (x, v) b = MatMul (x, w) c = Relu (b) y = Add (a, c) }""",
        v=np.ones((4, 4), "f"),
        w=np.ones((4, 4), "f"),
    )
    product, unary, binary = 64 + 48, 32, 48
    assert one.work == 2 * product + unary + binary
    assert one.span == product + unary + binary
    assert one.ratio == round(one.work / one.span, 3)
    assert one.longest_chain == 3
    (group,) = one.branches
    assert group == ("MatMul of b → Relu of c (2 nodes)", "MatMul of a")


def test_three_projections_that_meet_one_after_the_other(side):
    weights = {name: np.ones((4, 4), "f") for name in "kqv"}
    one = side(
        """g (float[4, 4] x) => (float[4, 4] y) {
            kx = MatMul (x, k) qx = MatMul (x, q) vx = MatMul (x, v)
            kt = Transpose <perm = [1, 0]> (kx)
            s = MatMul (qx, kt)
            p = Softmax (s)
            y = MatMul (p, vx)
        }""",
        **weights,
    )
    assert ("MatMul of kx → Transpose of kt (2 nodes)", "MatMul of qx") in one.branches
    outer = next(group for group in one.branches if "MatMul of vx" in group)
    assert outer[0] == "MatMul of kx → Softmax of p (5 nodes)"


def test_parallel_chains_of_one_fork_are_one_group(side):
    arms = " ".join(f"a{i} = Exp (x) b{i} = Tanh (a{i})" for i in range(5))
    one = side(
        f"""g (float[4] x) => (float[20] y)
        {{ {arms} y = Concat <axis = 0> (b0, b1, b2, b3, b4) }}"""
    )
    (group,) = one.branches
    assert sorted(group) == [f"Exp of a{i} → Tanh of b{i} (2 nodes)" for i in range(5)]


def test_woven_branches_are_told_as_far_as_they_are_not(side):
    one = side(
        """g (float[4] x) => (float[4] y, float[4] z) {
            a = Abs (x) b = Exp (x)
            p = Add (a, b) q = Mul (a, b)
            r = Neg (p) s = Neg (q)
            y = Sub (r, s) z = Div (p, q)
        }"""
    )
    assert one.branches == (("Abs of a", "Exp of b"),)
    assert one.longest_chain == 4


def test_separate_inputs_run_side_by_side(side):
    one = side(
        "g (float[4] x, float[4] z) => (float[4] y) { a = Abs (x) b = Exp (z) y = Add (a, b) }"
    )
    assert one.branches == (("Abs of a", "Exp of b"),)


def test_constants_take_no_step(side):
    one = side(
        """g (float[4] x) => (float[4] y) <float[4] w = {1.0, 2.0, 3.0, 4.0}>
        { c = Constant <value_int = 1> () e = Exp (w) y = Mul (x, e) }"""
    )
    assert (one.nodes, one.longest_chain, one.branches) == (3, 1, ())


def test_one_branch_of_an_if_runs(side):
    one = side(
        """g (bool c, float[4] x) => (float[4] y) {
            y = If (c) <
                then_branch = t () => (float[4] u) { p = Abs (x) u = Add (p, x) },
                else_branch = e () => (float[4] v) { v = Neg (x) }
            >
        }"""
    )
    assert one.nodes == 4
    assert one.work == one.span == 8 + 12
    assert one.longest_chain == 3


def test_chains_that_weigh_nothing_beside_the_others_are_left_out(side):
    one = side(
        """g (float[64, 64] x) => (float[64, 64] y)
        {
            a = MatMul (x, w) b = MatMul (x, v) s = Shape (x)
            c = Add (a, b) y = Reshape (c, s)
        }""",
        v=np.ones((64, 64), "f"),
        w=np.ones((64, 64), "f"),
    )
    assert one.branches == (("MatMul of a", "MatMul of b"),)


def test_a_graph_without_nodes(side):
    one = side("g (float[n] x) => (float[n] x) { }")
    assert (one.nodes, one.longest_chain, one.work, one.span, one.ratio) == (0, 0, 0, 0, 0.0)


def test_of_unknown_weights_the_nodes_are_compared(write):
    head = '<ir_version: 8, opset_import: ["" : 17, "some.where" : 1]>'
    text = f"""{head} g (float x) => (float y)
    {{ a = some.where.A (x) b = some.where.B (x) y = some.where.C (a, b) }}"""
    one = inspect_graph(write(text)).parallelism
    assert (one.work, one.ratio) == (0, 1.5)
