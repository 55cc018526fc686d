import numpy as np
import pytest

from lepton_ai.graph.rules.key_transpose import KeyTranspose

#: As PyTorch exports it: the shapes before and after are computed from that of ``k``.
COMPUTED = """
<ir_version: 9, opset_import: ["" : 20]>
g (float[batch, tokens, 12] x) => (float[batch, 3, 4, tokens] y)
<int64[1] minus = {-1}, int64[1] second = {-2}, int64[1] begin = {0},
 int64[1] end = {9223372036854775807},
 int64[4] heads = {0, 0, 3, 4}>
{
    h = Reshape(x, heads)
    k = Transpose<perm = [0, 2, 1, 3]>(h)
    shape = Shape(k)
    width = Slice(shape, minus, end)
    tokens = Slice(shape, second, minus)
    lead = Slice(shape, begin, second)
    joined = Concat<axis = 0>(minus, tokens, width)
    parted = Concat<axis = 0>(lead, width, tokens)
    flat = Reshape(k, joined)
    turned = Transpose<perm = [0, 2, 1]>(flat)
    y = Reshape(turned, parted)
}
"""
FIXED = """
<ir_version: 9, opset_import: ["" : 20]>
g (float[2, 3, 5, 4] k) => (float[OUT] y)
<int64[3] joined = {JOINED}, int64[4] parted = {OUT}>
{
    flat = Reshape(k, joined)
    turned = Transpose<perm = [0, 2, 1]>(flat)
    y = Reshape(turned, parted)
}
"""
X = np.random.default_rng(0).normal(size=(2, 5, 12)).astype("f")
K = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("f")


def test_it_is_one_transpose_with_the_one_before(apply):
    done = apply(KeyTranspose, COMPUTED, {"x": X})
    assert done.operators == {"Reshape": 1, "Transpose": 1}
    (turn,) = [node for node in done.model.graph if node.op_type == "Transpose"]
    assert list(turn.attributes.get_ints("perm")) == [0, 2, 3, 1]


def test_fixed_sizes(apply):
    text = FIXED.replace("JOINED", "6, 5, 4").replace("OUT", "2, 3, 4, 5")
    assert apply(KeyTranspose, text, {"k": K}).operators == {"Transpose": 1}


@pytest.mark.parametrize(
    ("joined", "out"),
    [("3, 10, 4", "3, 4, 5, 2"), ("6, 4, 5", "2, 3, 5, 4"), ("6, 5, 4", "3, 2, 4, 5")],
)
def test_other_axes_are_left_and_it_says_so(apply, joined, out):
    text = FIXED.replace("JOINED", joined).replace("OUT", out)
    done = apply(KeyTranspose, text, {"k": K})
    assert done.ledger.firings == []
    assert "sizes" in done.ledger.near_misses[0].why


def test_a_transpose_before_that_others_read_stays(apply):
    text = COMPUTED.replace("=> (", "=> (float[batch, 3, tokens, 4] k, ")
    done = apply(KeyTranspose, text, {"x": X})
    assert done.operators["Transpose"] == 2


def test_a_step_that_is_an_output_stays(apply):
    text = COMPUTED.replace("=> (", "=> (float[b, 4, tokens] turned, ")
    assert apply(KeyTranspose, text, {"x": X}).ledger.firings == []


def test_a_denied_site_is_left_alone(apply):
    done = apply(KeyTranspose, COMPUTED, {"x": X}, denied=frozenset({"y"}))
    assert done.operators["Transpose"] == 2
