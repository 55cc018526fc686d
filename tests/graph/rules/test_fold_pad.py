import numpy as np
import pytest

from lepton_ai.graph.rules.fold_pad import FoldPad

HEAD = '<ir_version: 8, opset_import: ["" : 18]>\n'
TEXT = (
    HEAD
    + """
g (float[n, 4, h, w_] x) => (float[n, c, a, b] y)
<int64[8] pads = {0, 0, 1, 0, 0, 0, 2, 1}, float zero = {0}>
{
    wide = Pad (x, pads, zero)
    y = READER
}
"""
)
READERS = {
    "Conv": "Conv (wide, w)",
    "Conv with pads": "Conv <pads = [1, 0, 0, 2], strides = [2, 1]> (wide, w)",
    "Conv without": 'Conv <auto_pad = "VALID"> (wide, w)',
    "AveragePool": "AveragePool <kernel_shape = [3, 3]> (wide)",
    "AveragePool that counts": "AveragePool <kernel_shape = [4, 3], count_include_pad = 1,"
    " pads = [1, 1, 1, 1]> (wide)",
    "ConvTranspose": "ConvTranspose <strides = [2, 3], pads = [2, 1, 5, 4]> (wide, w)",
}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("f")


FEED = {"x": numbers(2, 4, 9, 8, seed=1)}
WEIGHT = {"w": numbers(4, 4, 3, 3)}


@pytest.mark.parametrize("reader", READERS)
def test_zeros_are_put_around_by_the_reader(apply, reader):
    done = apply(FoldPad, TEXT.replace("READER", READERS[reader]), FEED, WEIGHT)
    assert [firing.site for firing in done.ledger.firings] == ["y:wide"]
    assert done.operators == {reader.split()[0]: 1}


@pytest.mark.parametrize(
    "pad", ["Pad (x, pads)", "Pad (x, some, zero, axes)", "Pad (x, some, , axes)"]
)
def test_the_ways_of_saying_so(apply, pad):
    text = TEXT.replace("Pad (x, pads, zero)", pad).replace("READER", READERS["Conv"])
    text = text.replace(
        "<int64[8]", "<int64[4] some = {1, 2, 0, 1}, int64[2] axes = {-1, 2}, int64[8]"
    )
    done = apply(FoldPad, text, FEED, WEIGHT)
    assert done.operators == {"Conv": 1}


def test_the_pad_of_old_files(apply):
    text = """
    <ir_version: 4, opset_import: ["" : 9]>
    g (float[n, 4, h, w_] x) => (float[n, c, a, b] y)
    {
        wide = Pad <pads = [0, 0, 1, 0, 0, 0, 2, 1]> (x)
        y = Conv (wide, w)
    }
    """
    text = text.replace("w_] x)", "w_] x, float[4, 4, 3, 3] u)").replace("wide, w)", "wide, c)")
    text = text.replace(
        "{\n",
        "{\n c = Constant <value = float[4, 4, 1, 1] {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}> ()\n",
        1,
    )
    done = apply(FoldPad, text, {**FEED, "u": WEIGHT["w"]})
    assert done.operators == {"Conv": 1, "Constant": 1}


def test_pads_in_a_row_all_go(apply):
    text = TEXT.replace("wide = Pad (x, pads, zero)", "p = Pad (x, pads) wide = Pad (p, pads)")
    done = apply(FoldPad, text.replace("READER", READERS["Conv"]), FEED, WEIGHT)
    assert [firing.site for firing in done.ledger.firings] == ["y:wide", "y:p"]
    assert done.operators == {"Conv": 1}


def test_every_reader_pads_and_another_keeps_the_pad(apply):
    text = TEXT.replace("b] y)", "b] y, float[n, 4, d, e] z)")
    text = text.replace("y = READER", "y = Conv (wide, w)\n    z = OTHER")
    both = apply(FoldPad, text.replace("OTHER", "Conv (wide, w)"), FEED, WEIGHT)
    assert both.operators == {"Conv": 2}
    one = apply(FoldPad, text.replace("OTHER", "Relu (wide)"), FEED, WEIGHT)
    assert one.operators == {"Conv": 1, "Pad": 1, "Relu": 1}


def test_a_pad_that_is_an_output_stays_for_that(apply):
    text = TEXT.replace("b] y)", "b] y, float[n, 4, d, e] wide)").replace("READER", READERS["Conv"])
    done = apply(FoldPad, text, FEED, WEIGHT)
    assert done.operators == {"Conv": 1, "Pad": 1}


@pytest.mark.parametrize("before", ["Relu (x)", "Clip (x, zero)", "Sigmoid (x)"])
def test_a_maximum_of_what_is_never_negative_pads_with_zeros(apply, before):
    text = TEXT.replace("wide = Pad (x,", f"p = {before} wide = Pad (p,")
    text = text.replace("READER", "MaxPool <kernel_shape = [3, 2], strides = [2, 2]> (wide)")
    done = apply(FoldPad, text, FEED)
    assert done.operators["Pad"] == 0


def test_a_maximum_pads_with_minus_infinity(apply):
    text = TEXT.replace("pads, zero)", "pads, least)")
    text = text.replace("READER", "MaxPool <kernel_shape = [3, 2]> (wide)")
    done = apply(FoldPad, text, FEED, {"least": np.array(-np.inf, "f")})
    assert done.operators == {"MaxPool": 1}


POOL = "kernel_shape = [4, 3]"
MISSES = {
    "another value": ("Conv (wide, w)", ("pads, zero)", "pads, one)")),
    "not pad with a constant": ("Conv (wide, w)", ("Pad (x", 'Pad <mode = "reflect"> (x')),
    "takes elements away": (
        "Conv (wide, w)",
        ("0, 0, 1, 0, 0, 0, 2, 1", "0, 0, -1, 0, 0, 0, 2, 1"),
    ),
    "batch or the channels": (
        "Conv (wide, w)",
        ("{0, 0, 1, 0, 0, 0, 2, 1", "{1, 0, 1, 0, 0, 0, 2, 1"),
    ),
    "is not constant": ("Conv (wide, w)", ("(x, pads", "(x, computed")),
    "size of what it reads": ('Conv <auto_pad = "SAME_UPPER"> (wide, w)', ("", "")),
    "keeps what the zeros add": ("ConvTranspose (wide, w)", ("", "")),
    "given shape": ("ConvTranspose <output_shape = [12, 9]> (wide, w)", ("", "")),
    "counts its own padding": (f"AveragePool <{POOL}, pads = [1, 1, 1, 1]> (wide)", ("", "")),
    "rounds up": (f"AveragePool <{POOL}, ceil_mode = 1, count_include_pad = 1> (wide)", ("", "")),
    "nothing but padding": ("AveragePool <kernel_shape = [2, 2]> (wide)", ("", "")),
    "largest in a window": (f"MaxPool <{POOL}> (wide)", ("", "")),
    "have gaps": (f"MaxPool <{POOL}, dilations = [2, 1]> (wide)", ("Pad (x", "Pad (r")),
    "places of the maxima": (f"MaxPool <{POOL}> (wide)", ("y = ", "y, z = ")),
}


@pytest.mark.parametrize("reason", MISSES)
def test_what_is_missing_is_said(apply, reason):
    reader, change = MISSES[reason]
    text = TEXT.replace("READER", reader)
    if change[0]:
        text = text.replace(*change)
    text = text.replace("wide =", "r = Relu (x) computed = Identity (pads)\n    wide =")
    done = apply(FoldPad, text, FEED, {**WEIGHT, "one": np.array(1, "f")})
    assert done.ledger.firings == []
    assert reason in done.ledger.near_misses[0].why


def test_pads_that_a_caller_may_give_stay(apply):
    text = TEXT.replace("w_] x)", "w_] x, int64[8] given)").replace("(x, pads", "(x, given")
    text = text.replace("READER", READERS["Conv"])
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    done = apply(FoldPad, text, {**FEED, "given": pads * 2}, {**WEIGHT, "given": pads})
    assert done.ledger.firings == []


def test_a_denied_site_is_left_alone(apply):
    text = TEXT.replace("READER", READERS["Conv"])
    done = apply(FoldPad, text, FEED, WEIGHT, denied=frozenset({"y:wide"}))
    assert done.operators == {"Conv": 1, "Pad": 1}


def test_bounds_that_cross_may_leave_less_than_zero(apply):
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
    <float low = {1.0}, float high = {-5.0}, int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}>
    { a = Clip (x, low, high)  b = Pad (a, pads)  y = MaxPool <kernel_shape = [3, 3]> (b) }
    """
    assert apply(FoldPad, text, {"x": numbers(1, 1, 4, 4)}).ledger.firings == []
