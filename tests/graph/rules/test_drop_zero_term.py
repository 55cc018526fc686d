import numpy as np
import pytest

from lepton_ai.graph.rules.drop_zero_term import DropZeroTerm

HEAD = """
<ir_version: 9, opset_import: ["" : 20]>
g (float[batch, tokens, 4] x, bool[batch, tokens, 4] keep) => (float[batch, tokens, 4] y)
<float zero = {0.0}, float lowest = {-1e30}, int64 none = {0}, int64 one = {1},
 float[1, 1, 1, 4] wide = {0.0, 0.0, 0.0, 0.0}>
{ n = Neg(x) BODY y = Neg(z) }
"""
X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f")
FEED = {"x": X, "keep": np.ones((2, 3, 4), bool)}
RANGE = """
    size = Shape<start = 1, end = 2>(x) count = Squeeze(size) at = Range(FIRST, count, one)
    axes = Constant<value_ints = [0, 2]>() row = Unsqueeze(at, axes)
    always = GreaterOrEqual(row, none)
    mask = Where(always, zero, lowest)
"""


def text(body):
    return HEAD.replace("BODY", body)


def test_a_mask_that_masks_nothing_goes_with_what_builds_it(apply):
    done = apply(DropZeroTerm, text(RANGE.replace("FIRST", "none") + "z = Add(n, mask)"), FEED)
    assert done.operators == {"Neg": 2}


def test_constant_zeros(apply):
    body = "e = Unsqueeze(n, none1) w = Add(wide, e) z = Squeeze(w, none1)"
    done = apply(DropZeroTerm, text("none1 = Constant<value_ints = [0]>() " + body), FEED)
    assert not done.operators["Add"]


@pytest.mark.parametrize(
    "body",
    [
        "mask = Where(keep, zero, lowest) z = Add(n, mask)",
        RANGE.replace("GreaterOrEqual(row, none)", "GreaterOrEqual(row, one)").replace(
            "FIRST", "none"
        )
        + "z = Add(n, mask)",
        "c = Cast<to = 1>(keep) z = Add(n, c)",
    ],
)
def test_a_mask_that_may_mask_stays(apply, body):
    keep = np.random.default_rng(0).random((2, 3, 4)) > 0.5
    done = apply(DropZeroTerm, text(body), {"x": X, "keep": keep})
    assert done.operators["Add"] == 1


def test_zeros_that_widen_stay_and_it_says_so(apply):
    body = """
        axes = Constant<value_ints = [2]>() f = ReduceSum<keepdims = 1>(n, axes)
        mask = Where(keep, zero, zero) z = Add(f, mask)"""
    done = apply(DropZeroTerm, text(body), FEED)
    assert done.operators["Add"] == 1
    assert "widen" in done.ledger.near_misses[0].why


def test_a_denied_site_is_left_alone(apply):
    body = RANGE.replace("FIRST", "none") + "z = Add(n, mask)"
    done = apply(DropZeroTerm, text(body), FEED, denied=frozenset({"z"}))
    assert done.operators["Add"] == 1
