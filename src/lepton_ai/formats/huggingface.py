"""Hugging Face folders and hub ids: text and image classifiers."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_ai.errors import ModelError, first_line
from lepton_ai.formats.format import Format
from lepton_ai.formats.pickle import refuse
from lepton_ai.formats.quiet import quiet
from lepton_ai.model.model import Model
from lepton_ai.model.signature import Arrays

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
#: Endings of files, which a hub id could have and in practice does not.
_FILE_SUFFIXES = {".onnx", ".pt", ".pth", ".pkl", ".bin", ".ckpt", ".safetensors", ".h5", ".keras"}
_SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_SMALL_FILES = ["*.json", "*.txt", "*.model"]


class HuggingFace(Format):
    """A folder that ``save_pretrained`` wrote, or the id of one on the hub."""

    name = "huggingface"
    takes = "a Hugging Face folder (config.json) or hub id of a text or image classifier"

    def accepts(self, source: Any) -> bool:
        """Whether ``source`` is a folder with a ``config.json``, or could be a hub id."""
        if not isinstance(source, str | Path):
            return False
        path = Path(source)
        if path.exists():
            return (path / "config.json").is_file()
        return bool(_HUB_ID.fullmatch(str(source))) and path.suffix.lower() not in _FILE_SUFFIXES

    def read(self, source: Any, folder: Path, example: Arrays | None) -> Model:
        """Load the weights and export with free batch and text sizes; ``example`` is ignored."""
        path = Path(source) if Path(source).exists() else _download(str(source))
        name = str(source) if path != Path(source) else path.resolve().name
        task = _task(path)
        network = _load(path, task)
        if task == "ForSequenceClassification":
            from lepton_ai.formats.huggingface_text import read_text_classifier as read
        else:
            from lepton_ai.formats.huggingface_image import read_image_classifier as read
        return replace(read(network, path, folder), name=name)


def _download(hub_id: str) -> Path:
    """The files of ``hub_id`` in the hub's own cache, pickles only where there is nothing else."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        with quiet():
            path = Path(snapshot_download(hub_id, allow_patterns=[*_SMALL_FILES, "*.safetensors"]))
            if not any((path / file).exists() for file in _SAFE_WEIGHTS):
                patterns = [*_SMALL_FILES, "pytorch_model*.bin"]
                path = Path(snapshot_download(hub_id, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        raise ModelError(
            f"no folder {hub_id!r} is here, and the Hugging Face hub cannot be reached to look "
            "for a model of that name"
        ) from None
    except HfHubHTTPError as failure:
        status = failure.response.status_code
        raise ModelError(
            f"no folder {hub_id!r} is here, and the Hugging Face hub gives no model of that name "
            f"(HTTP {status}); a private one needs 'hf auth login'"
        ) from None
    except (OSError, ValueError) as failure:
        raise ModelError(
            f"no folder {hub_id!r} is here, and it cannot be had from the hub: {failure}"
        ) from None
    if not (path / "config.json").is_file():
        raise ModelError(f"{hub_id} on the Hugging Face hub has no config.json")
    return path


def _task(path: Path) -> str:
    """The head that the configuration names."""
    try:
        config = json.loads((path / "config.json").read_text())
        architectures = [str(name) for name in config.get("architectures") or []]
    except (ValueError, AttributeError, OSError):
        raise ModelError(f"{path / 'config.json'} is no model configuration in JSON") from None
    if "auto_map" in config:
        raise ModelError(f"{path} brings Python code of its own for its network, which is not run")
    tasks = ("ForSequenceClassification", "ForImageClassification")
    for task in tasks:
        if any(name.endswith(task) for name in architectures):
            return task
    raise ModelError(
        f"{path} is {' or '.join(architectures) or 'a network without a named architecture'}; "
        f"those that end in {' or '.join(tasks)} can be read"
    )


def _load(path: Path, task: str) -> "PreTrainedModel":
    """The network in float32, in evaluation mode, with every weight from the folder.

    Raises:
        ModelError: the weights are missing, broken or not all there.
        UnsafeFileError: the weights are a pickle of more than tensors.
    """
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    texts = task == "ForSequenceClassification"
    loader = AutoModelForSequenceClassification if texts else AutoModelForImageClassification
    safe = any((path / file).is_file() for file in _SAFE_WEIGHTS)
    if not safe:
        _check_pickled(path)
    try:
        with quiet():
            network, loaded = loader.from_pretrained(
                path,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=safe,
                weights_only=True,
                dtype="float32",
                output_loading_info=True,
            )
    except Exception as failure:  # transformers raises many kinds for a broken folder
        why = first_line(failure)
        if "ignore_mismatched_sizes" in why:  # its own words point at a log that is not shown
            why = "its weights have other shapes than its config.json says"
        raise ModelError(f"{path} cannot be loaded: {why}") from failure
    missing = sorted(loaded["missing_keys"])
    if missing:
        raise ModelError(
            f"{path} holds no trained classifier: {', '.join(missing[:4])} "
            f"{'are' if len(missing) > 1 else 'is'} not in its weights; train the head first"
        )
    return network.eval()  # type: ignore[no-any-return]


def _check_pickled(path: Path) -> None:
    """Raise unless the folder's pickled weights hold nothing but tensors."""
    from pickle import UnpicklingError

    import torch

    if not any((path / file).is_file() for file in _PICKLED_WEIGHTS):
        raise ModelError(f"{path} holds no weights: model.safetensors was wanted")
    for shard in sorted(path.glob("pytorch_model*.bin")):
        try:
            torch.load(shard, map_location="meta", weights_only=True)
        except UnpicklingError:
            refuse(shard)
        except (RuntimeError, EOFError, OSError, ValueError) as failure:
            raise ModelError(f"{shard} cannot be read: {first_line(failure)}") from None
