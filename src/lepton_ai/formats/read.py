"""Find the format of a source and read it."""

from pathlib import Path
from typing import Any

from lepton_ai.errors import MissingExtraError, ModelError
from lepton_ai.formats.format import formats
from lepton_ai.model.model import Model
from lepton_ai.model.signature import Arrays

#: Packages that formats import only when they read, and the extra that brings each.
_EXTRAS = {"torch": "train", "transformers": "train", "safetensors": "train"}
_EXTRAS |= dict.fromkeys(("onnx", "onnx_ir", "onnxscript"), "optimize")


def read(source: Any, folder: Path, example: Arrays | None = None) -> Model:
    """Read ``source``: a path, a Hugging Face hub id or a ``torch.nn.Module``.

    ``folder`` is an existing working folder, into which the network is written as ONNX;
    ``example`` is a batch of inputs by name, which a module needs and other formats ignore.

    Raises:
        ModelError: no format reads the source, or it is broken.
        UnsafeFileError: the source is a pickle.
        DataError: ``example`` is missing or does not fit the module's parameters.
        MissingExtraError: the format needs a package that is not installed.
    """
    if isinstance(source, Path | str) and not str(source).strip():
        raise ModelError("a model was wanted, and an empty path came")
    for _, kind in formats.items():
        reader = kind()
        if not reader.accepts(source):
            continue
        try:
            return reader.read(source, folder, example)
        except ModuleNotFoundError as failure:
            package = (failure.name or "").partition(".")[0]
            if package not in _EXTRAS:
                raise
            raise MissingExtraError(package, _EXTRAS[package]) from failure
    raise ModelError(_nothing_reads(source))


def _nothing_reads(source: Any) -> str:
    known = "; ".join(kind.takes for _, kind in formats.items() if kind.takes)
    if isinstance(source, str | Path):
        path = Path(source)
        state = "no such file or folder is here" if not path.exists() else "it is none of these"
        return f"{path} cannot be read as a model, {state}: {known}"
    return f"a {type(source).__name__} cannot be read as a model; what can: {known}"
