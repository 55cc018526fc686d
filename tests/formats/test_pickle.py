"""Pickles are refused by name and by content, and never opened."""

import io
import pickle
import zipfile

import pytest
import torch

from lepton_ai.errors import ModelError, UnsafeFileError
from lepton_ai.formats.read import read


class Trap:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def zipped():
    file = io.BytesIO()
    torch.save({"weight": torch.ones(2)}, file)
    return file.getvalue()


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.bin", "net.ckpt", "net.onnx", "net"])
@pytest.mark.parametrize("content", [pickle.dumps(Trap()), pickle.dumps(Trap(), 2), zipped()])
def test_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnsafeFileError, match=r"refused: a pickle can run code .* ONNX"):
        read(path, tmp_path)


@pytest.mark.parametrize("name", ["net.pkl", "net.PT"])
def test_refused_by_name_alone(tmp_path, name):
    (tmp_path / name).write_bytes(b"(lp0\n.")
    with pytest.raises(UnsafeFileError):
        read(str(tmp_path / name), tmp_path)


def test_a_missing_one_is_missing_not_unsafe(tmp_path):
    with pytest.raises(ModelError, match="no such file or folder"):
        read(tmp_path / "net.pt", tmp_path)


def test_another_archive_is_not_taken_for_one(tmp_path):
    path = tmp_path / "net.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ModelError, match="no ONNX model"):
        read(path, tmp_path)
