import numpy as np
import onnx
import pytest

from lepton_ai.errors import ModelError
from lepton_ai.graph.clean import Clean
from lepton_ai.graph.gate import check_equal

CLUTTERED = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, 4] x, float[batch, 4] z) => (float[batch, 4] second, float[batch, 4] first)
<float[2] a = {1.0, 2.0}, float[2] b = {3.0, 4.0}>
{
    row = Concat <axis = 0> (a, b)
    same = Identity (x)
    p = Add (same, row)
    q = Add (x, row)
    unused = Relu (z)
    first = Mul (p, q)
    second = Sub (p, z)
}
"""


def declared(path):
    graph = onnx.load(path).graph
    return [
        (v.name, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in (*graph.input, *graph.output)
    ]


def test_clutter_goes_and_the_interface_stays(write, run, tmp_path):
    source, target = write(CLUTTERED), tmp_path / "clean.onnx"
    done = Clean().apply(source, target)
    assert (done.nodes_before, done.nodes_after) == (7, 3)
    assert "1 x Identity removed" in done.fired
    assert "1 x Concat removed" in done.fired
    assert declared(target) == declared(source)
    feed = {name: np.random.default_rng(0).normal(size=(3, 4)).astype("f") for name in "xz"}
    assert check_equal([run(source, **feed)], [run(target, **feed)]).equal
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx", "clean.onnx"}


def test_nothing_to_do_fires_nothing(write, run, tmp_path):
    source = write(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] y) { y = Relu (x) }'
    )
    done = Clean().apply(source, tmp_path / "clean.onnx")
    assert done.fired == ()
    assert done.nodes_before == done.nodes_after == 1
    assert run(tmp_path / "clean.onnx", x=np.float32([-1, 2]))["y"].tolist() == [0, 2]


def test_repeated_weights_are_merged(write, run, tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 8] x) => (float[n, 8] y)
    { a = MatMul (x, v)  b = Relu (a)  y = MatMul (b, w) }
    """
    weight = np.random.default_rng(0).normal(size=(8, 8)).astype("f")
    source = write(text, v=weight, w=weight)
    done = Clean().apply(source, tmp_path / "clean.onnx")
    assert done.fired == ("256 bytes of repeated weights merged",)
    feed = {"x": weight[:2]}
    assert check_equal([run(source, **feed)], [run(tmp_path / "clean.onnx", **feed)]).equal


def test_branches_functions_and_unknown_domains_survive(write, tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17, "some.where" : 1, "local" : 1]>
    g (bool c, float[n] x) => (float[n] y, float[m] z)
    {
        s = Identity (x)
        y = If (c) <
            then_branch = t () => (float[n] u) { u = Relu (s) },
            else_branch = e () => (float[n] v) { v = Neg (s) }
        >
        w = local.Twice (x)
        z = some.where.Guess <size = 3> (w)
    }
    <domain: "local", opset_import: ["" : 17]>
    Twice (a) => (b) { b = Add (a, a) }
    """
    done = Clean().apply(write(text), tmp_path / "clean.onnx")
    kinds = {node.op_type for node in onnx.load(tmp_path / "clean.onnx").graph.node}
    assert {"If", "Guess"} <= kinds
    assert "Identity" not in kinds
    assert "1 x Identity removed" in done.fired


def test_random_nodes_are_not_merged(write, tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[4] x) => (float[4] y)
    { a = RandomUniformLike (x)  b = RandomUniformLike (x)  y = Sub (a, b) }
    """
    assert Clean().apply(write(text), tmp_path / "clean.onnx").fired == ()


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\x08\x09 not a graph" * 9)
    with pytest.raises(ModelError, match="not an ONNX graph"):
        Clean().apply(tmp_path / "net.onnx", tmp_path / "clean.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        Clean().apply(tmp_path / "gone.onnx", tmp_path / "clean.onnx")
    assert not (tmp_path / "clean.onnx").exists()
