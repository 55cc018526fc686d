"""Slices and shapes at their edges, against ONNX Runtime."""

import numpy as np
import pytest

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
FAR = 2**63 - 1


def ints(*values):
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [
        *(
            (a, b, s)
            for a in (-9, -5, -1, 0, 2, 5, 9)
            for b in (-9, -2, 0, 3, 9)
            for s in (-2, -1, 1, 3)
        ),
        (0, FAR, 2),
        (-1, -FAR, -1),
        (FAR, -FAR - 1, -2),
    ],
)
def test_slices_of_any_bounds_and_steps(one_node, by_onnxruntime, start, end, step):
    inputs = [X, ints(start), ints(end), ints(-1), ints(step)]
    (mine,) = one_node("Slice", inputs, opset=18)
    (wanted,) = by_onnxruntime("Slice", inputs, opset=18)
    np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize(
    ("shape", "target", "wanted"),
    [
        ((3, 4, 5), (0, -1), (3, 20)),
        ((3, 4, 5), (5, 0, 3), (5, 4, 3)),
        ((0, 4, 5), (0, -1), (0, 20)),
        ((0, 4, 5), (0, 5, -1), (0, 5, 4)),
        ((1,), (), ()),
    ],
)
def test_reshaping_keeps_sizes_and_fills_in_the_rest(one_node, shape, target, wanted):
    (y,) = one_node("Reshape", [np.zeros(shape, np.float32), ints(*target)])
    assert y.shape == wanted


def test_parts_are_equal_but_for_the_last(one_node):
    parts = one_node("Split", [X], outputs=3, axis=2, num_outputs=3)
    assert [part.shape[2] for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(parts, axis=2), X)


@pytest.mark.parametrize("target", [(4, 5), (3, 1, 1), (2, 1, 1, 1, 5), (1,)])
def test_expanding_is_broadcasting_both_ways(one_node, target):
    (y,) = one_node("Expand", [X, ints(*target)])
    np.testing.assert_array_equal(y, X * np.ones(target, np.float32))


def test_the_first_tile_repeated_along_one_axis(one_node):
    (y,) = one_node("Tile", [X, ints(2)[0], ints(-1)[0]], opset=1)
    np.testing.assert_array_equal(y, np.tile(X, (1, 1, 2)))
