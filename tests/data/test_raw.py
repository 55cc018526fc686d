import numpy as np
import pytest

from lepton_ai.data.raw import RawData, check_enough, check_finite, check_raw
from lepton_ai.errors import DataError


def of(labels=None, **arrays):
    return RawData(name="val.npz", arrays=arrays, labels=labels)


def test_data_that_fits_passes_through_unchanged():
    raw = of(np.arange(10), x=np.zeros((10, 3), np.float32))
    assert check_raw(raw) is raw


@pytest.mark.parametrize(("count", "came"), [(0, "no samples"), (1, "1 sample"), (9, "9 samples")])
def test_too_few_samples_are_refused_with_the_number_needed(count, came):
    with pytest.raises(DataError, match=rf"holds {came}, and at least 10"):
        check_enough(count, "mine")


def test_no_samples_are_refused_and_few_are_not():
    with pytest.raises(DataError, match="holds no samples"):
        check_raw(of(x=np.zeros((0, 2))))
    assert len(check_raw(of(x=np.zeros((1, 2))))) == 1


def test_unequal_first_axes_are_named_with_their_counts():
    with pytest.raises(DataError, match=r"array 'x' has 12, array 'y' has 11"):
        check_raw(of(x=np.zeros(12), y=np.zeros(11)))


def test_labels_count_as_an_array():
    with pytest.raises(DataError, match=r"array 'x' has 12, labels has 11"):
        check_raw(of(np.zeros(11), x=np.zeros(12)))


@pytest.mark.parametrize(("bad", "told"), [(np.nan, "NaN"), (-np.inf, "an infinite value")])
def test_the_first_sample_that_is_not_finite_is_named(bad, told):
    x = np.zeros((20, 2, 2), np.float32)
    x[13, 1, 0] = x[17, 0, 0] = bad
    with pytest.raises(DataError, match=rf"array 'x' holds {told} in sample 13"):
        check_raw(of(x=x))


def test_the_finite_check_finds_the_sample_beyond_the_first_piece(monkeypatch):
    monkeypatch.setattr("lepton_ai.data.raw._PIECE", 8)
    x = np.zeros((20, 4))
    x[19, 3] = np.nan
    with pytest.raises(DataError, match="sample 19"):
        check_finite("x", x)


def test_nan_labels_are_refused():
    labels = np.arange(10.0)
    labels[4] = np.nan
    with pytest.raises(DataError, match="labels holds NaN in sample 4"):
        check_raw(of(labels, x=np.zeros(10)))


@pytest.mark.parametrize("missing", [None, "", float("nan")])
def test_missing_labels_are_named(missing):
    labels = np.asarray(["a", "b"] * 5, dtype=object)
    labels[3] = missing
    with pytest.raises(DataError, match="label of sample 3 is missing"):
        check_raw(of(labels, x=np.zeros(10)))


def test_an_array_with_no_sample_axis_is_refused():
    with pytest.raises(DataError, match="first axis must be samples"):
        check_raw(of(x=np.float32(3)))
