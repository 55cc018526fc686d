import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lepton_ai.serve import tensors
from lepton_ai.serve.refusal import RefusalError

NUMERIC = [d for d in tensors.DTYPES if d not in {"BYTES", "BF16"}]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_raw_bytes_and_json_round_trip(data):
    datatype = data.draw(st.sampled_from(NUMERIC))
    shapes = hnp.array_shapes(min_dims=0, min_side=0, max_side=3)
    array = data.draw(hnp.arrays(tensors.DTYPES[datatype], shapes))
    assert tensors.datatype_of(array) == datatype
    raw = tensors.from_bytes("x", datatype, array.shape, tensors.to_bytes(array))
    text = tensors.from_json("x", datatype, array.shape, tensors.to_json(array))
    for back in (raw, text):
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=5), max_size=4))
def test_texts_round_trip(texts):
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    shape = [len(texts)]
    assert tensors.from_bytes("t", "BYTES", shape, tensors.to_bytes(array)).tolist() == texts
    assert tensors.from_json("t", "BYTES", shape, tensors.to_json(array)).tolist() == texts


def test_bfloat16_round_trips():
    array = np.array([1.5, -2.0, np.inf, np.nan]).astype(ml_dtypes.bfloat16)
    raw = tensors.from_bytes("x", "BF16", [4], tensors.to_bytes(array))
    assert raw.tobytes() == array.tobytes()
    assert tensors.to_json(array) == [1.5, -2.0, "Infinity", "NaN"]
    assert tensors.from_json("x", "BF16", [4], tensors.to_json(array)).dtype == array.dtype


def test_flat_and_nested_are_the_same():
    flat = tensors.from_json("x", "INT32", [2, 2], [1, 2, 3, 4])
    nested = tensors.from_json("x", "INT32", [2, 2], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(flat, nested)


def test_large_integers_keep_every_digit():
    values = [1, 2**64 - 1]
    assert tensors.from_json("x", "UINT64", [2], values).tolist() == values


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "says"),
    [
        ("INT32", [2], [1], "wants 2 values, and 1 came"),
        ("INT32", [1], [1.5], "wants integers, and 1.5 came"),
        ("INT32", [1], [True], "wants integers, and true came"),
        ("INT32", [1], ["1"], 'wants integers, and "1" came'),
        ("INT8", [1], [128], "out of bounds"),
        ("UINT8", [1], [-1], "wants UINT8"),
        ("BOOL", [1], [1], "wants true or false, and 1 came"),
        ("FP32", [1], ["one"], 'wants numbers, and "one" came'),
        ("FP32", [1], [None], "wants numbers, and null came"),
        ("FP32", [1], [True], "wants numbers, and true came"),
        ("FP16", [1], [1e6], "out of its range"),
        ("FP32", [1], [10**400], "wants FP32"),
        ("BYTES", [1], [7], "wants texts, and 7 came"),
        ("FP32", [2, 2], [[1, 2], [3]], "wants lists of 2 on axis 1, and 1 came"),
        ("FP32", [2, 2], [[1, 2], 3], "wants lists of 2 on axis 1, and 3 came"),
        ("FP32", [2, 1], [[1], [[2]]], r"and \[2\] came"),
        ("FP32", [1], 5, "wants a list of data, and 5 came"),
        ("FP32", [1], None, "wants a list of data, and null came"),
        ("FP32", [10**30], [1], "values, and 1 came"),
    ],
)
def test_json_that_does_not_fit_is_refused(datatype, shape, data, says):
    with pytest.raises(RefusalError, match=says) as caught:
        tensors.from_json("x", datatype, shape, data)
    assert caught.value.status == 400
    assert "'x'" in str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "says"),
    [
        ("FP32", [2], b"\0" * 7, "wants 8 bytes, and 7 came"),
        ("FP32", [10**30], b"", "bytes, and 0 came"),
        ("BYTES", [1], b"\1\0", "its last text has no length"),
        ("BYTES", [1], b"\xff\xff\xff\xffab", "claims 4294967295 bytes"),
        ("BYTES", [1], b"\1\0\0\0\xff", "text 0 is not UTF-8"),
        ("BYTES", [2], b"\1\0\0\0a", "wants 2 texts, and 1 came"),
    ],
)
def test_raw_bytes_that_do_not_fit_are_refused(datatype, shape, raw, says):
    with pytest.raises(RefusalError, match=says):
        tensors.from_bytes("x", datatype, shape, raw)


def test_jsonable_replaces_what_json_lacks():
    assert tensors.jsonable({"a": [math.nan, (1.0, -math.inf)]}) == {
        "a": ["NaN", [1.0, "-Infinity"]]
    }
