"""Samples from a folder of images: one subfolder per class, or images with no labels."""

from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.data.raw import RawData
from lepton_ai.data.source import Source
from lepton_ai.errors import DataError

#: In a flat folder only these are taken; in a class folder every file is meant to be an image.
_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
)


class ImageFolder(Source):
    """Image files on disk; each is opened only when its sample is asked for."""

    name = "image-folder"
    takes = "a folder of images with one subfolder per class"

    def accepts(self, source: Any) -> bool:
        """Whether ``source`` is a folder."""
        return isinstance(source, Path) and source.is_dir()

    def read(self, source: Any, *, text: str | None, label: str | None) -> RawData:
        """The paths of the images, with the names of their subfolders as labels.

        Classes are in the order of their sorted names. Hidden files and folders are left out. See
        :meth:`Source.read`.
        """
        try:
            return self._walk(source)
        except OSError as failure:
            raise DataError(f"{source} cannot be read: {failure.strerror}") from failure

    def _walk(self, folder: Path) -> RawData:
        visible = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        classes = [entry for entry in visible if entry.is_dir()]
        if not classes:
            return RawData(name=folder.name, items=_flat(folder, visible))
        members = [(path, entry.name) for entry in classes for path in _files(entry)]
        if not members:
            raise DataError(f"the subfolders of {folder} hold no images")
        return RawData(
            name=folder.name,
            items=[path for path, _ in members],
            labels=np.asarray([called for _, called in members]),
            label_names=tuple(entry.name for entry in classes),
        )


def _flat(folder: Path, visible: list[Path]) -> list[Path]:
    images = [entry for entry in visible if entry.suffix.lower() in _SUFFIXES]
    if not images:
        raise DataError(
            f"{folder} holds neither images nor subfolders of images; "
            "give a folder with one subfolder per class"
        )
    return images


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
