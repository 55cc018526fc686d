"""How many bytes an artifact is, on disk and on the wire."""

import functools
import zlib
from pathlib import Path

_LEVEL = 6
_CHUNK = 1 << 20


def bytes_on_disk(path: Path) -> int:
    """The size of the ONNX file with the external data beside it."""
    return sum(part.stat().st_size for part in parts(path))


def bytes_to_transfer(path: Path) -> int:
    """The size after DEFLATE at level 6, as a server or registry would send it."""
    return sum(_deflated(part, part.stat().st_mtime_ns) for part in parts(path))


@functools.lru_cache(maxsize=256)
def _deflated(part: Path, _: int) -> int:
    """Counted once for each file and time of change: weights take a second per 25 MB."""
    packer = zlib.compressobj(_LEVEL)
    with part.open("rb") as file:
        packed = sum(len(packer.compress(chunk)) for chunk in iter(lambda: file.read(_CHUNK), b""))
    return packed + len(packer.flush())


def parts(path: Path) -> list[Path]:
    """The ONNX file and whatever lies beside it in its folder: its external data."""
    return sorted(part for part in path.parent.iterdir() if part.is_file())
