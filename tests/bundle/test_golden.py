import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lepton_ai.bundle.golden import decode_calls, encode_calls
from lepton_ai.errors import BundleError

NATIVE = ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_native_array_survives(data):
    dtype = data.draw(st.sampled_from(NATIVE))
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
    (call,) = decode_calls(encode_calls([{"x/../ü": array}]))
    back = call["x/../ü"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_bfloat16_survives():
    array = np.array([[1.5, -np.inf], [np.nan, 0.1]]).astype(ml_dtypes.bfloat16)
    (call,) = decode_calls(encode_calls([{"x": array}]))
    assert call["x"].dtype == array.dtype
    assert call["x"].tobytes() == array.tobytes()


def test_text_survives_whatever_is_in_it():
    array = np.array([["a\0b", ""], ["né\n", "漢字"]], dtype=object)
    (call,) = decode_calls(encode_calls([{"t": array}]))
    assert call["t"].tolist() == array.tolist()


def test_calls_keep_their_order_and_may_be_empty():
    calls = [{"x": np.arange(2)}, {}, {"y": np.zeros((0, 3)), "x": np.array(7)}]
    back = decode_calls(encode_calls(calls))
    assert [list(call) for call in back] == [["x"], [], ["y", "x"]]
    assert back[2]["y"].shape == (0, 3)
    assert back[2]["x"].shape == ()


def test_the_file_holds_no_pickle():
    content = encode_calls([{"t": np.array(["x"], dtype=object)}])
    import io

    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all"])
def test_rubbish_is_said_to_be(content):
    with pytest.raises(BundleError, match="golden calls cannot be read"):
        decode_calls(content)
