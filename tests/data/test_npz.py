import pickle
import zipfile

import numpy as np
import pytest

from lepton_ai.data.source import read_data
from lepton_ai.errors import DataError, UnsafeFileError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "val.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_under_their_names_and_labels_apart(path, save):
    x, y = np.arange(40, dtype=np.float32).reshape(10, 4), np.arange(10)
    save(path, x=x, labels=y)
    raw = read_data(str(path))
    assert raw.arrays is not None
    assert list(raw.arrays) == ["x"]
    np.testing.assert_array_equal(raw.arrays["x"], x)
    np.testing.assert_array_equal(raw.labels, y)


def test_object_arrays_are_refused_as_pickles(path):
    np.savez(path, x=np.asarray([{"a": 1}] * 10, dtype=object))
    with pytest.raises(UnsafeFileError, match="pickled"):
        read_data(path)


def test_a_pickle_under_the_name_of_an_npz_is_refused_and_not_run(path, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UnsafeFileError, match="pickled"):
        read_data(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 10, 500, -30])
def test_a_file_cut_short_is_a_data_error(path, keep):
    np.savez(path, x=np.random.default_rng(0).normal(size=(20, 50)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"val\.npz.*numpy\.savez"):
        read_data(path)


def test_damaged_bytes_inside_are_a_data_error(path):
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(20, 50)))
    raw = bytearray(path.read_bytes())
    raw[3000:3050] = bytes(50)
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match="cannot be read"):
        read_data(path)


def test_members_that_are_not_arrays_are_named(path):
    np.savez(path, x=np.zeros(10))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"readme\.txt"):
        read_data(path)


def test_labels_alone_are_not_data(path):
    np.savez(path, labels=np.zeros(10))
    with pytest.raises(DataError, match="holds no arrays"):
        read_data(path)
