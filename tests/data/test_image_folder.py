import numpy as np
import pytest
from PIL import Image

from lepton_ai.data.source import read_data
from lepton_ai.errors import DataError


def picture(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(path)


def test_one_subfolder_per_class_in_sorted_order(tmp_path):
    for index in range(5):
        picture(tmp_path / "dog" / f"{index}.png")
        picture(tmp_path / "cat" / f"{index}.png")
    (tmp_path / "empty").mkdir()
    raw = read_data(tmp_path)
    assert raw.label_names == ("cat", "dog", "empty")
    assert raw.items is not None
    assert raw.labels is not None
    assert [path.parent.name for path in raw.items] == ["cat"] * 5 + ["dog"] * 5
    assert raw.labels.tolist() == ["cat"] * 5 + ["dog"] * 5


def test_hidden_files_and_folders_are_left_out(tmp_path):
    for index in range(10):
        picture(tmp_path / "cat" / f"{index}.png")
    picture(tmp_path / ".thumbs" / "a.png")
    picture(tmp_path / "cat" / ".cache" / "a.png")
    (tmp_path / "cat" / ".DS_Store").write_text("x")
    raw = read_data(tmp_path)
    assert raw.label_names == ("cat",)
    assert len(raw) == 10


def test_nested_folders_belong_to_their_class(tmp_path):
    for index in range(10):
        picture(tmp_path / "cat" / "day" / f"{index}.png")
    assert read_data(tmp_path).labels.tolist() == ["cat"] * 10


def test_a_flat_folder_has_no_labels(tmp_path):
    for index in range(10):
        picture(tmp_path / f"{index}.jpg")
    (tmp_path / "notes.txt").write_text("x")
    raw = read_data(tmp_path)
    assert raw.labels is None
    assert len(raw) == 10


def test_a_folder_with_nothing_to_see_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds neither images nor subfolders"):
        read_data(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="hold no images"):
        read_data(tmp_path)


def test_a_single_image_is_one_sample(tmp_path):
    picture(tmp_path / "cat" / "1.png")
    assert len(read_data(tmp_path)) == 1
