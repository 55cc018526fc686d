import numpy as np
import pandas as pd
import pytest

from lepton_ai.data.source import read_data
from lepton_ai.errors import DataError

TEXTS = [f"text {i}, with a comma" for i in range(10)]
LABELS = ["good", "bad"] * 5


@pytest.fixture
def frame():
    return pd.DataFrame({"body": TEXTS, "mood": LABELS, "number": range(10)})


def write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".CSV"])
def test_named_columns_are_read(frame, tmp_path, suffix):
    raw = read_data(write(frame, tmp_path / f"v{suffix}"), text="body", label="mood")
    assert raw.items == TEXTS
    assert raw.labels is not None
    assert raw.labels.tolist() == LABELS


def test_a_data_frame_in_memory_is_a_table(frame):
    raw = read_data(frame, text="body", label="number")
    assert raw.items == TEXTS
    assert raw.labels is not None
    assert raw.labels.tolist() == list(range(10))


def test_no_label_column_means_no_labels(frame, tmp_path):
    assert read_data(write(frame, tmp_path / "v.csv"), text="body").labels is None


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(("text", "label"), [("nobody", None), ("body", "nolabel")])
def test_unknown_columns_list_those_there_are(frame, tmp_path, suffix, text, label):
    path = write(frame, tmp_path / f"v{suffix}")
    with pytest.raises(DataError, match=r"no column 'no\w+'; its columns are \['body', 'mood', "):
        read_data(path, text=text, label=label)


def test_the_text_column_must_be_named(frame, tmp_path):
    with pytest.raises(DataError, match=r"--text COLUMN.*\['body', 'mood', 'number'\]"):
        read_data(write(frame, tmp_path / "v.csv"), label="mood")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "v.csv"
    path.write_bytes(("body,mood\n" + "".join(f"café {i},b\n" for i in range(10))).encode(encoding))
    assert read_data(path, text="body").items == [f"café {i}" for i in range(10)]


def test_latin_1_far_into_a_long_file_is_found(tmp_path):
    path = tmp_path / "v.csv"
    rows = b"".join(b"row %d\n" % i for i in range(50_000)) + b"caf\xe9\n"
    path.write_bytes(b"body\n" + rows)
    items = read_data(path, text="body").items
    assert items is not None
    assert items[-1] == "café"


def test_texts_and_labels_that_look_like_missing_values_are_kept(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("body,mood\n" + "NA,null\n" * 10)
    raw = read_data(path, text="body", label="mood")
    assert raw.items == ["NA"] * 10
    assert raw.labels is not None
    assert raw.labels.tolist() == ["null"] * 10


def test_an_empty_text_and_a_missing_label_are_named(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("body,mood\n" + "a,b\n" * 4 + ",b\n" + "a,\n" + "a,b\n" * 4)
    with pytest.raises(DataError, match="empty text in sample 4"):
        read_data(path, text="body")
    path.write_text("body,mood\n" + "a,b\n" * 5 + "a,\n" + "a,b\n" * 4)
    with pytest.raises(DataError, match="label of sample 5 is missing"):
        read_data(path, text="body", label="mood")


def test_a_column_that_holds_no_texts_is_refused(frame):
    with pytest.raises(DataError, match="must hold texts, and sample 0 is 0"):
        read_data(frame, text="number")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.csv", b""),
        ("v.csv", b'body,mood\n"never closed,a\n'),
        ("v.csv", b"body,mood\na,b\na,b,c,d\n"),
        ("v.csv", b"body,mood\n" + b"a,b,c\n" * 10),
        ("v.parquet", b"PAR1 and then nothing"),
        ("v.parquet", b""),
    ],
)
def test_broken_files_are_data_errors(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_data(tmp_path / name, text="body", label="mood")


def test_a_header_alone_is_no_samples(tmp_path):
    (tmp_path / "v.csv").write_text("body,mood\n")
    with pytest.raises(DataError, match="no samples"):
        read_data(tmp_path / "v.csv", text="body", label="mood")


@pytest.mark.parametrize("dtype", ["Int64", "string", "category", object])
def test_a_missing_label_of_any_column_type_is_named(dtype):
    values = [1, 2] * 5 if dtype in ("Int64", object) else ["a", "b"] * 5
    frame = pd.DataFrame({"body": TEXTS, "mood": pd.Series(values, dtype=dtype)})
    raw = read_data(frame, text="body", label="mood")
    assert raw.labels is not None
    assert raw.labels.tolist() == values
    frame.loc[6, "mood"] = None
    with pytest.raises(DataError, match="label of sample 6 is missing"):
        read_data(frame, text="body", label="mood")


def test_parquet_keeps_numbers(frame, tmp_path):
    raw = read_data(write(frame, tmp_path / "v.parquet"), text="body", label="number")
    assert raw.labels is not None
    assert np.issubdtype(raw.labels.dtype, np.integer)
