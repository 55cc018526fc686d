"""What the table asks of NumPy beyond the standard, against plain loops."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from lepton_ai.operators.namespaces.numpy import NumpyNamespace

XP = NumpyNamespace()
RNG = np.random.default_rng(7)


def convolved(x, weight, strides, pads, dilations, groups):
    """One output at a time."""
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    kernel = weight.shape[2:]
    sizes = [
        (size - dilation * (k - 1) - 1) // stride + 1
        for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    y = np.zeros((len(x), len(weight), *sizes))
    depth, each = weight.shape[1], len(weight) // groups
    for n, m in itertools.product(range(len(x)), range(len(weight))):
        first = m // each * depth
        for place in np.ndindex(*sizes):
            window = tuple(
                slice(p * s, p * s + d * (k - 1) + 1, d)
                for p, s, d, k in zip(place, strides, dilations, kernel, strict=True)
            )
            y[(n, m, *place)] = (x[(n, slice(first, first + depth), *window)] * weight[m]).sum()
    return y


@pytest.mark.parametrize(
    ("shape", "weight", "strides", "pads", "dilations", "groups"),
    [
        ((2, 3, 9), (4, 3, 3), (1,), [(1, 2)], (2,), 1),
        ((2, 4, 6, 7), (6, 2, 3, 2), (2, 1), [(0, 1), (1, 1)], (1, 2), 2),
        ((1, 4, 6, 6), (8, 1, 3, 3), (1, 2), [(1, 1), (0, 0)], (1, 1), 4),
        ((1, 2, 4, 4, 5), (3, 2, 2, 2, 2), (1, 1, 2), [(0, 0)] * 3, (1, 2, 1), 1),
    ],
)
def test_convolutions(shape, weight, strides, pads, dilations, groups):
    x, w = RNG.normal(size=shape), RNG.normal(size=weight)
    settings = {"strides": strides, "pads": pads, "dilations": dilations, "groups": groups}
    np.testing.assert_allclose(XP.convolve(x, w, **settings), convolved(x, w, **settings), 1e-10)


@pytest.mark.parametrize(("kind", "reduce"), [("max", np.max), ("sum", np.sum)])
def test_windows_that_do_not_fit_are_not_there(kind, reduce):
    x = RNG.normal(size=(2, 7, 8))
    y = XP.reduce_windows(x, kind, kernel=(3, 2), strides=(2, 3), dilations=(2, 1))
    assert y.shape == (2, 2, 3)
    for i, j in itertools.product(range(2), range(3)):
        window = x[:, 2 * i : 2 * i + 5 : 2, 3 * j : 3 * j + 2]
        np.testing.assert_allclose(y[:, i, j], reduce(window, axis=(1, 2)))
    assert XP.reduce_windows(x, kind, kernel=(9,), strides=(1,), dilations=(1,)).shape == (2, 7, 0)


@pytest.mark.parametrize(
    ("reduction", "wanted"),
    [("none", [0, 1, 5, 3]), ("add", [0, 1, 11, 3]), ("mul", [0, 1, 40, 3]), ("max", [0, 1, 5, 3])],
)
def test_every_update_counts_where_an_element_is_named_twice(reduction, wanted):
    x = np.arange(4, dtype=ml_dtypes.bfloat16)
    updates = np.array([4, 5], dtype=ml_dtypes.bfloat16)
    y = XP.scatter(x, (np.array([2, 2]),), updates, reduction)
    assert y.dtype == ml_dtypes.bfloat16
    assert y.astype(int).tolist() == wanted
    assert x.astype(int).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.uint8])
def test_of_equals_the_first_come_first_in_both_orders(dtype):
    x = np.array([1, 3, 1, 3, 2]).astype(dtype)
    assert XP.argsort(x).tolist() == [0, 2, 4, 1, 3]
    assert XP.argsort(x, descending=True).tolist() == [1, 3, 4, 0, 2]


def test_a_scan_of_nothing_has_the_shape_of_its_answers():
    def step(carry, x):
        return (carry[0] + x[0],), (x[0] * carry[0],)

    (last,), (ys,) = XP.scan(step, (np.float32(1),), (np.arange(3, dtype=np.float32),))
    assert last == 4
    assert ys.tolist() == [0, 1, 4]
    (last,), (ys,) = XP.scan(step, (np.zeros(2),), (np.zeros((0, 2)),))
    assert last.tolist() == [0, 0]
    assert ys.shape == (0, 2)
