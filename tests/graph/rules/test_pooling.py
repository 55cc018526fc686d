import numpy as np
import onnx
import openvino
import pytest
import torch
from torch.nn import functional

from lepton_ai.graph.rules.pooling import Pooling

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, 7, 5] x) => (float[n, 3, a, b] y)
{
    y = POOL
}
"""
FEED = {"x": np.random.default_rng(0).normal(3, size=(2, 3, 7, 5)).astype("f")}
WHOLE = {
    "the size of the input": "kernel_shape = [7, 5]",
    "any stride": "kernel_shape = [7, 5], strides = [3, 2]",
    "larger, rounding up": "kernel_shape = [1280, 1280], strides = [1280, 1280], ceil_mode = 1",
    "a little larger, rounding up": "kernel_shape = [8, 5], strides = [2, 1], ceil_mode = 1",
    "over its padding": "kernel_shape = [9, 8], pads = [1, 1, 1, 2], strides = [9, 8]",
    "over lopsided padding": "kernel_shape = [9, 5], pads = [0, 0, 2, 0]",
    "padding by itself": 'kernel_shape = [10, 8], strides = [7, 5], auto_pad = "SAME_UPPER"',
    "padding nothing": 'kernel_shape = [7, 5], auto_pad = "VALID"',
}


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("window", WHOLE)
def test_one_window_over_everything_is_a_global_pooling(apply, operator, window):
    done = apply(Pooling, TEXT.replace("POOL", f"{operator} <{WHOLE[window]}> (x)"), FEED)
    assert done.operators == {f"Global{operator}": 1}


PARTS = {
    "smaller": "kernel_shape = [7, 4]",
    "two windows": "kernel_shape = [8, 5], pads = [1, 0, 1, 0]",
    "beginning late": "kernel_shape = [7, 5], pads = [1, 0, 0, 0]",
    "two windows by itself": 'kernel_shape = [14, 10], strides = [4, 5], auto_pad = "SAME_LOWER"',
}


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("window", PARTS)
def test_other_windows_stay(apply, operator, window):
    done = apply(Pooling, TEXT.replace("POOL", f"{operator} <{PARTS[window]}> (x)"), FEED)
    assert done.operators == {operator: 1}


def test_counting_no_padding_is_as_good_as_having_none(apply):
    pool = "AveragePool <kernel_shape = [9, 9], ceil_mode = 1, count_include_pad = 1> (x)"
    pool = pool.replace("ceil", "strides = [9, 9], ceil")
    done = apply(Pooling, TEXT.replace("POOL", pool), FEED)
    assert done.operators == {"GlobalAveragePool": 1}


def test_torch_means_the_same(apply):
    pool = "AveragePool <kernel_shape = [40, 40], strides = [40, 40], ceil_mode = 1> (x)"
    done = apply(
        Pooling, TEXT.replace("POOL", pool.replace("ceil", "count_include_pad = 1, ceil")), FEED
    )
    wanted = functional.avg_pool2d(torch.from_numpy(FEED["x"]), 40, 40, ceil_mode=True)
    np.testing.assert_allclose(done.after["y"], wanted.numpy(), rtol=1e-5)


def test_an_engine_that_refuses_so_large_a_window_takes_the_graph(apply, tmp_path):
    pool = "AveragePool <kernel_shape = [40, 40], strides = [40, 40], ceil_mode = 1> (x)"
    done = apply(Pooling, TEXT.replace("POOL", pool), FEED)
    core = openvino.Core()
    with pytest.raises(RuntimeError):
        core.compile_model(tmp_path / "net.onnx", "CPU")
    answer = core.compile_model(tmp_path / "rewritten.onnx", "CPU")(FEED)
    np.testing.assert_allclose(answer["y"], done.before["y"], rtol=1e-4)


def why(done):
    assert done.ledger.firings == []
    return " ".join(miss.why for miss in done.ledger.near_misses)


def test_what_is_missing_is_said(apply):
    counted = "kernel_shape = [9, 7], pads = [1, 1, 1, 1], count_include_pad = 1"
    done = apply(Pooling, TEXT.replace("POOL", f"AveragePool <{counted}> (x)"), FEED)
    assert "counts its padding" in why(done)
    places = TEXT.replace("POOL", "MaxPool <kernel_shape = [7, 5]> (x)")
    places = places.replace("y =", "y, z =").replace("b] y)", "b] y, int64[n, 3, a, b] z)")
    assert "places" in why(apply(Pooling, places, FEED))
    unknown = TEXT.replace("7, 5] x", "7, wide] x").replace(
        "POOL", "MaxPool <kernel_shape = [7, 7]> (x)"
    )
    feed = {"x": np.zeros((1, 3, 7, 7), "f")}
    assert "size of what it pools" in why(apply(Pooling, unknown, feed))


def test_small_integers_stay(apply):
    text = TEXT.replace("float", "uint8").replace("POOL", "MaxPool <kernel_shape = [7, 5]> (x)")
    done = apply(Pooling, text, {"x": np.arange(105, dtype=np.uint8).reshape(1, 3, 7, 5)})
    assert "floating point" in why(done)


def test_a_window_with_gaps_stays(apply):
    text = TEXT.replace("POOL", "MaxPool <kernel_shape = [7, 5], dilations = [2, 1]> (x)")
    text = text.replace("kernel_shape", "pads = [3, 0, 3, 0], kernel_shape")
    assert apply(Pooling, text, FEED).ledger.firings == []


def test_sequences_and_volumes(apply):
    for sizes, kernel in (([6], [6]), ([3, 4, 5], [3, 4, 5])):
        shape = ", ".join(map(str, sizes))
        text = TEXT.replace("7, 5] x", f"{shape}] x").replace("n, 3, a, b", "n, 3, " + shape)
        text = text.replace("3, " + shape + "] y", "3, " + ", ".join("abc"[: len(sizes)]) + "] y")
        text = text.replace("POOL", f"AveragePool <kernel_shape = {kernel}> (x)")
        done = apply(
            Pooling, text, {"x": np.random.default_rng(1).normal(size=(2, 3, *sizes)).astype("f")}
        )
        assert done.operators == {"GlobalAveragePool": 1}


def test_an_output_keeps_its_name_and_a_denied_site_is_left_alone(apply, tmp_path):
    text = TEXT.replace("POOL", "MaxPool <kernel_shape = [7, 5]> (x)")
    apply(Pooling, text, FEED)
    assert [output.name for output in onnx.load(tmp_path / "rewritten.onnx").graph.output] == ["y"]
    done = apply(Pooling, text, FEED, denied=frozenset({"y"}))
    assert done.operators == {"MaxPool": 1}
