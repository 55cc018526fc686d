import numpy as np
import onnx

from lepton_ai.graph.fuse_attention import FuseAttention
from lepton_ai.graph.gate import check_equal

WIDTH, HEADS = 16, 4

BLOCK = """
<ir_version: 8, opset_import: ["" : 20]>
g (float[batch, tokens, 16] x, float[batch, 1, 1, tokens] mask) => (float[batch, tokens, 16] y)
<
    int64[4] heads = {0, 0, 4, 4}, int64[3] flat = {0, 0, 16}, float scale = {0.5},
    float[16] one = {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1},
    float[16] zero = {0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}
>
{
    q0 = MatMul (x, wq)
    q1 = Add (q0, bq)
    q2 = Reshape (q1, heads)
    q = Transpose <perm = [0, 2, 1, 3]> (q2)
    k0 = MatMul (x, wk)
    k1 = Add (k0, bk)
    k2 = Reshape (k1, heads)
    k = Transpose <perm = [0, 2, 3, 1]> (k2)
    v0 = MatMul (x, wv)
    v1 = Add (v0, bv)
    v2 = Reshape (v1, heads)
    v = Transpose <perm = [0, 2, 1, 3]> (v2)
    s0 = MatMul (q, k)
    s1 = Mul (s0, scale)
    s2 = Add (s1, mask)
    p = Softmax <axis = -1> (s2)
    c0 = MatMul (p, v)
    c1 = Transpose <perm = [0, 2, 1, 3]> (c0)
    c = Reshape (c1, flat)
    o0 = MatMul (c, wo)
    o = Add (o0, bo)
    r = Add (x, o)
    n = LayerNormalization <axis = -1> (r, one, zero)
    f0 = MatMul (n, wu)
    f1 = Add (f0, bu)
    f2 = Gelu (f1)
    f = MatMul (f2, wd)
    e = Add (n, f)
    y = LayerNormalization <axis = -1> (e, one, zero)
}
"""


def weights():
    rng = np.random.default_rng(0)
    shapes = {f"w{letter}": (WIDTH, WIDTH) for letter in "qkvo"}
    shapes |= {f"b{letter}": (WIDTH,) for letter in "qkvo"}
    shapes |= {"wu": (WIDTH, 64), "bu": (64,), "wd": (64, WIDTH)}
    return {name: (rng.normal(size=shape) * 0.3).astype("f") for name, shape in shapes.items()}


def test_a_transformer_block_becomes_fused_nodes_with_the_same_answers(write, run, tmp_path):
    source, target = write(BLOCK, **weights()), tmp_path / "fused.onnx"
    done = FuseAttention().apply(source, target)
    assert done.fired == (
        "1 x BiasGelu fused",
        "1 x MultiHeadAttention fused",
        "2 x SkipLayerNormalization fused",
    )
    assert (done.nodes_before, done.nodes_after) == (29, 16)
    kinds = [node.op_type for node in onnx.load(target).graph.node]
    assert kinds.count("MatMul") == 6  # every projection stays where a quantiser can reach it
    originals, fused = [], []
    for batch, tokens in ((1, 5), (3, 7)):
        rng = np.random.default_rng(tokens)
        mask = np.where(rng.random((batch, 1, 1, tokens)) < 0.3, -1e9, 0).astype("f")
        mask[..., 0] = 0
        feed = {"x": rng.normal(size=(batch, tokens, WIDTH)).astype("f"), "mask": mask}
        originals.append(run(source, **feed))
        fused.append(run(target, **feed))
    found = check_equal(originals, fused)
    assert found.equal, found.why


def test_the_interface_stays(write, tmp_path):
    FuseAttention().apply(write(BLOCK, **weights()), tmp_path / "fused.onnx")
    graph = onnx.load(tmp_path / "fused.onnx").graph
    shape = [d.dim_param or d.dim_value for d in graph.output[0].type.tensor_type.shape.dim]
    assert [value.name for value in graph.input] == ["x", "mask"]
    assert shape == ["batch", "tokens", WIDTH]


def test_a_network_without_attention_is_left_alone(write, tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[n, 16] x) => (float[n, 16] y)
    { a = Identity (x)  b = MatMul (a, w)  y = Relu (b) }
    """
    source = write(text, w=weights()["wq"])
    done = FuseAttention().apply(source, tmp_path / "fused.onnx")
    assert done.fired == ()
    assert done.nodes_before == done.nodes_after == 3
    assert len(onnx.load(tmp_path / "fused.onnx").graph.node) == 3


def test_only_onnx_runtime_runs_the_result():
    assert FuseAttention.engines == ("onnxruntime",)
