import numpy as np
import onnxruntime
import pytest

from lepton_ai.graph.rules.merge_embeddings import MergeEmbeddings

ROWS = (5, 3, 9, 4, 7, 6)
HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'


def tables(rows=ROWS, width=4):
    rng = np.random.default_rng(0)
    return {f"t{at}": rng.normal(size=(n, width)).astype("f") for at, n in enumerate(rows)}


def picks(dtype="int64", rows=ROWS, batch=3, low=0):
    rng = np.random.default_rng(1)
    columns = [rng.integers(-n if low else 0, n, batch) for n in rows]
    return {"ids": np.stack(columns, axis=1).astype(dtype), "x": np.ones((batch, 4), "f")}


def stacked(dtype="int64", order=range(6), concat="x0, RUN"):
    """A recommender's front: a column of indices for each table, rows stacked."""
    lines = []
    for at in order:
        lines.append(f"c{at} = Gather <axis = 1> (ids, i{at})")
        lines.append(f"r{at} = Gather <axis = 0> (t{at}, c{at})")
        lines.append(f"u{at} = Unsqueeze (r{at}, one)")
    run = ", ".join(f"u{at}" for at in order)
    held = ", ".join(f"int64 i{at} = {{{at}}}" for at in range(6))
    return (
        HEAD
        + f"g ({dtype}[batch, 6] ids, float[batch, 4] x) => (float[batch, n, 4] y)"
        + f"<{held}, int64[1] one = {{1}}> {{ x0 = Unsqueeze (x, one)\n"
        + "\n".join(lines)
        + f"\ny = Concat <axis = 1> ({concat.replace('RUN', run)}) }}"
    )


def side_by_side(op="Gather <axis = 1> (ids, i{0})"):
    lines = [f"c{at} = {op.format(at)}\nr{at} = Gather (t{at}, c{at})" for at in range(6)]
    held = ", ".join(f"int64 i{at} = {{{at}}}" for at in range(6))
    return (
        HEAD
        + "g (int64[batch, 6] ids, float[batch, 4] x) => (float[batch, 24] y)"
        + f"<{held}> {{"
        + "\n".join(lines)
        + "\ny = Concat <axis = -1> (r0, r1, r2, r3, r4, r5) }"
    )


GUARD = {"Less": 2, "Where": 2, "Add": 1, "GreaterOrEqual": 1, "And": 1}


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_stacked_lookups_are_one_from_all_rows(apply, dtype):
    done = apply(MergeEmbeddings, stacked(dtype), picks(dtype), tables())
    assert done.operators == {"Unsqueeze": 1, "Concat": 1, "Gather": 1, **GUARD}
    assert np.array_equal(done.before["y"], done.after["y"])
    assert [firing.site for firing in done.ledger.firings] == ["y:t0"]


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_negative_indices_count_from_their_own_tables_end(apply, dtype):
    feed = picks(dtype, low=-1)
    feed["ids"][0] = [-n for n in ROWS]
    feed["ids"][1] = -1
    done = apply(MergeEmbeddings, stacked(dtype), feed, tables())
    assert done.operators["Gather"] == 1
    assert np.array_equal(done.before["y"], done.after["y"])


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("beyond", ["end", "start", "far", "near far"])
def test_an_index_out_of_its_own_table_is_refused_still(apply, column, beyond, tmp_path):
    apply(MergeEmbeddings, stacked(), picks(), tables())
    rows = ROWS[column]
    wrong = {"end": rows, "start": -rows - 1, "far": 2**62, "near far": -(2**62)}[beyond]
    feed = picks()
    feed["ids"][1, column] = wrong
    for name in ("net", "rewritten"):
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
        with pytest.raises(Exception, match="indices element"):
            session.run(None, feed)


def test_the_largest_32_bit_index_does_not_wrap_around_into_a_table(apply, tmp_path):
    apply(MergeEmbeddings, stacked("int32"), picks("int32"), tables())
    for wrong in (2**31 - 1, -(2**31)):
        feed = picks("int32")
        feed["ids"][0, 5] = wrong
        session = onnxruntime.InferenceSession(tmp_path / "rewritten.onnx")
        with pytest.raises(Exception, match="indices element"):
            session.run(None, feed)


def test_columns_in_another_order_are_picked_first(apply):
    text = stacked(order=(4, 1, 0, 2, 5), concat="RUN, x0")
    done = apply(MergeEmbeddings, text, picks(), tables())
    assert done.operators == {"Unsqueeze": 1, "Concat": 1, "Gather": 2, **GUARD}


def test_rows_side_by_side_are_one_lookup_and_a_reshape(apply):
    done = apply(MergeEmbeddings, side_by_side(), picks(), tables())
    assert done.operators == {"Gather": 1, "Reshape": 1, **GUARD}


def test_an_empty_batch_stays_empty(apply):
    done = apply(MergeEmbeddings, side_by_side(), picks(batch=0), tables())
    assert done.after["y"].shape == (0, 24)


def test_indices_from_inputs_of_their_own_are_concatenated(apply):
    rows = (5, 3, 9, 4, 7, 6, 8, 5, 4, 3, 2)
    ids = [f"id{at}" for at in range(len(rows))]
    lines = [f"r{at} = Gather (t{at}, id{at})" for at in range(len(rows))]
    run = ", ".join(f"r{at}" for at in range(len(rows)))
    text = (
        HEAD
        + f"g ({', '.join(f'int64[batch, 1] {one}' for one in ids)}) => (float[batch, 11, 4] y)"
        + "{"
        + "\n".join(lines)
        + f"\ny = Concat <axis = 1> ({run}) }}"
    )
    rng = np.random.default_rng(2)
    feed = {one: rng.integers(0, n, (3, 1)) for one, n in zip(ids, rows, strict=True)}
    done = apply(MergeEmbeddings, text, feed, tables(rows))
    assert done.operators == {"Concat": 1, "Gather": 1, **GUARD}
    flat = text.replace("axis = 1> (r0", "axis = 2> (r0").replace(
        "batch, 11, 4] y", "batch, 1, 44] y"
    )
    done = apply(MergeEmbeddings, flat, feed, tables(rows))
    assert done.operators == {"Concat": 1, "Gather": 1, "Reshape": 1, **GUARD}


def test_indices_that_the_graph_keeps_in_range_are_only_moved(apply):
    text = (
        stacked()
        .replace("(ids, i", "(kept, i")
        .replace("{ x0 =", "{ kept = Mod (ids, buckets)\n x0 =")
    )
    feed = picks()
    feed["ids"] = feed["ids"] * 1000 - 500
    done = apply(MergeEmbeddings, text, feed, tables([3] * 6) | {"buckets": np.array([3])})
    assert done.operators == {"Mod": 1, "Unsqueeze": 1, "Concat": 1, "Gather": 1, "Add": 1}


def test_a_modulus_beyond_one_tables_rows_keeps_the_guard(apply):
    text = (
        stacked()
        .replace("(ids, i", "(kept, i")
        .replace("{ x0 =", "{ kept = Mod (ids, buckets)\n x0 =")
    )
    weights = tables([4, 4, 3, 4, 4, 4]) | {"buckets": np.array([4])}
    done = apply(MergeEmbeddings, text, picks(rows=[3] * 6), weights)
    assert done.operators["GreaterOrEqual"] == 1


def test_a_table_that_is_read_elsewhere_is_left(apply):
    text = stacked().replace("(float[batch, n, 4] y)", "(float[batch, n, 4] y, float[5, 4] z)")
    text = text.replace("x0 = Unsqueeze (x, one)", "x0 = Unsqueeze (x, one)\nz = Neg (t0)")
    done = apply(MergeEmbeddings, text, picks(), tables())
    assert done.ledger.firings == []
    assert "stored twice" in done.ledger.near_misses[0].why


def test_a_table_of_another_width_is_left_out(apply):
    text = side_by_side("Gather <axis = 1> (kept, i{0})").replace(
        "float[batch, 24]", "float[batch, n]"
    )
    text = text.replace("{c0 =", "{ kept = Mod (ids, buckets)\nc0 =")
    weights = tables() | {"t0": np.ones((5, 2), "f"), "buckets": np.array([3])}
    done = apply(MergeEmbeddings, text, picks(), weights)
    assert done.operators == {
        "Mod": 1,
        "Gather": 2 + 2,
        "Add": 1,
        "Reshape": 1,
        "Concat": 1,
    }


def test_a_row_that_is_read_elsewhere_is_left_out(apply):
    text = stacked().replace("(float[batch, n, 4] y)", "(float[batch, n, 4] y, float[batch, 4] r0)")
    done = apply(MergeEmbeddings, text, picks(), tables())
    assert done.operators["Gather"] == 4
    assert np.array_equal(done.before["r0"], done.after["r0"])


def test_two_lookups_are_too_few_to_pay(apply):
    text = stacked(order=(0, 1))
    done = apply(MergeEmbeddings, text, picks(), tables())
    assert done.ledger.firings == []
    assert "as many nodes" in done.ledger.near_misses[0].why


def test_a_table_that_a_caller_may_replace_is_left_out(apply):
    text = stacked().replace("float[batch, 4] x)", "float[batch, 4] x, float[5, 4] t0)")
    done = apply(MergeEmbeddings, text, picks(), tables())
    assert "t0" in [value.name for value in done.model.graph.inputs]
    assert done.operators["Gather"] == 4


def test_a_denied_site_is_left_alone(apply):
    done = apply(MergeEmbeddings, stacked(), picks(), tables(), denied=frozenset({"y:t0"}))
    assert done.operators["Gather"] == 12


def test_the_tables_are_replaced_not_doubled(apply):
    done = apply(MergeEmbeddings, stacked(), picks(), tables())
    floats = [
        value.const_value.size
        for value in done.model.graph.initializers.values()
        if value.const_value.dtype.is_floating_point()
    ]
    assert floats == [sum(ROWS) * 4]
