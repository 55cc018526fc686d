"""Borders, positive and negative, against ONNX Runtime and NumPy."""

import numpy as np
import pytest

X = np.arange(20, dtype=np.float32).reshape(4, 5)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [(1, 2, 3, 0), (0, 4, 0, 4), (-1, 0, 0, -2), (-1, 1, 1, -3)])
def test_pads_of_every_mode(one_node, by_onnxruntime, mode, pads):
    inputs = [X, np.array(pads, np.int64)]
    (mine,) = one_node("Pad", inputs, opset=19, mode=mode)
    (wanted,) = by_onnxruntime("Pad", inputs, opset=19, mode=mode)
    np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("opset", [2, 11])
def test_older_ways_to_say_it(one_node, opset):
    pads = [0, 1, 2, 0]
    if opset == 2:
        (y,) = one_node("Pad", [X], opset=2, pads=pads, value=7.0)
    else:
        (y,) = one_node("Pad", [X, np.array(pads), np.float32(7)[None][0]], opset=11)
    np.testing.assert_array_equal(y, np.pad(X, ((0, 2), (1, 0)), constant_values=7))
