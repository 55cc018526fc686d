import numpy as np
import pytest

from lepton_ai.data.array_samples import ArraySamples
from lepton_ai.errors import DataError

X = np.arange(24, dtype=np.float32).reshape(6, 4)


def of(arrays, batched, per_call=1):
    return ArraySamples(arrays, batched=frozenset(batched), per_call=per_call, labels=None)


def test_a_call_is_a_view_of_the_array():
    assert np.shares_memory(of({"x": X}, "x").feed([3])["x"], X)
    assert np.shares_memory(of({"x": X}, "x").feed([2, 3, 4])["x"], X)


@pytest.mark.parametrize("indices", [[0], [5, 1], [1, 1], [2, 3]])
def test_a_batched_input_gets_the_rows_asked_for(indices):
    np.testing.assert_array_equal(of({"x": X}, "x").feed(indices)["x"], X[indices])


def test_a_bare_input_gets_one_sample_and_a_scalar_stays_one():
    fed = of({"x": X, "t": np.arange(6)}, "").feed([4])
    np.testing.assert_array_equal(fed["x"], X[4])
    assert fed["t"].shape == ()
    assert fed["t"] == 4


def test_bare_inputs_take_no_batch():
    with pytest.raises(DataError, match=r"\['x'\] have no batch axis, and 2 samples"):
        of({"x": X}, "").feed([0, 1])


def test_what_is_fed_is_laid_out_in_order():
    assert of({"x": np.asfortranarray(X)}, "x").feed([1, 2])["x"].flags.c_contiguous


def test_equal_samples_have_equal_digests_and_others_do_not():
    same = of({"x": np.ones((3, 4)), "y": np.asarray([1, 1, 2])}, "xy")
    assert same.digest(0) == same.digest(1) != same.digest(2)


def test_digests_see_dtype_and_names():
    zeros = np.zeros((1, 2))
    digests = {
        of({"x": zeros}, "x").digest(0),
        of({"y": zeros}, "y").digest(0),
        of({"x": zeros.astype(np.int64)}, "x").digest(0),
        of({"x": zeros.reshape(1, 1, 2)}, "x").digest(0),
    }
    assert len(digests) == 4


def test_texts_have_digests_by_content():
    texts = of({"x": np.asarray(["ab", "a", "ab"], dtype=object)}, "x")
    assert texts.digest(0) == texts.digest(2) != texts.digest(1)
