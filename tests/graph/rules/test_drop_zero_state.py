import numpy as np

from lepton_ai.graph.rules.drop_zero_state import DropZeroState

GRU = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[5, batch, 3] x) => (float[5, 1, batch, 4] y)
<int64[1] one = {1}, int64[1] four = {4}>
{
    shape = Shape <start = 1, end = 2> (x)
    wanted = Concat <axis = 0> (one, shape, four)
    state = ConstantOfShape VALUE (wanted)
    y = GRU <hidden_size = 4> (x, w, r, , , state)
}
"""


def weights():
    rng = np.random.default_rng(0)
    return {
        "w": rng.normal(size=(1, 12, 3)).astype("f"),
        "r": rng.normal(size=(1, 12, 4)).astype("f"),
    }


def test_a_zero_state_goes_with_the_nodes_that_built_it(apply):
    feed = {"x": np.random.default_rng(1).normal(size=(5, 2, 3)).astype("f")}
    done = apply(DropZeroState, GRU.replace("VALUE", ""), feed, weights())
    assert [firing.site for firing in done.ledger.firings] == ["y:5"]
    assert done.operators == {"GRU": 1}


def test_another_state_stays_and_it_says_why(apply):
    feed = {"x": np.random.default_rng(1).normal(size=(5, 2, 3)).astype("f")}
    text = GRU.replace("VALUE", "<value = float[1] {0.5}>")
    done = apply(DropZeroState, text, feed, weights())
    assert done.ledger.firings == []
    assert "not zero" in done.ledger.near_misses[0].why


def test_a_denied_site_is_left_alone(apply):
    feed = {"x": np.random.default_rng(1).normal(size=(5, 2, 3)).astype("f")}
    done = apply(
        DropZeroState, GRU.replace("VALUE", ""), feed, weights(), denied=frozenset({"y:5"})
    )
    assert done.operators["ConstantOfShape"] == 1
