import numpy as np
import pytest

from lepton_ai.graph.matching.phase_blocks import blocks_at
from lepton_ai.graph.rules import subpixel_convolution
from lepton_ai.graph.rules.subpixel_convolution import SubpixelConvolution

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 4, SIZE] x) => (float[n, c, a, b] y)
{
    y = ConvTranspose <ATTRIBUTES> (INPUTS)
}
"""


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("f")


def graph(attributes, size="h, w_", inputs="x, w"):
    text = TEXT.replace("ATTRIBUTES", attributes).replace("SIZE", size)
    return text.replace("INPUTS", inputs)


@pytest.fixture
def eager(monkeypatch):
    """Fire wherever the two are equal, whatever it costs."""
    monkeypatch.setattr(subpixel_convolution, "ADDING_UP", 10**9)
    monkeypatch.setattr(subpixel_convolution, "LAYING_OUT", 0)
    monkeypatch.setattr(subpixel_convolution, "BLOCK", 1)


EQUAL = {
    "kernel 4, stride 2, padding 1": ("strides = [2, 2], pads = [1, 1, 1, 1]", (4, 3, 4, 4)),
    "kernel 5, output padding": (
        "strides = [2, 2], pads = [2, 2, 2, 2], output_padding = [1, 1]",
        (4, 3, 5, 5),
    ),
    "lopsided padding": ("strides = [3, 3], pads = [0, 2, 3, 1]", (4, 3, 6, 4)),
    "groups": ("strides = [2, 2], pads = [1, 0, 1, 0], group = 2", (4, 3, 4, 3)),
    "stride 1": ("pads = [1, 0, 1, 2]", (4, 3, 3, 4)),
    "every channel by itself": ("group = 4, pads = [1, 1, 1, 1]", (4, 1, 3, 3)),
}


@pytest.mark.parametrize("case", EQUAL)
@pytest.mark.parametrize("size", ["h, w_", "5, 7"])
def test_one_convolution_computes_all_phases(apply, eager, case, size):
    attributes, shape = EQUAL[case]
    text = graph(attributes, size, "x, w, b")
    groups = int(attributes.partition("group = ")[2][:1] or 1)
    bias = numbers(shape[1] * groups)
    done = apply(
        SubpixelConvolution, text, {"x": numbers(2, 4, 5, 7)}, {"w": numbers(*shape), "b": bias}
    )
    assert [firing.site for firing in done.ledger.firings] == ["y"]
    assert done.operators["ConvTranspose"] == 0
    assert done.operators["Conv"] == 1
    assert done.operators["DepthToSpace"] == ("strides" in attributes)


def test_any_transposed_convolution_of_a_size_is_equal(apply, eager):
    random = np.random.default_rng(0)
    for _ in range(40):
        stride, kernel = int(random.integers(1, 4)), [int(k) for k in random.integers(2, 7, 2)]
        pads = [int(p) for p in random.integers(0, 2, 4)]
        extra = [int(e) for e in random.integers(0, stride, 2)]
        attributes = f"strides = [{stride}, {stride}], pads = {pads}, output_padding = {extra}"
        text = graph(attributes, inputs="x, w, b")
        given = {"w": numbers(4, 2, *kernel), "b": numbers(2)}
        apply(SubpixelConvolution, text, {"x": numbers(1, 4, 3, 4)}, given)


def test_blocks_begin_where_least_is_computed(apply, eager):
    assert blocks_at(4, 2, 1, 1, 0, 0).taps == 3
    early = blocks_at(4, 2, 1, 1, 0, 1)
    assert (early.taps, early.crop_begin, early.crop_end) == (2, 1, 1)
    text = graph("strides = [2, 2], pads = [1, 1, 1, 1]", "8, 8")
    done = apply(SubpixelConvolution, text, {"x": numbers(1, 4, 8, 8)}, {"w": numbers(4, 3, 4, 4)})
    conv = next(node for node in done.model.graph if node.op_type == "Conv")
    assert conv.attributes.get_ints("kernel_shape") == (2, 2)
    assert "12288 multiply-accumulates become 15552" in done.ledger.firings[0].why


def test_a_kernel_of_the_stride_needs_no_slice(apply, eager):
    text = graph("strides = [2, 2]", "8, 8")
    done = apply(SubpixelConvolution, text, {"x": numbers(1, 4, 8, 8)}, {"w": numbers(4, 3, 2, 2)})
    assert done.operators == {"Conv": 1, "DepthToSpace": 1}


def test_an_activation_moves_along(apply, eager):
    text = graph("strides = [2, 2], pads = [1, 1, 1, 1]").replace("y = ", "made = ")
    text = text.replace("(x, w)", "(x, w)\n    y = LeakyRelu <alpha = 0.2> (made)")
    done = apply(SubpixelConvolution, text, {"x": numbers(1, 4, 5, 7)}, {"w": numbers(4, 3, 4, 4)})
    order = [node.op_type for node in done.model.graph]
    assert order == ["Conv", "LeakyRelu", "DepthToSpace", "Slice"]


def test_a_pixel_is_a_product(apply):
    attributes = "strides = [2, 2], pads = [1, 0, 0, 1], output_padding = [1, 1]"
    given = {"w": numbers(4, 3, 4, 4), "b": numbers(3)}
    text = graph(attributes, "1, 1", "x, w, b")
    done = apply(SubpixelConvolution, text, {"x": numbers(2, 4, 1, 1)}, given)
    assert done.operators == {"Flatten": 1, "Gemm": 1, "Reshape": 1}


PAYS = {
    "stride 1": ("pads = [1, 1, 1, 1]", (4, 16, 3, 3)),
    "three times the stride": ("strides = [2, 2], pads = [2, 2, 2, 2]", (4, 16, 6, 6)),
}
DOES_NOT = {
    "twice the stride": ("strides = [2, 2], pads = [1, 1, 1, 1]", (4, 16, 4, 4)),
    "the stride": ("strides = [2, 2]", (4, 16, 2, 2)),
    "few channels": ("pads = [1, 1, 1, 1]", (4, 3, 3, 3)),
}


@pytest.mark.parametrize("size", ["h, w_", "32, 32"])
@pytest.mark.parametrize("case", PAYS | DOES_NOT)
def test_it_fires_where_overlaps_cost_more_than_laying_out(apply, case, size):
    attributes, shape = (PAYS | DOES_NOT)[case]
    feed = {"x": numbers(1, 4, 32, 32)}
    done = apply(SubpixelConvolution, graph(attributes, size), feed, {"w": numbers(*shape)})
    assert bool(done.ledger.firings) == (case in PAYS)
    assert ["costs more" in m.why for m in done.ledger.near_misses] == [True] * (case in DOES_NOT)


MISSES = {
    "strides differ": ("strides = [2, 1]", "x, w"),
    "has gaps": ("dilations = [2, 2]", "x, w"),
    "output of a given shape": ('auto_pad = "SAME_UPPER", strides = [2, 2]', "x, w"),
    "bias is not constant": ("strides = [2, 2]", "x, w, found"),
    "leaves less": ("pads = [3, 0, 0, 0]", "x, w"),
}


@pytest.mark.parametrize("reason", MISSES)
def test_what_is_missing_is_said(apply, reason):
    attributes, inputs = MISSES[reason]
    text = graph(attributes, inputs=inputs).replace("y =", "found = Tanh (b)\n    y =")
    given = {"w": numbers(4, 3, 3, 3), "b": numbers(3)}
    done = apply(SubpixelConvolution, text, {"x": numbers(1, 4, 6, 6)}, given)
    assert done.ledger.firings == []
    assert reason in done.ledger.near_misses[0].why


def test_sequences_stay(apply):
    text = graph("strides = [2]", "t").replace("n, c, a, b", "n, c, a")
    done = apply(SubpixelConvolution, text, {"x": numbers(1, 4, 6)}, {"w": numbers(4, 3, 4)})
    assert "no convolution of images" in done.ledger.near_misses[0].why


def test_a_denied_site_is_left_alone(apply):
    attributes, shape = PAYS["stride 1"]
    feed, given = {"x": numbers(1, 4, 32, 32)}, {"w": numbers(*shape)}
    denied = frozenset({"y"})
    done = apply(SubpixelConvolution, graph(attributes), feed, given, denied=denied)
    assert done.operators == {"ConvTranspose": 1}
