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
    """Image files on disk; their beginnings are checked, and each is decoded when asked for."""

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
            images = _flat(folder, visible)
            _check_images(images)
            return RawData(name=folder.name, items=images)
        members = [(path, entry.name) for entry in classes for path in _files(entry)]
        if not members:
            raise DataError(f"the subfolders of {folder} hold no images")
        _check_images([path for path, _ in members])
        return RawData(
            name=folder.name,
            items=[path for path, _ in members],
            labels=np.asarray([called for _, called in members]),
            label_names=tuple(entry.name for entry in classes),
        )


def _check_images(paths: list[Path]) -> None:
    """Every file must begin as an image does; what is broken further on is found when decoded."""
    from PIL import Image, UnidentifiedImageError

    for path in paths:
        try:
            with Image.open(path):
                pass
        except (UnidentifiedImageError, Image.DecompressionBombError) as failure:
            raise DataError(f"{path} is not an image that can be read: {failure}") from failure


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
