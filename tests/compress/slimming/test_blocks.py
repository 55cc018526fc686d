import numpy as np

from lepton_ai.compress.slimming.blocks import blocks_of, without_blocks

TEXT = """
g (float[n, 8] x) => (float[n, 8] y) {
    a = MatMul (x, w)
    b = MatMul (a, v)
    c = Relu (b)
    d = Add (a, c)
    e = MatMul (d, u)
    f = Add (e, d)
    h = Add (f, bias)
    y = Relu (h)
}
"""
WEIGHTS = {"w": (8, 8), "v": (8, 8), "u": (8, 8), "bias": (8,)}


def test_what_is_added_to_what_it_is_computed_from_is_a_block(build):
    blocks = blocks_of(build(TEXT, WEIGHTS))
    operators = [[name.split("_")[0] for name in block.nodes] for block in blocks]
    assert operators == [["MatMul", "Relu"], ["MatMul"]]
    assert [block.skip for block in blocks] == [0, 1]


def test_without_a_block_its_input_is_passed_on(build, answers):
    model = build(TEXT, WEIGHTS)
    x = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    names = [block.name for block in blocks_of(model)]
    short = without_blocks(model, names)
    assert [node.op_type for node in short.graph] == ["MatMul", "Add", "Relu"]
    held = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    wanted = np.maximum(x @ held["w"] + held["bias"], 0)
    np.testing.assert_allclose(answers(short, {"x": x})[0], wanted, rtol=1e-5, atol=1e-6)
    assert len(list(model.graph)) == 8, "the graph that came stays as it is"


def test_the_last_addition_of_a_network_is_no_block(build):
    text = "g (float[n, 8] x) => (float[n, 8] y) { a = MatMul (x, w) b = Relu (a) y = Add (a, b) }"
    assert blocks_of(build(text, {"w": (8, 8)})) == []
