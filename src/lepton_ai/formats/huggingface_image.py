"""The network and the image preparation of an image classifier."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import AutoImageProcessor, PreTrainedModel

from lepton_ai.errors import ModelError, first_line
from lepton_ai.formats.huggingface_config import label_names, softmax_or
from lepton_ai.formats.huggingface_logits import export_logits
from lepton_ai.formats.quiet import quiet
from lepton_ai.model.image import ImageClassification, ImageSettings
from lepton_ai.model.model import Model

#: The two preparations may differ by rounding to 8 bits on the way: two levels.
_LEVELS = 2.0
#: Below this edge a ConvNeXt processor resizes larger and crops; from it on it does not crop.
_CONVNEXT_UNCROPPED = 384


def read_image_classifier(network: PreTrainedModel, source: Path, folder: Path) -> Model:
    """Export with a free batch size; the processing is the folder's image processor.

    Raises:
        ModelError: the folder's image processor cannot be rebuilt, or the network not be exported.
    """
    processing = _processing(network, source)
    fed = processing.feed([_test_image(), _test_image()])
    try:
        return export_logits(network, fed, {0: ("batch", None)}, folder, processing)
    except ModelError as failure:
        raise ModelError(f"{source} cannot be exported: {failure}") from failure


def _processing(network: PreTrainedModel, source: Path) -> ImageClassification:
    try:
        with quiet():
            prepare: Any = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
                source, local_files_only=True, trust_remote_code=False, backend="pil"
            )
    except Exception as failure:  # transformers raises many kinds for a broken folder
        raise ModelError(
            f"{source} has no image processor that can be used (preprocessor_config.json): "
            f"{first_line(failure)}"
        ) from failure
    settings = _settings(prepare.to_dict(), network.config)
    try:
        processing = ImageClassification(settings=settings)
        came = processing.feed([_test_image()])["pixel_values"]
        wanted = prepare(_test_image(), return_tensors="np")["pixel_values"]
    except Exception as failure:  # both sides run on settings that a file brought
        raise ModelError(
            f"{source}'s image processor cannot be rebuilt: {first_line(failure)}"
        ) from failure
    tolerance = _LEVELS * settings.scale / min(settings.std)
    if wanted.shape != came.shape or np.abs(wanted - came).max() > tolerance:
        raise ModelError(
            f"{source}'s image processor ({type(prepare).__name__}) does something that resize, "
            "crop, scale and normalise cannot repeat"
        )
    return processing


def _test_image() -> Image.Image:
    """A still picture with edges and slopes, wider than high, of odd sizes."""
    down, across = np.mgrid[0:301, 0:407]
    layers = [down * 255 // 300, across * 255 // 406, ((down // 37 + across // 41) % 2) * 255]
    return Image.fromarray(np.stack(layers, axis=-1).astype(np.uint8))


def _settings(record: Mapping[str, Any], config: Any) -> ImageSettings:
    """Our settings for what an image processor says of itself."""
    resize, size, crop = _geometry(record)
    scale = record.get("rescale_factor", 1 / 255) if record.get("do_rescale") else 1.0
    normal = bool(record.get("do_normalize"))
    channels = int(getattr(config, "num_channels", 3) or 3)
    return ImageSettings(
        labels=label_names(config),
        answer=softmax_or(config),
        resize=resize,
        size=size,
        crop=crop,
        resample=int(record.get("resample") or Image.Resampling.NEAREST),
        scale=float(scale),
        offset=-1.0 if record.get("rescale_offset") else 0.0,
        mean=_per_channel(record.get("image_mean") if normal else 0.0, channels),
        std=_per_channel(record.get("image_std") if normal else 1.0, channels),
        reverse_channels=bool(record.get("do_flip_channel_order")),
    )


def _geometry(record: Mapping[str, Any]) -> tuple[str, tuple[int, int], tuple[int, int] | None]:
    size, crop = record.get("size") or {}, record.get("crop_size") or {}
    cropped = (int(crop["height"]), int(crop["width"])) if record.get("do_center_crop") else None
    if not record.get("do_resize"):
        return "none", (1, 1), cropped
    edge = size.get("shortest_edge")
    if edge is None:
        return "exact", (int(size["height"]), int(size["width"])), cropped
    if "crop_pct" not in record:
        return "shortest-edge", (int(edge), int(edge)), cropped
    if edge >= _CONVNEXT_UNCROPPED:
        return "exact", (int(edge), int(edge)), cropped
    larger = int(edge / record["crop_pct"])
    return "shortest-edge", (larger, larger), (int(edge), int(edge))


def _per_channel(value: Any, channels: int) -> tuple[float, ...]:
    if isinstance(value, list | tuple):
        return tuple(float(one) for one in value)
    return (float(value),) * channels
