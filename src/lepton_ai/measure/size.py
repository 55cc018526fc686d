"""How many bytes an artifact is, on disk and on the wire."""

import zlib
from pathlib import Path

_LEVEL = 6
_CHUNK = 1 << 20


def bytes_on_disk(path: Path) -> int:
    """The size of the ONNX file with the external data beside it."""
    return sum(part.stat().st_size for part in parts(path))


def bytes_to_transfer(path: Path) -> int:
    """The size after DEFLATE at level 6, as a server or registry would send it."""
    total = 0
    for part in parts(path):
        packer = zlib.compressobj(_LEVEL)
        with part.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total += len(packer.compress(chunk))
        total += len(packer.flush())
    return total


def parts(path: Path) -> list[Path]:
    """The ONNX file and whatever lies beside it in its folder: its external data."""
    return sorted(part for part in path.parent.iterdir() if part.is_file())
