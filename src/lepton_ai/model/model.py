"""One network as Lepton holds it."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Signature


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network as an ONNX file on disk, with what is known about it.

    ``path`` is a self-contained ONNX file in a working folder, so that every engine, quantiser and
    child process reads the same bytes. ``module`` is the ``torch.nn.Module`` it was exported from,
    where there is one: its owner's baseline, called with one tensor per input, by position, in the
    order of ``signature.inputs``. ``notes`` are sentences the owner should read.
    """

    name: str
    path: Path
    signature: Signature
    processing: Processing | None = None
    module: Any | None = None
    source_format: str = "onnx"
    notes: tuple[str, ...] = field(default=())

    def content_key(self) -> str:
        """A hash of the network's bytes, weights beside it included, and of its processing."""
        whole = hashlib.sha256()
        files = (path for path in self.path.parent.rglob("*") if path.is_file())
        for path in sorted(files):
            with path.open("rb") as file:
                whole.update(path.relative_to(self.path.parent).as_posix().encode() + b"\0")
                whole.update(hashlib.file_digest(file, "sha256").digest())
        if self.processing is not None:
            whole.update(repr(sorted(self.processing.settings().items())).encode())
            for name, content in sorted(self.processing.files().items()):
                whole.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return whole.hexdigest()
