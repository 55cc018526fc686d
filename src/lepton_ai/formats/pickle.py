"""Pickles, which are recognised in order to be refused."""

import zipfile
from pathlib import Path
from typing import Any, NoReturn

from lepton_ai.errors import UnsafeFileError
from lepton_ai.formats.format import Format
from lepton_ai.model.model import Model
from lepton_ai.model.signature import Arrays

_SUFFIXES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"}
#: The first byte of every pickle since protocol 2 (2003), followed by the protocol's number.
_PROTOCOL_MARK = 0x80
_NEWEST_PROTOCOL = 5


class Pickle(Format):
    """A pickle by its content or its name; reading one always fails, kindly."""

    name = "pickle"
    takes = ""

    def accepts(self, source: Any) -> bool:
        """Whether ``source`` is a file that ends like a pickle or holds one."""
        if not isinstance(source, str | Path) or not Path(source).is_file():
            return False
        return Path(source).suffix.lower() in _SUFFIXES or holds_pickle(Path(source))

    def read(self, source: Any, folder: Path, example: Arrays | None) -> Model:
        """Raise :class:`UnsafeFileError`."""
        refuse(Path(source))


def holds_pickle(path: Path) -> bool:
    """Whether the file's content is a pickle, bare or in the archive that ``torch.save`` writes."""
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(".pkl") for name in archive.namelist())
        except zipfile.BadZipFile:
            return False
    return len(head) > 1 and head[0] == _PROTOCOL_MARK and 2 <= head[1] <= _NEWEST_PROTOCOL


def refuse(path: Path) -> NoReturn:
    """Raise :class:`UnsafeFileError` for ``path``, and say what to do instead."""
    raise UnsafeFileError(
        f"{path} is refused: a pickle can run code as it is read, and a state dict alone does not "
        "say what the network is; pass the torch.nn.Module from Python, export it to ONNX, or "
        "give a Hugging Face folder with model.safetensors"
    )
