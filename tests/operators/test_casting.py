"""What numbers become in narrower dtypes, as texts, and bit for bit."""

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto


def test_texts_become_numbers(one_node):
    texts = np.array(["3.5", "1e-5", "-INF", "nan", "+inf"], dtype=object)
    (y,) = one_node("Cast", [texts], to=TensorProto.FLOAT)
    np.testing.assert_array_equal(y, np.array([3.5, 1e-5, -np.inf, np.nan, np.inf], np.float32))
    (y,) = one_node("Cast", [np.array(["-12", "100.5"], dtype=object)], to=TensorProto.INT16)
    assert y.dtype == np.int16
    assert y.tolist() == [-12, 100]


def test_numbers_become_texts(one_node):
    x = np.array([0.25, np.inf, -np.inf, np.nan], np.float32)
    (y,) = one_node("Cast", [x], to=TensorProto.STRING)
    assert y.tolist() == ["0.25", "INF", "-INF", "NaN"]


def test_the_first_opset_spells_the_dtype_as_a_word(one_node):
    (y,) = one_node("Cast", [np.array([1.5], np.float32)], opset=1, to="INT32")
    assert y.dtype == np.int32


@pytest.mark.parametrize("saturate", [0, 1])
def test_floats_of_eight_bits_end_at_their_largest_or_in_no_number(one_node, saturate):
    x = np.array([1e6, -np.inf, 1], np.float32)
    (y,) = one_node("Cast", [x], to=TensorProto.FLOAT8E4M3FN, saturate=saturate)
    wanted = [448, -448, 1] if saturate else [np.nan, np.nan, 1]
    np.testing.assert_array_equal(y.astype(np.float32), np.array(wanted, np.float32))


@pytest.mark.parametrize(
    ("mode", "wanted"), [("up", [4, 4, 2, 2]), ("down", [2, 2, 2, 1]), ("nearest", [4, 2, 2, 2])]
)
def test_exponents_alone_are_rounded_as_asked(one_node, mode, wanted):
    x = np.array([3.0, 2.5, 2.0, 1.5], np.float32)
    (y,) = one_node("Cast", [x], opset=25, to=TensorProto.FLOAT8E8M0, round_mode=mode)
    np.testing.assert_array_equal(y.astype(np.float32), wanted)


def test_bits_of_half_a_byte_keep_their_sign(one_node):
    x = np.array([0, 7, 8, 15]).astype(ml_dtypes.uint4)
    (y,) = one_node("BitCast", [x], opset=26, to=TensorProto.INT4)
    assert y.dtype == ml_dtypes.int4
    assert y.astype(np.int8).tolist() == [0, 7, -8, -1]
    (back,) = one_node("BitCast", [y], opset=26, to=TensorProto.UINT4)
    assert back.astype(np.int8).tolist() == [0, 7, 8, 15]
