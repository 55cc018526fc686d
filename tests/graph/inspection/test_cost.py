"""Bytes that nodes read and write, and the sizes that shapes are counted at."""

import onnx_ir as ir
import pytest

from lepton_ai.graph.inspection.cost import measure_costs
from lepton_ai.graph.inspection.inspect import inspect_graph


@pytest.fixture
def rows(write):
    def inspected(text, **weights):
        return {row.operator: row for row in inspect_graph(write(text, **weights)).operators}

    return inspected


def test_what_comes_in_and_goes_out_by_dtype(rows):
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (float[2, 8] x) => (int8[2, 8] y, bfloat16[2, 8] z, bool[2, 8] b)
    <float s = {0.5}, int4[8, 8] w = {1}, int8 zero = {0}>
    {
        z = Cast <to = 16> (x)
        b = Greater (x, s)
        y = QuantizeLinear (x, s, zero)
    }
    """
    found = rows(text.replace(", int4[8, 8] w = {1}", ""))
    assert (found["Cast"].bytes_read, found["Cast"].bytes_written) == (64, 32)
    assert (found["Greater"].bytes_read, found["Greater"].bytes_written) == (68, 16)
    assert (found["QuantizeLinear"].bytes_read, found["QuantizeLinear"].bytes_written) == (69, 16)


def test_int4_weights_take_half_a_byte(write, tmp_path):
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["v"]),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, 1, [2, size]) for name, size in (("x", 5), ("y", 3))
    ]
    weights = [
        helper.make_tensor("w", TensorProto.INT4, [5, 3], bytes(8), raw=True),
        helper.make_tensor("s", TensorProto.FLOAT, [], [1.0]),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    path = tmp_path / "int4.onnx"
    opset = helper.make_opsetid("", 21)
    path.write_bytes(
        helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()
    )
    found = {row.operator: row for row in inspect_graph(path).operators}
    assert found["DequantizeLinear"].bytes_read == 8 + 4  # 15 halves, rounded up, and the scale
    assert found["MatMul"].bytes_read == 4 * (10 + 15)


def test_weights_are_read_by_each_reader_and_views_move_nothing(rows):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[4, 4] x) => (float[16] y)
    <int64[1] flat = {16}, float[4] w = {1.0, 2.0, 3.0, 4.0}>
    { a = Mul (x, w) b = Mul (a, w) y = Reshape (b, flat) }
    """
    found = rows(text)
    assert found["Mul"].bytes_read == 2 * (64 + 16)
    assert found["Mul"].parameters == 4
    assert (found["Reshape"].bytes_read, found["Reshape"].bytes_written) == (0, 0)
    assert found["Reshape"].intensity == 0.0


def test_a_look_up_reads_the_rows_that_it_takes(rows):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1000, 8] x, int64[3] i) => (float[3, 8] y) { y = Gather (x, i) }
    """
    assert rows(text)["Gather"].bytes_read == 3 * 8 * 4 + 3 * 8


def test_intensity_counts_two_operations_a_multiply_add(rows):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[4, 4] x, float[4, 4] z) => (float[4, 4] y) { y = MatMul (x, z) }
    """
    assert rows(text)["MatMul"].intensity == 2 * 64 / (3 * 64)


def test_text_has_no_size(rows):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (string[4] x) => (string[4] y) { y = Identity (x) z = Equal (x, x) }
    """
    found = rows(text.replace(" z = Equal (x, x)", " z = StringNormalizer (x)"))
    assert found["StringNormalizer"].bytes_read is None
    assert found["StringNormalizer"].intensity is None


def test_shapes_inside_loops_and_branches_are_known(write):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (int64 trips, bool on, float[batch, 8] x) => (float[batch, 8] y)
    <float[8] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}>
    {
        looped = Loop (trips, on, x) <
            body = b (int64 i, bool go, float[p, q] state) => (bool more, float[p, q] next)
            { more = Identity (go) next = Mul (state, w) }
        >
        y = If (on) <
            then_branch = t () => (float[r, s] u) { u = Neg (looped) },
            else_branch = e () => (float[r, s] v) { v = Abs (looped) }
        >
    }
    """
    found = {row.operator: row for row in inspect_graph(write(text)).operators}
    assert found["Mul"].bytes_read == 4 * (8 + 8)
    assert (found["Neg"].bytes_written, found["Abs"].bytes_written) == (32, 32)
    assert (found["Loop"].bytes_read, found["If"].bytes_written) == (0, 0)


def test_padding_by_a_computed_amount_has_a_known_shape(rows):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 3, 8, 8] x) => (float[n, 3, h, w] y)
    <int64[1] four = {4}, int64[4] some = {0, 0, 1, 1}>
    {
        none = ConstantOfShape <value = int64[1] {0}> (four)
        pads = Concat <axis = 0> (some, none)
        y = Pad (x, pads)
    }
    """
    assert rows(text)["Pad"].bytes_written == 4 * 3 * 9 * 9


def test_measuring_leaves_the_graph_as_it_was(write):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 4] x) => (float[n, 4] y) { s = Shape (x) y = Reshape (x, s) }
    """
    model = ir.load(write(text))
    costs = measure_costs(model)
    assert costs.sizes == {"n": 1}
    assert [node.op_type for node in costs.nodes] == ["Shape", "Reshape"]
    assert all(node.graph is model.graph for node in costs.nodes)
    assert str(model.graph.inputs[0].shape) == "[n,4]"
