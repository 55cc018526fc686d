"""A whole inspection: what it counts, and that its work grows with the graph and no faster."""

import json
import sys

import numpy as np
import onnx
import pytest
from onnx import helper as h
from onnx import numpy_helper

from lepton_ai.errors import ModelError
from lepton_ai.graph.inspection.inspect import inspect_graph

CONV = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 3, 8, 8] x) => (float[batch, 10] y)
{
    c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, k)
    r = Relu (c)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w, b)
}
"""


def weights(**shapes):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype("f") for name, shape in shapes.items()}


def test_costs_of_a_convolutional_network(write):
    path = write(CONV, **weights(k=(16, 3, 3, 3), w=(10, 16), b=(10,)))
    report = inspect_graph(path)
    rows = {row.operator: row for row in report.operators}
    assert rows["Conv"].macs == 16 * 4 * 4 * 3 * 9
    assert rows["Gemm"].macs == 160
    assert rows["Relu"].macs == 0
    assert (rows["Conv"].parameters, rows["Gemm"].parameters) == (432, 170)
    assert report.parameters == 602
    assert report.macs == 16 * 16 * 27 + 160
    assert report.uncounted == 0
    assert report.sizes == {"batch": 1}
    assert report.inputs == ("x: FLOAT [batch,3,8,8]",)
    assert (report.nodes, report.parallelism.longest_chain) == (5, 5)
    assert report.parallelism.ratio == 1.0
    assert report.bytes == path.stat().st_size
    assert report.findings == ()
    assert json.loads(json.dumps(report.to_json()))["opsets"] == {"": 17}


def test_a_shape_that_the_graph_computes_is_known(write):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[batch, tokens, 6] x) => (float[batch, tokens, 5] y)
    <int64[1] zero = {0}, int64[1] two = {2}, int64[2] halves = {2, 3}, int64[1] six = {6}>
    {
        all = Shape (x)
        first = Slice (all, zero, two)
        wide = Concat <axis = 0> (first, halves)
        split = Reshape (x, wide)
        flat = Concat <axis = 0> (first, six)
        back = Reshape (split, flat)
        y = MatMul (back, w)
    }
    """
    report = inspect_graph(write(text, **weights(w=(6, 5))))
    assert report.sizes == {"batch": 1, "tokens": 128}
    assert report.macs == 128 * 6 * 5
    assert report.nodes == 7


def test_unknown_operators_are_counted_as_unknown(write):
    text = """
    <ir_version: 8, opset_import: ["" : 17, "some.where" : 1]>
    g (float[4, 4] x) => (float[a, b] y)
    { u = some.where.Guess (x)  y = MatMul (u, w) }
    """
    report = inspect_graph(write(text, **weights(w=(4, 4))))
    rows = {row.operator: row for row in report.operators}
    assert rows["MatMul"].macs is None
    assert report.uncounted == 1
    assert rows["some.where.Guess"].count == 1
    assert rows["some.where.Guess"].bytes_written is None


def calling(times):
    """``x`` doubled ``times`` times by a function of two nodes that calls another."""
    opsets = [h.make_opsetid("", 17), h.make_opsetid("my", 1)]
    nodes = [h.make_node("Add", ["a", "a"], ["b"])]
    double = h.make_function("my", "Double", ["a"], ["b"], nodes, opsets)
    nodes = [h.make_node("Double", ["c"], ["d"], domain="my"), h.make_node("Abs", ["d"], ["e"])]
    outer = h.make_function("my", "Outer", ["c"], ["e"], nodes, opsets)
    calls = [
        h.make_node("Outer", [f"x{i}"], [f"x{i + 1}"], domain="my", name=f"call{i}")
        for i in range(times)
    ]
    ends = [h.make_tensor_value_info(name, 1, [4]) for name in ("x0", f"x{times}")]
    graph = h.make_graph(calls, "g", ends[:1], ends[1:])
    return h.make_model(graph, functions=[outer, double], opset_imports=opsets, ir_version=8)


def test_a_function_counts_at_each_call(tmp_path):
    onnx.save(calling(3), tmp_path / "net.onnx")
    report = inspect_graph(tmp_path / "net.onnx")
    assert {row.operator: row.count for row in report.operators} == {"Add": 3, "Abs": 3}
    assert report.nodes == report.parallelism.longest_chain == 6
    assert report.parallelism.work == 3 * (12 + 8)


def test_more_calls_than_can_be_inlined_are_left_as_calls(tmp_path, monkeypatch):
    monkeypatch.setattr("lepton_ai.graph.bodies.MOST_CALLS_INLINED", 5)
    onnx.save(calling(3), tmp_path / "net.onnx")  # three calls, and one in each
    report = inspect_graph(tmp_path / "net.onnx")
    assert {row.operator: row.count for row in report.operators} == {"my.Outer": 3}


def test_an_empty_graph(write):
    report = inspect_graph(
        write('<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] x) { }')
    )
    assert (report.nodes, report.macs, report.findings) == (0, 0, ())


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\x08\x09 not a graph" * 9)
    with pytest.raises(ModelError, match="not an ONNX graph"):
        inspect_graph(tmp_path / "net.onnx")


def wide(count):
    """About ``count`` nodes with something of each kind to be found."""
    nodes, held, current = [], [], "x"
    rng = np.random.default_rng(0)
    for i in range(count // 10):
        held += [
            numpy_helper.from_array(rng.normal(size=(4, 4)).astype("f"), f"{name}{i}")
            for name in "vw"
        ]
        nodes += [
            h.make_node("MatMul", [current, f"v{i}"], [f"a{i}"]),
            h.make_node("MatMul", [current, f"w{i}"], [f"b{i}"]),
            h.make_node("Transpose", [f"a{i}"], [f"c{i}"], perm=[1, 0]),
            h.make_node("Transpose", [f"c{i}"], [f"d{i}"], perm=[1, 0]),
            h.make_node("Add", [f"b{i}", f"d{i}"], [f"e{i}"]),
            h.make_node("Add", [f"d{i}", f"b{i}"], [f"f{i}"]),
            h.make_node("Mul", [f"e{i}", f"f{i}"], [f"g{i}"]),
            h.make_node("Identity", [f"g{i}"], [f"h{i}"]),
            h.make_node("Relu", [f"b{i}"], [f"dead{i}"]),
            h.make_node("Tanh", [f"h{i}"], [f"y{i}"]),
        ]
        current = f"y{i}"
    ends = [h.make_tensor_value_info(name, 1, ["n", 4]) for name in ("x", current)]
    graph = h.make_graph(nodes, "wide", ends[:1], ends[1:], held)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


def calls_made(path):
    """How many Python functions an inspection calls."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        report = inspect_graph(path)
    finally:
        sys.setprofile(None)
    return calls, report


def test_work_grows_as_the_nodes_do(tmp_path):
    work = []
    for count in (200, 2000):
        path = tmp_path / f"{count}.onnx"
        onnx.save(wide(count), path)
        calls, report = calls_made(path)
        assert report.nodes == count
        kinds = {finding.kind for finding in report.findings}
        assert kinds == {"dead", "duplicate", "no-op", "cancelling", "siblings"}
        work.append(calls / count)
    assert work[1] < 1.2 * work[0]
