"""Are the bytes of a bundle the bytes it was made of?"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from lepton_ai.bundle.layout import MANIFEST
from lepton_ai.bundle.manifest import FileEntry, Manifest
from lepton_ai.errors import BundleError, TamperedError

_CHUNK_BYTES = 1 << 20
_REMEDY = "fetch the bundle again or make it anew"


def verify_files(path: Path) -> Manifest:
    """The manifest of the bundle at ``path``, once every byte in the folder agrees with it.

    Raises:
        TamperedError: a file was changed, is missing or was added, or is a link; it is named.
        BundleError: there is no bundle at ``path``, or a newer version made it.
    """
    manifest = read_manifest(path)
    present = set(_walk(path))
    for name in sorted(present - set(manifest.files) - {MANIFEST}):
        raise TamperedError(f"{name} was added to the bundle after it was made; {_REMEDY}")
    for name, entry in sorted(manifest.files.items()):
        if name not in present:
            raise TamperedError(f"{name} is missing from the bundle; {_REMEDY}")
        _check_file(path / name, name, entry)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """The manifest alone, its own digest checked; the other files are not looked at.

    Raises:
        BundleError: there is no bundle at ``path``, or a newer version made it.
        TamperedError: the manifest was changed.
    """
    if not path.is_dir():
        what = "a file" if path.exists() else "nothing"
        raise BundleError(f"a bundle is a folder, and {what} is at {path}; point at a bundle")
    file = path / MANIFEST
    if file.is_symlink() or not file.is_file():
        raise BundleError(f"{path} holds no {MANIFEST}; point at a folder made by lepton optimize")
    return Manifest.parse(file.read_bytes())


def entry_of(path: Path) -> FileEntry:
    """The SHA-256 and size of the file at ``path``."""
    whole, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            whole.update(chunk)
            size += len(chunk)
    return FileEntry(sha256=whole.hexdigest(), size=size)


def _check_file(path: Path, name: str, wanted: FileEntry) -> None:
    size = path.stat().st_size
    if size != wanted.size:
        raise TamperedError(
            f"{name} has {size} bytes, and the manifest records {wanted.size}; {_REMEDY}"
        )
    if entry_of(path) != wanted:
        raise TamperedError(f"{name} does not have the sha256 in the manifest; {_REMEDY}")


def _walk(root: Path) -> Iterator[str]:
    """Every file under ``root`` as a POSIX path; a link or a device is refused, not followed."""
    folders = [root]
    while folders:
        for entry in os.scandir(folders.pop()):
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield name
            else:
                raise TamperedError(f"{name} is a link or a device, not a plain file; {_REMEDY}")
