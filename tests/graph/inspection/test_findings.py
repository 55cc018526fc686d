"""What is found in small graphs, kind by kind, with its nodes and its saving; and what is not."""

import numpy as np
import onnx
import pytest
from onnx import helper as h
from onnx import numpy_helper

from lepton_ai.graph.inspection.inspect import inspect_graph

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


def weights(**shapes):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype("f") for name, shape in shapes.items()}


@pytest.fixture
def find(write):
    """Findings by kind."""

    def found(text, *, head=HEAD, **held):
        kinds = {}
        for finding in inspect_graph(write(f"{head} {text}", **held)).findings:
            kinds.setdefault(finding.kind, []).append(finding)
        return kinds

    return found


def test_dead_branches_are_told_apart(find):
    found = find(
        """g (float[4] x) => (float[4] y)
        { y = Abs (x) a = Neg (x) b = Exp (a) c = Tanh (x) }"""
    )
    assert [finding.nodes for finding in found["dead"]] == [
        ("Neg of a", "Exp of b"),
        ("Tanh of c",),
    ]
    assert found["dead"][0].saved_nodes == 2
    assert found["dead"][0].saved_bytes == 2 * 32


def test_weights_that_nobody_reads(find):
    found = find("g (float[4] x) => (float[4] y) { y = Abs (x) }", w=np.ones((8,), "f"))
    assert found["dead"][0].nodes == ("w",)
    assert found["dead"][0].saved_bytes == 32


def test_a_branch_that_is_never_taken(find):
    found = find(
        """g (float[4] x) => (float[4] y) <bool no = {0}> {
            y = If (no) <
                then_branch = t () => (float[4] u) { p = Neg (x) u = Abs (p) },
                else_branch = e () => (float[4] v) { v = Exp (x) }
            >
        }"""
    )
    (finding,) = found["dead"]
    assert finding.nodes == ("If of y", "Neg of p", "Abs of u")
    assert finding.saved_nodes == 2
    assert "then_branch is never taken" in finding.sentence


def test_constant_subgraphs(find):
    found = find(
        """g (float[n, 4] x) => (float[n, 4] y, int64[1] z)
        <float[4] w = {1.0, 2.0, 3.0, 4.0}, int64 one = {1}, int64[1] axes = {0}>
        {
            e = Exp (w) f = Neg (e) y = Mul (x, f)
            s = Shape (x) four = Gather (s, one) z = Unsqueeze (four, axes)
        }"""
    )
    assert [finding.nodes for finding in found["constant"]] == [
        ("Exp of e", "Neg of f"),
        ("Gather of four", "Unsqueeze of z"),
    ]
    assert found["constant"][0].saved_nodes == 2


def test_what_depends_on_a_symbolic_size_or_on_chance_is_not_constant(find):
    found = find(
        """g (float[n, 4] x) => (int64 z, float[4] r) <int64 zero = {0}, float[4] w = {1,2,3,4}>
        { s = Shape (x) z = Gather (s, zero) r = RandomNormalLike (w) }"""
    )
    assert "constant" not in found


def test_a_weight_that_a_caller_may_replace_is_not_constant(write):
    path = write(f"{HEAD} g (float[4] x) => (float[4] y) {{ e = Exp (w) y = Mul (x, e) }}",
                 w=np.ones(4, "f"))  # fmt: skip
    assert [finding.kind for finding in inspect_graph(path).findings] == ["constant"]
    proto = onnx.load(path)
    proto.graph.input.append(h.make_tensor_value_info("w", 1, [4]))
    onnx.save(proto, path)
    assert inspect_graph(path).findings == ()


def test_duplicates_across_operand_order_and_equal_weights(find):
    same = weights(v=(4, 4))["v"]
    found = find(
        """g (float[n, 4] x, float[n, 4] z) => (float[n, 4] y)
        { a = MatMul (x, v) b = MatMul (x, w) c = Add (a, z) d = Add (z, b) y = Sub (c, d) }""",
        v=same,
        w=same.copy(),
    )
    assert [finding.nodes for finding in found["duplicate"]] == [
        ("MatMul of a", "MatMul of b"),
        ("Add of c", "Add of d"),
    ]
    first = found["duplicate"][0]
    assert (first.saved_nodes, first.saved_macs) == (1, 16)
    assert found["repeated-weights"][0].nodes == ("v", "w")
    assert found["repeated-weights"][0].saved_bytes == 64


@pytest.mark.parametrize(
    "body",
    [
        "a = Sub (x, z) b = Sub (z, x) y = Add (a, b)",  # in another order
        "a = RandomUniformLike (x) b = RandomUniformLike (x) y = Add (a, b)",
        "a = LeakyRelu <alpha = 0.1> (x) b = LeakyRelu <alpha = 0.2> (x) y = Add (a, b)",
        "a = Concat <axis = 0> (x, z) b = Concat <axis = 0> (z, x) y = Sub (a, b)",
    ],
)
def test_what_only_looks_like_a_duplicate(find, body):
    assert find(f"g (float[4, 4] x, float[4, 4] z) => (float[p, q] y) {{ {body} }}") == {}


def test_a_branch_may_repeat_what_is_around_it_but_not_what_is_beside_it(find):
    found = find(
        """g (bool c, float[4] x) => (float[4] y) {
            a = Exp (x)
            b = If (c) <
                then_branch = t () => (float[4] u) { p = Exp (x) q = Tanh (x) u = Add (p, q) },
                else_branch = e () => (float[4] v) { r = Tanh (x) v = Neg (r) }
            >
            y = Add (a, b)
        }"""
    )
    assert [finding.nodes for finding in found["duplicate"]] == [("Exp of a", "Exp of p")]


def test_equal_constants_are_one_finding(find):
    found = find(
        """g (float[4] x) => (float[4] y) {
            p = Constant <value_float = 2.0> () q = Constant <value_float = 2.0> ()
            r = Constant <value_float = 3.0> ()
            a = Mul (x, p) b = Mul (x, q) c = Mul (a, r) y = Add (b, c)
        }"""
    )
    assert [finding.nodes for finding in found["duplicate"]] == [
        ("Mul of a", "Mul of b"),
        ("Constant of q",),
    ]


def test_weights_that_differ_in_one_bit_or_in_kind_are_not_repeated(find):
    first = weights(v=(64, 64))["v"]
    near = first.copy()
    near[32, 32] = np.nextafter(near[32, 32], np.float32(9))
    found = find(
        "g (float[64, 64] x) => (float[n, 64] y) { y = Concat <axis = 0> (x, u, v, w) }",
        u=first,
        v=near,
        w=first.reshape(128, 32).repeat(2, 1),
    )
    assert "repeated-weights" not in found


NO_OPS = {
    "Identity (a)": True,
    "Cast <to = 1> (a)": True,
    "Cast <to = 11> (a)": False,
    "Transpose <perm = [0, 1, 2]> (a)": True,
    "Transpose <perm = [0, 2, 1]> (a)": False,
    "Reshape (a, same)": True,
    "Reshape (a, flat)": False,
    "Slice (a, zero, far)": True,
    "Slice (a, zero, far, zero, two)": False,
    "Slice (a, last, first, zero, back)": False,  # the same shape, in reverse
    "Slice (a, zero, two)": True,
    "Slice (a, one, far)": False,
    "Pad (a, no_pads)": True,
    "Pad (a, pads)": False,
    "Concat <axis = 0> (a)": True,
    "Expand (a, same)": True,
    "Tile (a, ones)": True,
    "Tile (a, same)": False,
    "Dropout (a)": True,
    "Dropout (a, half, yes)": False,
    "Add (a, none)": True,
    "Add (none, a)": True,
    "Sub (none, a)": False,
    "Mul (a, unit)": True,
    "Mul (a, wide)": False,  # makes it wider
    "Div (unit, a)": False,
    "Pow (a, unit)": True,
    "Sum (a)": True,
    "Clip (a)": True,
    "Clip (a, none)": False,
    "ReduceSum <keepdims = 1, noop_with_empty_axes = 1> (a)": True,
    "ReduceSum <keepdims = 1> (a)": False,
}


@pytest.mark.parametrize(("operator", "idle"), NO_OPS.items())
def test_nodes_that_change_nothing(find, operator, idle):
    found = find(
        f"""g (float[2, 3, 1] x) => (float[p, q, r] y)
        <int64[3] same = {{2, 3, 1}}, int64[3] flat = {{3, 2, 1}}, int64[1] zero = {{0}},
         int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] far = {{9223372036854775807}},
         int64[1] last = {{-1}}, int64[1] first = {{-3}}, int64[1] back = {{-1}},
         int64[6] no_pads = {{0, 0, 0, 0, 0, 0}}, int64[6] pads = {{0, 0, 1, 0, 0, 0}},
         int64[3] ones = {{1, 1, 1}}, float half = {{0.5}}, bool yes = {{1}},
         float none = {{0.0}}, float unit = {{1.0}}, float[1, 1, 2] wide = {{1.0, 1.0}}>
        {{ a = Exp (x) b = {operator} y = Exp (b) }}"""
    )
    assert [finding.nodes for finding in found.get("no-op", [])] == (
        [(f"{operator.split()[0]} of b",)] if idle else []
    )


def test_an_identity_that_names_an_output_of_the_graph_is_needed(find):
    found = find(
        """g (float[4] x) => (float[4] y, float[4] z, float[4] w)
        { a = Exp (x) y = Identity (x) z = Identity (a) w = Identity (z) }"""
    )
    assert [finding.nodes for finding in found["no-op"]] == [("Identity of z",)]


def test_no_ops_of_one_operator_are_one_finding_with_their_saving(find):
    found = find(
        """g (float[4] x) => (float[4] y)
        { a = Exp (x) b = Cast <to = 1> (a) c = Exp (b) d = Cast <to = 1> (c) y = Exp (d) }"""
    )
    (finding,) = found["no-op"]
    assert finding.sentence == "2 x Cast change nothing"
    assert (finding.saved_nodes, finding.saved_bytes) == (2, 64)


PAIRS = {
    ("Transpose <perm = [1, 2, 0]> (a)", "Transpose <perm = [2, 0, 1]> (b)"): 2,
    ("Transpose <perm = [1, 2, 0]> (a)", "Transpose <perm = [1, 2, 0]> (b)"): 1,
    ("Neg (a)", "Neg (b)"): 2,
    ("Relu (a)", "Relu (b)"): 1,
    ("Exp (a)", "Exp (b)"): None,
    ("Unsqueeze (a, zero)", "Squeeze (b, zero)"): 2,
    ("Reshape (a, six)", "Reshape (b, back)"): 2,
    ("Reshape (a, six)", "Reshape (b, other)"): 1,
    ("Unsqueeze (a, zero)", "Unsqueeze (b, zero)"): 1,
    ("Cast <to = 11> (a)", "Cast <to = 1> (b)"): 2,
    ("Cast <to = 10> (a)", "Cast <to = 1> (b)"): None,  # through fewer bits and back
    ("Cast <to = 10> (a)", "Cast <to = 11> (b)"): None,
    ("Split <axis = 0> (a)", "Exp (b)"): None,
}


@pytest.mark.parametrize(("pair", "spared"), PAIRS.items())
def test_pairs_that_undo_each_other_or_could_be_one(find, pair, spared):
    found = find(
        f"""g (float[2, 3, 4] x) => (y)
        <int64[1] zero = {{0}}, int64[1] six = {{24}}, int64[3] back = {{2, 3, 4}},
         int64[2] other = {{6, 4}}>
        {{ a = Exp (x) b = {pair[0]} c = {pair[1]} y = Exp (c) }}""".replace(
            "=> (y)", "=> (float y)"
        )
    )
    if spared is None:
        assert "cancelling" not in found
        return
    (finding,) = found["cancelling"]
    assert finding.saved_nodes == spared
    assert ("undo each other" if spared == 2 else "could be one") in finding.sentence


def test_of_a_pair_whose_middle_is_read_elsewhere_the_second_is_spared(find):
    found = find(
        """g (float[2, 3] x) => (float[2, 3] y, float[3, 2] z)
        { a = Exp (x) b = Transpose <perm = [1, 0]> (a) c = Transpose <perm = [1, 0]> (b)
          y = Exp (c) z = Exp (b) }"""
    )
    (finding,) = found["cancelling"]
    assert (finding.saved_nodes, finding.saved_bytes) == (1, 48)
    assert "though the first is read elsewhere too" in finding.sentence


def test_three_in_a_row_are_one_pair(find):
    found = find(
        "g (float[4] x) => (float[4] y) { a = Neg (x) b = Neg (a) c = Neg (b) y = Exp (c) }"
    )
    assert [finding.nodes for finding in found["cancelling"]] == [("Neg of a", "Neg of b")]


def test_splits_and_concats_at_the_same_seams(find):
    found = find(
        """g (float[4, 2] x, float[4, 2] z) => (float[4, 2] y, float[8, 2] w)
        {
            a = Exp (x) b = Exp (z)
            c = Concat <axis = 0> (a, b)
            d, e = Split <axis = 0> (c)
            y = Sub (d, e)
            p, q = Split <axis = 0> (x)
            r = Concat <axis = 0> (p, q)
            w = Concat <axis = 0> (r, r)
        }"""
    )
    assert [finding.saved_nodes for finding in found["cancelling"]] == [2, 2]


FOLDS = {
    "c = Conv (x, k) y = BatchNormalization (c, s, s, s, s)": ["BatchNormalization of y"],
    "c = ConvTranspose (x, k) y = BatchNormalization (c, s, s, s, s)": ["BatchNormalization of y"],
    "c = Conv (x, k) y = Mul (c, per)": ["Mul of y"],
    "c = Conv (x, k) d = Mul (c, per) y = Add (d, per)": ["Mul of d", "Add of y"],
    "c = Conv (x, k) y = Div (one, c)": [],
    "c = Conv (x, k) y = Add (c, s)": [],  # along the width, not the channels
    "c = Conv (x, k) d = Relu (c) y = Mul (d, per)": [],
    "c = Conv (x, k) d = Mul (c, per) y = Add (d, c)": [],  # read elsewhere, unscaled
    "c = Conv (x, x) y = Mul (c, per)": [],  # no constant weights
    "c = Mul (x, one) y = Conv (c, k)": ["Mul of c"],
    "c = Mul (x, per) y = Conv (c, k)": [],
    "c = Pad (x, sides) y = Conv (c, k)": ["Pad of c"],
    "c = Pad <mode = \"reflect\"> (x, sides) y = Conv (c, k)": [],
    "c = Pad (x, channels) y = Conv (c, k)": [],
    "c = Pad (x, sides, one) y = Conv (c, k)": [],
}  # fmt: skip


@pytest.mark.parametrize(("body", "folded"), FOLDS.items())
def test_what_weights_could_carry(find, body, folded):
    found = find(
        f"""g (float[1, 4, 4, 4] x) => (float[n, c, h, w] y)
        <float one = {{3.0}}, int64[8] sides = {{0, 0, 1, 1, 0, 0, 1, 1}},
         int64[8] channels = {{0, 1, 0, 0, 0, 0, 0, 0}}> {{ {body} }}""",
        **weights(k=(4, 4, 1, 1), s=(4,), per=(4, 1, 1)),
    )
    assert [finding.nodes[0] for finding in found.get("foldable", [])] == folded


@pytest.mark.parametrize(
    ("shape", "body", "folded"),
    [
        ("5, 4", "c = MatMul (x, m) y = Add (c, s)", True),
        ("5, 4", "c = Gemm (x, m) y = Add (c, s)", True),
        ("5, 4", "c = Gemm (x, m) y = BatchNormalization (c, s, s, s, s)", True),
        ("2, 5, 4", "c = MatMul (x, m) y = Mul (c, s)", True),
        ("2, 5, 4", "c = MatMul (x, m) y = Add (c, s)", False),  # no Gemm for three axes
        ("2, 4, 4", "c = MatMul (x, m) y = Mul (c, rows)", False),
    ],
)
def test_what_products_could_carry(find, shape, body, folded):
    found = find(
        f"g (float[{shape}] x) => (float y) {{ {body} }}", **weights(m=(4, 4), s=(4,), rows=(4, 1))
    )
    assert ("foldable" in found) == folded


def test_siblings_that_can_be_one(find):
    found = find(
        """g (float[2, 4] x) => (float[2, 4] p, float[2, 8] q, float[2, 4] r)
        { p = MatMul (x, u) q = MatMul (x, v) r = MatMul (x, w) }""",
        **weights(u=(4, 4), v=(4, 8), w=(4, 4)),
    )
    (finding,) = found["siblings"]
    assert finding.nodes == ("MatMul of p", "MatMul of q", "MatMul of r")
    assert finding.saved_nodes == 1
    assert "'x'" in finding.sentence


@pytest.mark.parametrize(
    "body",
    [
        "p = MatMul (x, u) q = MatMul (z, v)",
        "p = Gemm <transB = 1> (x, u) q = Gemm (x, v)",
        "p = MatMul (x, x) q = MatMul (x, z)",
    ],
)
def test_siblings_that_cannot(find, body):
    found = find(
        f"g (float[4, 4] x, float[4, 4] z) => (float[4, 4] p, float[4, 4] q) {{ {body} }}",
        **weights(u=(4, 4), v=(4, 4)),
    )
    assert "siblings" not in found


def test_work_that_a_loop_repeats(find):
    found = find(
        """g (int64 trips, bool on, float[4] x, float[4] z) => (float[4] y) {
            y = Loop (trips, on, x) <
                body = b (int64 i, bool go, float[4] state) => (bool more, float[4] next)
                { more = Identity (go) e = Exp (z) f = Tanh (e) next = Add (state, f) }
            >
        }"""
    )
    (finding,) = found["loop-invariant"]
    assert finding.nodes == ("Exp of e", "Tanh of f")


def quantised(body, weight="int8"):
    """``x`` float [2, 4] quantised; the body reads ``d``, and ``wd`` from weights."""
    return f"""g (float[2, 4] x) => (float[2, 4] y)
    <float s = {{0.5}}, float t = {{0.25}}, int8 z = {{0}}, float[4] many = {{1.0, 2.0, 3.0, 4.0}},
     int8[4] zs = {{0, 0, 0, 0}}>
    {{ q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) {body} }}"""


def ints(*shape):
    return np.arange(np.prod(shape), dtype=np.int8).reshape(shape)


def test_quantising_around_an_operator_without_int8_kernel(find):
    found = find(
        quantised("o = Tanh (d) p = QuantizeLinear (o, s, z) y = DequantizeLinear (p, s, z)")
    )
    (finding,) = found["unfused-quantisation"]
    assert finding.nodes == ("QuantizeLinear of q", "DequantizeLinear of d", "Tanh of o")
    assert finding.saved_nodes == 2
    assert "no engine has an int8 kernel for Tanh" in finding.sentence


def test_a_quantised_product_is_fused(find):
    found = find(
        quantised(
            """wd = DequantizeLinear (wq, s, z) o = MatMul (d, wd)
            p = QuantizeLinear (o, s, z) y = DequantizeLinear (p, s, z)"""
        ),
        wq=ints(4, 4),
    )
    assert "unfused-quantisation" not in found
    assert "cancelling" not in found


def test_a_product_of_which_one_side_is_quantised(find):
    found = find(quantised("y = MatMul (d, w)"), **weights(w=(4, 4)))
    (finding,) = found["unfused-quantisation"]
    assert "the input of MatMul of y is quantised and its weights are not" in finding.sentence
    found = find(quantised("wd = DequantizeLinear (wq, s, z) e = Mul (d, s) y = MatMul (e, wd)"),
                 wq=ints(4, 4))  # fmt: skip
    (finding,) = found["unfused-quantisation"]
    assert "the weights of MatMul of y are quantised and its input is not" in finding.sentence


def test_weights_of_four_bits_have_kernels_of_their_own(tmp_path):
    nodes = [
        h.make_node("DequantizeLinear", ["wq", "s"], ["w"]),
        h.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    ends = [h.make_tensor_value_info(name, 1, [2, 4]) for name in "xy"]
    held = [
        h.make_tensor("wq", onnx.TensorProto.INT4, [4, 4], bytes(8), raw=True),
        numpy_helper.from_array(np.float32(1), "s"),
    ]
    graph = h.make_graph(nodes, "g", ends[:1], ends[1:], held)
    onnx.save(
        h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10),
        tmp_path / "net.onnx",
    )
    assert inspect_graph(tmp_path / "net.onnx").findings == ()


def test_dequantising_only_to_quantise(find):
    again = "r = QuantizeLinear (d, {0}, z) e = DequantizeLinear (r, {0}, z) y = Relu (e)"
    found = find(quantised(again.format("s")))
    assert found["cancelling"][0].nodes == ("DequantizeLinear of d", "QuantizeLinear of r")
    assert found["cancelling"][0].saved_nodes == 2
    assert "unfused-quantisation" not in found
    found = find(quantised(again.format("t")))
    assert "at another scale" in found["unfused-quantisation"][0].sentence
    assert "cancelling" not in found


def test_activations_quantised_per_channel(find):
    found = find(quantised("r = QuantizeLinear (x, many, zs) e = DequantizeLinear (r, many, zs) "
                           "o = Relu (e) y = Add (o, d)"))  # fmt: skip
    (finding,) = found["unfused-quantisation"]
    assert finding.nodes == ("QuantizeLinear of r", "DequantizeLinear of e")


def test_findings_inside_functions(tmp_path):
    nodes = [h.make_node("Neg", ["a"], ["b"]), h.make_node("Neg", ["b"], ["c"])]
    twice = h.make_function("my", "Twice", ["a"], ["c"], nodes, [h.make_opsetid("", 17)])
    nodes = [
        h.make_node("Exp", ["x"], ["e"]),
        h.make_node("Twice", ["e"], ["f"], domain="my"),
        h.make_node("Exp", ["f"], ["y"]),
    ]
    ends = [h.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    graph = h.make_graph(nodes, "g", ends[:1], ends[1:])
    opsets = [h.make_opsetid("", 17), h.make_opsetid("my", 1)]
    model = h.make_model(graph, functions=[twice], opset_imports=opsets, ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    (finding,) = inspect_graph(tmp_path / "net.onnx").findings
    assert finding.kind == "cancelling"
