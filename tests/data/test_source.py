import subprocess
import sys

import numpy as np
import pytest

from lepton_ai.data.raw import RawData
from lepton_ai.data.source import Source, read_data, sources
from lepton_ai.errors import DataError


@pytest.mark.parametrize("name", sources.names())
def test_every_source_carries_its_registered_name_and_says_what_it_takes(name):
    kind = sources.get(name)
    assert issubclass(kind, Source)
    assert kind.name == name
    assert kind.takes


@pytest.mark.parametrize("name", sources.names())
def test_no_source_accepts_what_is_not_samples(name, tmp_path):
    (tmp_path / "note.md").write_text("hello")
    assert not sources.get(name)().accepts(tmp_path / "note.md")
    assert not sources.get(name)().accepts(3)


def test_a_missing_path_is_named():
    with pytest.raises(DataError, match=r"no data at nowhere\.npz"):
        read_data("nowhere.npz")


def test_what_no_source_takes_gets_the_list_of_those_there_are(tmp_path):
    (tmp_path / "note.md").write_text("hello")
    with pytest.raises(DataError, match=r"note.md is not a source.*\.npz.*\.csv.*folder"):
        read_data(tmp_path / "note.md")
    with pytest.raises(DataError, match="type int"):
        read_data(3)


def test_column_names_for_data_without_columns_are_refused(tmp_path):
    np.savez(tmp_path / "v.npz", x=np.zeros(10))
    with pytest.raises(DataError, match="name columns"):
        read_data(tmp_path / "v.npz", text="t")


def test_raw_data_passes_through_the_checks():
    raw = RawData(name="mine", arrays={"x": np.zeros(10)})
    assert read_data(raw) is raw
    with pytest.raises(DataError, match="no samples"):
        read_data(RawData(name="mine", arrays={"x": np.zeros(0)}))


def test_reading_arrays_loads_no_table_library(tmp_path):
    np.savez(tmp_path / "v.npz", x=np.zeros(10))
    code = (
        "import sys; from lepton_ai.data.source import read_data; import lepton_ai.data.choose;"
        f"read_data({str(tmp_path / 'v.npz')!r});"
        "print([m for m in ('pandas', 'pyarrow', 'scipy', 'sklearn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
