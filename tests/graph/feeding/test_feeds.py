"""Made-up inputs: accepted by real graphs, different enough, and the same each time."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from lepton_ai.errors import ModelError
from lepton_ai.graph.feeding.feeds import FEWEST_CALLS, generate

TABLE = np.arange(40, dtype=np.float32).reshape(10, 4)


@pytest.fixture
def feeds(write, run):
    """The feeds of a graph's text; all of them must run."""

    def made(text, weights=None, **settings):
        path = write(text, **(weights or {}))
        calls = generate(ir.load(path), **settings)
        assert len(calls) >= FEWEST_CALLS
        for call in calls:
            run(path, **call)
        return calls

    return made


def graph(signature, body, opset=17):
    return f'<ir_version: 8, opset_import: ["" : {opset}]> g {signature} {{ {body} }}'


def test_sizes_differ_between_calls_and_are_shared_by_name(feeds):
    calls = feeds(
        graph("(float[batch, n] x, float[batch, n] z) => (float[batch, n] y)", "y = Add (x, z)")
    )
    shapes = [call["x"].shape for call in calls]
    assert [call["z"].shape for call in calls] == shapes
    assert len({batch for batch, _ in shapes}) > 1
    assert len({n for _, n in shapes}) > 1
    assert 1 in {batch for batch, _ in shapes}


def test_sizes_of_two_names_differ_in_some_call_and_agree_in_another(feeds):
    calls = feeds(
        graph(
            "(float[b, n] x, float[c, m] z) => (float[] y)",
            "a = ReduceSum (x) s = ReduceSum (z) t = Add (a, s) y = ReduceSum <keepdims = 0> (t)",
        )
    )
    pairs = [(call["x"].shape[1], call["z"].shape[1]) for call in calls]
    assert {one == other for one, other in pairs} == {True, False}


def test_floats_are_standard_normal_and_once_larger(feeds):
    calls = feeds(graph("(float[100, 100] x) => (float[100, 100] y)", "y = Relu (x)"))
    spreads = sorted(float(call["x"].std()) for call in calls)
    assert spreads[0] == pytest.approx(1, abs=0.05)
    assert spreads[-1] == pytest.approx(10, abs=0.5)


def test_the_same_seed_gives_the_same(write):
    model = ir.load(write(graph("(float[n, 3] x, int64[n] i) => (float[n, 3] y)", "y = Relu (x)")))
    first, again, other = generate(model), generate(model), generate(model, seed=1)
    for one, two in zip(first, again, strict=True):
        assert all(np.array_equal(one[name], two[name]) for name in one)
    assert any(not np.array_equal(a["x"], b["x"]) for a, b in zip(first, other, strict=True))


def test_the_model_is_left_as_it_was(write):
    path = write(graph("(float[n, 3] x) => (float[n, 3] y)", "a = Relu (x) y = Relu (a)"))
    model = ir.load(path)
    generate(model)
    assert ir.to_proto(model) == ir.to_proto(ir.load(path))


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y = Gather (t, i)", {"t": TABLE}),
        ("a = Cast <to = 6> (i) b = Unsqueeze (a, one) y = Gather (t, b)", {"t": TABLE}),
        ("a = Add (i, three) y = Gather (t, a)", {"t": TABLE}),
        ("a = Mul (i, three) y = Gather (t, a)", {"t": TABLE}),
        ("a = Sub (i, three) b = Abs (a) c = Add (i, three) y = Gather (t, c)", {"t": TABLE}),
        ("a = Identity (t) y = Gather <axis = 0> (a, i)", {"t": TABLE}),
        ("a = Unsqueeze (i, one) y = GatherND (t, a)", {"t": TABLE}),
        ("a = Add (i, i) y = Gather (t, a)", {"t": TABLE}),
        (
            "big = Gather (t, i) small = Gather (u, i) y = Concat <axis = 1> (big, small)",
            {"t": TABLE, "u": TABLE[:3]},
        ),
    ],
)
def test_integers_stay_inside_the_tables_that_they_index(feeds, body, weights):
    text = graph("(int64[n] i) => (float[a, b] y)", body)
    constants = {"one": np.array([1]), "three": np.array(3)}
    calls = feeds(text, {**weights, **constants})
    values = np.concatenate([call["i"] for call in calls])
    assert values.min() >= 0
    if "u" in weights:
        assert values.max() == 2
    assert len(set(values.tolist())) > 1


def test_a_column_is_bounded_by_its_own_table_and_all_by_the_smallest(feeds):
    body = """
    first = Gather <axis = 1> (i, zero) second = Gather <axis = 1> (i, one)
    a = Gather (t, first) b = Gather (u, second) y = Concat <axis = 1> (a, b)
    """
    calls = feeds(
        graph("(int64[n, 2] i) => (float[n, 8] y)", body),
        {"t": TABLE, "u": TABLE[:4], "zero": np.array(0), "one": np.array(1)},
    )
    assert max(call["i"].max() for call in calls) == 3


def test_indices_of_a_table_that_is_read_in_a_branch_and_in_a_loop(feeds):
    text = graph(
        "(int64[n] i, bool c) => (float[n, 4] y)",
        """
        a = If (c) <
            then_branch = one () => (float[n, 4] p) { p = Gather (t, i) },
            else_branch = two () => (float[n, 4] q) { q = Gather (t, i) }
        >
        y = Loop (trips, , a) <
            body = step (int64 k, bool go, float[n, 4] s) => (bool on, float[n, 4] r) {
                on = Identity (go)
                g = Gather (t, i)
                r = Add (s, g)
            }
        >
        """,
    )
    calls = feeds(text, {"t": TABLE, "trips": np.array(2)})
    assert max(call["i"].max() for call in calls) <= 9


def test_positions_stay_inside_the_table_of_positions(feeds):
    body = """
    s = Shape (ids) n1 = Gather (s, one) two = Add (n1, zero)
    at = Range (zero, two, one)
    words = Gather (t, ids) places = Gather (p, at) y = Add (words, places)
    """
    calls = feeds(
        graph("(int64[batch, tokens] ids) => (float[batch, tokens, 4] y)", body),
        {"t": TABLE, "p": TABLE[:6], "one": np.array(1), "zero": np.array(0)},
    )
    lengths = {call["ids"].shape[1] for call in calls}
    assert max(lengths) == 6
    assert len(lengths) > 1


def test_positions_that_are_sliced_from_a_constant_are_enough(feeds):
    body = """
    s = Shape (ids) n = Slice (s, one, two) at = Slice (p, nought, n, nought)
    words = Gather (t, ids) y = Add (words, at)
    """
    calls = feeds(
        graph("(int64[batch, tokens] ids) => (float[batch, tokens, 4] y)", body),
        {
            "t": TABLE,
            "p": TABLE[:7],
            "one": np.array([1]),
            "two": np.array([2]),
            "nought": np.array([0]),
        },
    )
    assert max(call["ids"].shape[1] for call in calls) == 7


def test_positions_counted_from_what_is_no_padding(feeds):
    """As RoBERTa does: the ids are compared with 1, and are words all the same."""
    body = """
    same = Equal (ids, pad) other = Not (same) is = Cast <to = 7> (other)
    count = CumSum (is, axis) kept = Mul (count, is) at = Add (kept, pad)
    words = Gather (t, ids) places = Gather (p, at) y = Add (words, places)
    """
    calls = feeds(
        graph("(int64[batch, tokens] ids) => (float[batch, tokens, 4] y)", body),
        {"t": TABLE, "p": TABLE[:9], "pad": np.array(1), "axis": np.array(1)},
    )
    assert max(call["ids"].shape[1] for call in calls) == 7
    assert max(call["ids"].max() for call in calls) > 1


def test_a_size_that_was_baked_in_is_found(feeds):
    calls = feeds(
        graph("(float[batch, n, 4] x) => (float[batch, n, 4] y)", "y = Add (x, p)"),
        {"p": TABLE[None]},
    )
    assert {call["x"].shape[1] for call in calls} == {10}


@pytest.mark.parametrize("kind", ["int64", "bool", "float"])
def test_masks_by_name(feeds, kind):
    calls = feeds(
        graph(
            f"({kind}[batch, n] attention_mask) => (float[batch, n] y)",
            "y = Cast <to = 1> (attention_mask)",
        )
    )
    masks = [call["attention_mask"].astype(int) for call in calls]
    assert all(set(np.unique(mask)) <= {0, 1} for mask in masks)
    assert all(mask.sum(-1).min() >= 1 for mask in masks)
    assert any(mask.all() for mask in masks)
    cut = [mask for mask in masks if not mask.all()]
    assert any((np.diff(mask) <= 0).all() for mask in cut)
    assert any((np.diff(mask) > 0).any() for mask in cut)


@pytest.mark.parametrize(
    "body", ["y = Cast <to = 9> (m)", "y = Equal (m, z)", "y = Greater (z, m)"]
)
def test_masks_by_use(feeds, body):
    calls = feeds(graph("(int64[b, n] m) => (bool[b, n] y)", body), {"z": np.array(0)})
    assert {int(value) for call in calls for value in call["m"].reshape(-1)} == {0, 1}


def test_sizes_written_as_a_sum_are_the_sum(write):
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[batch, past, 4] old, float[batch, new, 4] x, float[batch, total] m)
        => (float[b, t, 4] y)
    { y = Concat <axis = 1> (old, x) }"""
    model = ir.load(write(text))
    inputs = {value.name: value for value in model.graph.inputs}
    inputs["m"].shape = ir.Shape(["batch", "past + new"])
    for call in generate(model):
        assert call["m"].shape[1] == call["old"].shape[1] + call["x"].shape[1]


def test_sizes_that_the_caller_knows(write):
    model = ir.load(write(graph("(float[n, m] x) => (float[n, m] y)", "y = Relu (x)")))
    calls = generate(model, sizes=[{"n": 5}, {"n": 6, "m": 2}])
    assert [call["x"].shape[0] for call in calls] == [5, 6, 5, 6]
    assert calls[1]["x"].shape == (6, 2)
    assert len(generate(model, sizes=[{"n": size} for size in range(1, 8)])) == 7


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("float16", "float16"),
        ("bfloat16", "bfloat16"),
        ("double", "float64"),
        ("uint8", "uint8"),
        ("int8", "int8"),
        ("int32", "int32"),
        ("uint64", "uint64"),
        ("bool", "bool"),
        ("string", "object"),
        ("complex64", "complex64"),
    ],
)
def test_every_dtype(write, kind, dtype):
    model = ir.load(write(graph(f"({kind}[n, 50] x) => ({kind}[n, 50] y)", "y = Identity (x)")))
    for call in generate(model):
        assert call["x"].dtype.name == dtype
        assert call["x"].shape[1] == 50
        assert len(set(map(str, call["x"].reshape(-1)))) > 1


def test_words_are_those_of_the_table(write):
    text = """<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 2]>
    g (string[n] x) => (int64[n] y)
    { y = ai.onnx.ml.LabelEncoder <keys_strings = ["red", "green"], values_int64s = [1, 2]> (x) }"""
    words = {word for call in generate(ir.load(write(text))) for word in call["x"]}
    assert words == {"red", "green"}


@pytest.mark.parametrize(
    ("body", "weights", "shape"),
    [
        ("y = MatMul (x, t)", {"t": TABLE}, (None, 10)),
        ("y = Gemm <transB = 1> (x, t, b)", {"t": TABLE, "b": TABLE[0, :1]}, (None, 4)),
        ("y = Add (x, t)", {"t": TABLE}, (None, 4)),
        ("y = Conv <group = 2> (x, k)", {"k": np.ones((4, 3, 3, 3), "f")}, (None, 6, None, None)),
        ("y = Relu (x)", {}, (None, None)),
    ],
)
def test_an_input_whose_rank_is_unknown_gets_one_that_its_reader_takes(
    write, run, body, weights, shape
):
    path = write(graph("(float[n] x) => (float[m] y)", body), **weights)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    accepted = 0
    for call in generate(ir.load(path)):
        sizes = call["x"].shape
        assert len(sizes) == len(shape)
        assert all(wanted in (None, size) for wanted, size in zip(shape, sizes, strict=True))
        try:
            run(path, **call)
        except Exception:  # the runtime's own
            continue
        accepted += 1
    assert accepted >= 1


def test_counts_are_small(feeds):
    calls = feeds(graph("(int64[1] k) => (float[m] y)", "y = ConstantOfShape (k)"))
    assert all(1 <= call["k"][0] <= 4 for call in calls)


def test_functions_are_looked_into(feeds):
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    g (int64[n] i) => (float[n, 4] y) { y = own.look (i, t) }
    <domain: "own", opset_import: ["" : 17]>
    look (i, t) => (y) { y = Gather (t, i) }"""
    calls = feeds(text, {"t": TABLE})
    assert max(call["i"].max() for call in calls) <= 9


def test_weights_among_the_inputs_are_not_made_up(write):
    text = graph("(float[n, 10] x, float[10, 4] t) => (float[n, 4] y)", "y = MatMul (x, t)")
    assert all(list(call) == ["x"] for call in generate(ir.load(write(text, t=TABLE))))


def test_what_is_no_tensor_is_refused_in_a_sentence(write):
    text = graph("(seq(float[n]) x) => (int64 y)", "y = SequenceLength (x)")
    with pytest.raises(ModelError, match="'x' is a sequence, and only tensors"):
        generate(ir.load(write(text)))


def test_a_dtype_that_engines_do_not_exchange_is_refused(write):
    text = graph("(float8e4m3fn[n] x) => (float[n] y)", "y = Cast <to = 1> (x)", opset=19)
    with pytest.raises(ModelError, match="'x' has the dtype FLOAT8E4M3FN"):
        generate(ir.load(write(text)))
