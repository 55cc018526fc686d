"""Images to arrays, and class scores to labels."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lepton_ai.errors import DataError, ModelError
from lepton_ai.model.answer import check_answer, present_scores
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Array, Arrays

#: What is opened; formats that start other programs (EPS) are not.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
#: Above this an image is taken for a decompression bomb: Pillow's own limit.
_MOST_PIXELS = 89_478_485
_RESIZES = ("none", "exact", "shortest-edge")
_LAYOUTS = ("NCHW", "NHWC")


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How an image classifier reads and answers.

    In this order: resize to ``size`` (height, width) exactly, or until the shortest edge is
    ``size[0]``, or not at all; crop ``crop`` (height, width) from the middle, filling with black
    where the image is smaller; multiply by ``scale`` and add ``offset``; subtract ``mean`` and
    divide by ``std``, per channel. ``resample`` is Pillow's number of the filter. One channel in
    ``mean`` means grey, three mean RGB, or BGR where ``reverse_channels``. ``answer`` is as in
    :class:`~lepton_ai.model.text.TextSettings`.
    """

    labels: tuple[str, ...]
    resize: str = "exact"
    size: tuple[int, int] = (224, 224)
    resample: int = int(Image.Resampling.BILINEAR)
    crop: tuple[int, int] | None = None
    scale: float = 1 / 255
    offset: float = 0.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    reverse_channels: bool = False
    layout: str = "NCHW"
    input: str = "pixel_values"
    output: str = "logits"
    answer: str = "softmax"


class ImageClassification(Processing):
    """One image in, one label out."""

    kind: ClassVar[str] = "image-classification"

    def __init__(self, *, settings: ImageSettings) -> None:
        """Take the settings; raise :class:`ModelError` where they make no sense."""
        self._settings = settings
        _check_settings(settings)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, in the order of the network's classes."""
        return self._settings.labels

    def feed(self, raws: Sequence[Any]) -> Arrays:
        """Float32 ``[batch, channels, height, width]``, or channels last as the layout says.

        A sample is a path, the bytes of an image file, a Pillow image, or an array: height × width,
        with 1, 3 or 4 channels last or first, uint8, or floats from 0 to 1. An image is turned as
        its EXIF data says; transparency is dropped.

        Raises:
            DataError: a sample is no image; the message gives its index and, for a file, its path.
        """
        if len(raws) == 0:
            raise DataError("at least one image was wanted, and none came")
        rows = [self._prepare(_open(index, raw)) for index, raw in enumerate(raws)]
        if any(row.shape != rows[0].shape for row in rows):
            shapes = sorted({row.shape for row in rows})
            raise DataError(f"images of one batch should have one size, and {shapes} came")
        return {self._settings.input: np.stack(rows)}

    def present(self, outputs: Arrays) -> list[dict[str, Any]]:
        """``{"label": ..., "scores": {label: score}}`` per image."""
        scores: Array = outputs[self._settings.output]
        return present_scores(scores, self._settings.labels, self._settings.answer)

    def settings(self) -> dict[str, Any]:
        """The fields of :class:`ImageSettings`, tuples as lists."""
        record = asdict(self._settings)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in record.items()}

    @classmethod
    def rebuild(
        cls, settings: Mapping[str, Any], files: Mapping[str, bytes]
    ) -> "ImageClassification":
        """The inverse of :meth:`settings`."""
        whole: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()
        }
        return cls(settings=ImageSettings(**whole))

    def _prepare(self, image: Image.Image) -> Array:
        chosen = self._settings
        image = _eight_bits(image).convert("L" if len(chosen.mean) == 1 else "RGB")
        image = _resized(image, chosen)
        pixels = np.asarray(image)
        if pixels.ndim == 2:
            pixels = pixels[:, :, np.newaxis]
        if chosen.crop is not None:
            pixels = _cropped(pixels, chosen.crop)
        if chosen.reverse_channels:
            pixels = pixels[:, :, ::-1]
        # in one step, x * factor + shift, so that float32 is enough
        std = np.asarray(chosen.std, dtype=np.float64)
        factor = (chosen.scale / std).astype(np.float32)
        shift = ((chosen.offset - np.asarray(chosen.mean)) / std).astype(np.float32)
        row = pixels.astype(np.float32) * factor + shift
        if chosen.layout == "NCHW":
            row = row.transpose(2, 0, 1)
        return np.ascontiguousarray(row)


def _check_settings(chosen: ImageSettings) -> None:
    check_answer(chosen.answer)
    if chosen.resize not in _RESIZES or chosen.layout not in _LAYOUTS:
        raise ModelError(
            f"resize can be {_RESIZES} and layout {_LAYOUTS}, and "
            f"{chosen.resize!r} and {chosen.layout!r} came"
        )
    if len(chosen.mean) not in (1, 3) or len(chosen.mean) != len(chosen.std):
        raise ModelError(f"mean and std want 1 or 3 numbers each: {chosen.mean}, {chosen.std} came")
    if 0.0 in chosen.std or min(*chosen.size, *(chosen.crop or (1, 1))) < 1:
        raise ModelError("std wants numbers other than 0, and sizes want 1 or more")


def _open(index: int, raw: Any) -> Image.Image:
    """The sample as a loaded image, upright."""
    if isinstance(raw, np.ndarray):
        return _from_array(index, raw)
    label = f"sample {index}" + (f" ({raw})" if isinstance(raw, str | os.PathLike) else "")
    try:
        image = _lazily(raw)
        if image is None:
            raise DataError(
                f"{label} should be an image (a path, bytes, an array, a Pillow image), and a "
                f"{type(raw).__name__} came"
            )
        if image.width * image.height > _MOST_PIXELS:
            raise DataError(
                f"{label} has {image.width} × {image.height} pixels, above {_MOST_PIXELS:,}"
            )
        image.load()
        return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise DataError(f"{label} is missing: no such file is here") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{label} has more than {_MOST_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise DataError(f"{label} is no image in {', '.join(_FORMATS)}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as failure:
        raise DataError(f"{label} is no image that can be read: {failure}") from None


def _lazily(raw: Any) -> Image.Image | None:
    if isinstance(raw, Image.Image):
        return raw
    if isinstance(raw, bytes | bytearray | memoryview):
        return Image.open(io.BytesIO(raw), formats=_FORMATS)
    if isinstance(raw, str | os.PathLike):
        return Image.open(io.BytesIO(Path(raw).read_bytes()), formats=_FORMATS)
    return None


def _from_array(index: int, array: Array) -> Image.Image:
    channels = (1, 3, 4)
    if array.ndim == 3 and array.shape[2] not in channels and array.shape[0] in channels:
        array = array.transpose(1, 2, 0)
    if (
        array.ndim not in (2, 3)
        or 0 in array.shape
        or (array.ndim == 3 and array.shape[2] not in channels)
    ):
        raise DataError(
            f"sample {index} should be height × width, or that with 1, 3 or 4 channels last or "
            f"first, and shape {array.shape} came"
        )
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise DataError(
                f"sample {index}: floats should lie from 0 to 1, and others came; give uint8 for "
                "0 to 255"
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise DataError(f"sample {index} should be uint8 or floats, and {array.dtype} came")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled down, which Pillow's own conversion would clip to white."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    return image


def _resized(image: Image.Image, chosen: ImageSettings) -> Image.Image:
    height, width = chosen.size
    if chosen.resize == "none":
        return image
    if chosen.resize == "shortest-edge":
        short, long = sorted((image.width, image.height))
        other = int(height * long / short)
        height, width = (height, other) if image.height <= image.width else (other, height)
    if image.size == (width, height):
        return image
    return image.resize((width, height), resample=Image.Resampling(chosen.resample))


def _cropped(pixels: Array, crop: tuple[int, int]) -> Array:
    """The middle of ``pixels`` ``[height, width, channels]``, on black where it is too small."""
    short = [max(0, want - have) for want, have in zip(crop, pixels.shape[:2], strict=True)]
    if any(short):
        # half rounded up before, as in the library that the networks' own settings come from
        before = [-(-missing // 2) for missing in short]
        after = [missing - first for missing, first in zip(short, before, strict=True)]
        pixels = np.pad(pixels, [*zip(before, after, strict=True), (0, 0)])
    top, left = ((have - want) // 2 for have, want in zip(pixels.shape[:2], crop, strict=True))
    return pixels[top : top + crop[0], left : left + crop[1]]
