import numpy as np
import pytest

from lepton_ai.graph.rules.global_pooling import GlobalPooling

TEXT = """
<ir_version: 8, opset_import: ["" : 18]>
g (float[n, 3, h, 5] x) => (float[n, 4, p, q] y)
<int64[2] axes = {AXES}>
{
    made = Conv (x, w)
    active = Relu (made)
    y = ReduceMean <keepdims = KEEP> (active, axes)
}
"""
FEED = {"x": np.random.default_rng(0).normal(size=(2, 3, 7, 5)).astype("f")}
WEIGHT = {"w": np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype("f")}


@pytest.mark.parametrize("axes", ["2, 3", "-1, -2", "3, -2"])
def test_a_mean_over_the_spatial_axes_pools(apply, axes):
    text = TEXT.replace("AXES", axes).replace("KEEP", "1")
    done = apply(GlobalPooling, text, FEED, WEIGHT)
    assert done.operators == {"Conv": 1, "Relu": 1, "GlobalAveragePool": 1}


def test_axes_that_go_are_flattened_away(apply):
    text = TEXT.replace("AXES", "2, 3").replace("KEEP", "0").replace(", p, q]", "]")
    done = apply(GlobalPooling, text, FEED, WEIGHT)
    assert done.operators == {"Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Flatten": 1}


def test_axes_as_an_attribute(apply):
    text = TEXT.replace("AXES", "2, 3").replace("18]", "17]")
    text = text.replace("<keepdims = KEEP> (active, axes)", "<axes = [-1, 2]> (active)")
    done = apply(GlobalPooling, text, FEED, WEIGHT)
    assert done.operators["GlobalAveragePool"] == 1


@pytest.mark.parametrize("axes", ["1, 2", "0, 3"])
def test_other_axes_are_a_near_miss(apply, axes):
    text = TEXT.replace("AXES", axes).replace("KEEP", "1").replace("[n, 4, p, q]", "[d, e, p, q]")
    done = apply(GlobalPooling, text, FEED, WEIGHT)
    assert done.ledger.firings == []
    assert "other axes" in done.ledger.near_misses[0].why


def test_computed_axes_are_a_near_miss(apply):
    text = TEXT.replace("AXES", "2, 3").replace("KEEP", "1")
    text = text.replace("y =", "found = Identity (axes)\n    y =").replace(
        "active, axes", "active, found"
    )
    done = apply(GlobalPooling, text, FEED, WEIGHT)
    assert "not constant" in done.ledger.near_misses[0].why


def test_what_no_convolution_computed_stays(apply):
    text = (
        TEXT.replace("AXES", "2, 3").replace("KEEP", "1").replace("Relu (made)", "Softmax (made)")
    )
    done = apply(GlobalPooling, text, FEED, WEIGHT)
    assert done.ledger.firings == done.ledger.near_misses == []


def test_a_sum_counts_where_convolutions_computed_both_sides(apply):
    text = TEXT.replace("AXES", "2, 3").replace("KEEP", "1")
    residual = text.replace(
        "active = Relu (made)", "gate = Sigmoid (made) active = Add (made, gate)"
    )
    done = apply(GlobalPooling, residual, FEED, WEIGHT)
    assert done.operators["GlobalAveragePool"] == 1
    moved = residual.replace("Sigmoid (made)", "Transpose <perm = [0, 1, 2, 3]> (made)")
    assert apply(GlobalPooling, moved, FEED, WEIGHT).ledger.firings == []


def test_a_denied_site_is_left_alone(apply):
    text = TEXT.replace("AXES", "2, 3").replace("KEEP", "1")
    done = apply(GlobalPooling, text, FEED, WEIGHT, denied=frozenset({"y"}))
    assert done.operators["ReduceMean"] == 1


def test_only_onnx_runtime_wants_it():
    assert GlobalPooling.engines == ("onnxruntime",)
