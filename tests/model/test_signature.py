"""Signature: what goes in is checked by name, dtype and shape."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ai.errors import DataError
from lepton_ai.model.signature import Signature, TensorSpec, cast_within_kind

TEXT = Signature(
    inputs=(
        TensorSpec(name="ids", dtype="int64", shape=("batch", "length")),
        TensorSpec(name="mask", dtype="int64", shape=("batch", "length")),
    ),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),),
)


def one(dtype, shape):
    return Signature(inputs=(TensorSpec(name="x", dtype=dtype, shape=shape),), outputs=())


def ones(*shape, dtype=np.int64):
    return np.ones(shape, dtype=dtype)


def test_what_fits_passes_unchanged_and_uncopied():
    ids = ones(2, 5)
    checked = TEXT.check({"ids": ids, "mask": ones(2, 5)})
    assert checked["ids"] is ids


def test_answers_come_in_the_networks_own_order():
    checked = TEXT.check({"mask": ones(1, 2), "ids": ones(1, 2)})
    assert list(checked) == ["ids", "mask"]


def test_missing_and_unknown_names_are_both_told():
    with pytest.raises(DataError, match=r"missing: \['mask'\].*unknown: \['masks'\]"):
        TEXT.check({"ids": ones(1, 2), "masks": ones(1, 2)})


def test_a_shared_size_must_be_shared():
    with pytest.raises(DataError, match=r"'ids' and 'mask' share the size 'length', and 5 and 4"):
        TEXT.check({"ids": ones(2, 5), "mask": ones(2, 4)})


def test_a_shared_size_is_shared_within_one_input_too():
    square = one("int64", ("n", "n"))
    square.check({"x": ones(3, 3)})
    with pytest.raises(DataError, match="share the size 'n'"):
        square.check({"x": ones(3, 4)})


def test_a_shared_size_is_free_between_calls():
    TEXT.check({"ids": ones(2, 5), "mask": ones(2, 5)})
    TEXT.check({"ids": ones(1, 9), "mask": ones(1, 9)})


@pytest.mark.parametrize("shape", [(2,), (2, 3, 1), ()])
def test_rank_is_checked(shape):
    with pytest.raises(DataError, match="wants 2 axes"):
        one("float32", ("batch", 3)).check({"x": np.ones(shape, np.float32)})


def test_a_fixed_size_is_checked_and_its_axis_named():
    with pytest.raises(DataError, match=r"axis 1 wants 3, and \(2, 4\) came"):
        one("float32", ("batch", 3)).check({"x": np.ones((2, 4), np.float32)})


def test_an_unknown_rank_takes_any_shape():
    for shape in ((), (1,), (2, 3, 4)):
        one("float32", None).check({"x": np.ones(shape, np.float32)})


def test_a_scalar_input_takes_a_python_number():
    assert one("float32", ()).check({"x": 0.5})["x"].shape == ()


def test_nested_lists_are_arrays():
    assert one("int64", ("n", 2)).check({"x": [[1, 2], [3, 4]]})["x"].dtype == np.int64


@pytest.mark.parametrize(
    ("wanted", "came"),
    [
        ("float32", np.int64),
        ("int64", np.float32),
        ("float32", np.uint8),
        ("bool", np.int64),
        ("int64", np.bool_),
        ("float32", "U3"),
        ("float32", object),
        ("float32", np.complex64),
        ("str", np.int64),
        ("bfloat16", np.int64),
    ],
)
def test_another_kind_of_dtype_is_refused(wanted, came):
    with pytest.raises(DataError, match=f"'x' wants {'text' if wanted == 'str' else wanted}"):
        one(wanted, ("n",)).check({"x": np.zeros(2, dtype=came)})


@pytest.mark.parametrize(
    ("wanted", "came"),
    [("float32", np.float64), ("float16", np.float32), ("int64", np.int32), ("uint8", np.int64)],
)
def test_another_width_of_the_same_kind_is_cast(wanted, came):
    checked = one(wanted, ("n",)).check({"x": np.array([0, 1, 100], dtype=came)})["x"]
    assert checked.dtype == wanted
    assert checked.tolist() == [0, 1, 100]


def test_an_integer_that_does_not_fit_is_refused():
    with pytest.raises(DataError, match="out of it"):
        one("uint8", ("n",)).check({"x": np.array([256])})
    with pytest.raises(DataError, match="out of it"):
        one("uint64", ("n",)).check({"x": np.array([-1])})


def test_bfloat16_takes_floats_and_bfloat16():
    signature = one("bfloat16", ("n",))
    for dtype in (np.float32, np.float64, ml_dtypes.bfloat16):
        assert signature.check({"x": np.ones(2, dtype)})["x"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("texts", [["a", "b"], np.array(["a", "b"], dtype=object)])
def test_text_becomes_objects(texts):
    assert one("str", ("n",)).check({"x": texts})["x"].tolist() == ["a", "b"]


def test_spec_in_words():
    assert str(TEXT.inputs[0]) == "ids: int64[batch, length]"
    assert str(TensorSpec(name="x", dtype="str", shape=None)) == "x: str of any shape"


specs = st.builds(
    TensorSpec,
    name=st.text(min_size=1),
    dtype=st.sampled_from(["float32", "int64", "str", "bfloat16"]),
    shape=st.none() | st.lists(st.integers(0, 9) | st.text(min_size=1)).map(tuple),
)


@given(st.lists(specs).map(tuple), st.lists(specs).map(tuple))
def test_json_round_trip(inputs, outputs):
    signature = Signature(inputs=inputs, outputs=outputs)
    assert Signature.from_json(signature.to_json()) == signature


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1), st.sampled_from(["int8", "int32"]))
def test_a_cast_never_changes_an_integer(values, wanted):
    array = np.array(values)
    try:
        cast = cast_within_kind("x", wanted, array)
    except DataError:
        limits = np.iinfo(wanted)
        assert not all(limits.min <= value <= limits.max for value in values)
    else:
        assert cast.tolist() == values
