import json

import numpy as np
import pytest

from lepton_ai.errors import ModelError
from lepton_ai.graph.inspect import inspect_graph

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


def kinds(report):
    return {finding.kind: finding for finding in report.findings}


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
    assert (report.nodes, report.critical_path, report.parallelism) == (5, 5, 1.0)
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


def test_findings(write):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 16] x) => (float[n, 16] y, float[n, 16] same)
    <float[2] half = {1.0, 2.0}>
    {
        q = MatMul (x, v)
        k = MatMul (x, w)
        a = Add (q, k)
        b = Add (q, k)
        s = Mul (a, b)
        folded = Exp (half)
        dead = Relu (folded)
        cast = Cast <to = 1> (s)
        turned = Transpose <perm = [0, 1]> (cast)
        y = Tanh (turned)
        same = Identity (x)
    }
    """
    weight = weights(v=(16, 16))["v"]
    report = inspect_graph(write(text, v=weight, w=weight))
    found = kinds(report)
    assert set(found) == {
        "dead",
        "constant",
        "duplicate",
        "no-op",
        "repeated-weights",
        "siblings",
    }
    assert found["dead"].nodes == ("Exp of folded", "Relu of dead")
    assert found["constant"].nodes == ("Exp of folded", "Relu of dead")
    assert found["duplicate"].nodes[0] != found["duplicate"].nodes[1]
    assert found["repeated-weights"].nodes == ("v", "w")
    assert "1024 bytes" in found["repeated-weights"].sentence
    assert "'x'" in found["siblings"].sentence
    idle = [finding.nodes[0] for finding in report.findings if finding.kind == "no-op"]
    assert idle == ["Cast of cast", "Identity of same", "Transpose of turned"]
    assert report.critical_path == 6
    assert report.parallelism == pytest.approx(11 / 6, abs=1e-3)


def test_random_nodes_are_not_duplicates_and_branches_read_the_outer_graph(write):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (bool c, float[n] x) => (float[n] y)
    {
        a = RandomUniformLike (x)
        b = RandomUniformLike (x)
        s = Abs (a)
        t = If (c) <
            then_branch = t () => (float[n] u) { u = Relu (s) },
            else_branch = e () => (float[n] v) { v = Neg (b) }
        >
        y = Neg (t)
    }
    """
    report = inspect_graph(write(text))
    assert report.findings == ()
    assert report.critical_path == 4
    assert {row.operator: row.count for row in report.operators}["Neg"] == 2


def test_an_empty_graph(write):
    report = inspect_graph(
        write('<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] x) { }')
    )
    assert (report.nodes, report.critical_path, report.parallelism) == (0, 0, 0.0)


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\x08\x09 not a graph" * 9)
    with pytest.raises(ModelError, match="not an ONNX graph"):
        inspect_graph(tmp_path / "net.onnx")
