"""What a format is, and the registry it is found in."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from lepton_ai.model.model import Model
from lepton_ai.model.signature import Arrays
from lepton_ai.registry import Registry


class Format(ABC):
    """One way in which a trained model comes to us."""

    name: str
    #: What a source of this format is, for the message that lists them all.
    takes: str

    @abstractmethod
    def accepts(self, source: Any) -> bool:
        """Whether ``source`` (a path, a hub id or a module) is of this format; imports nothing."""

    @abstractmethod
    def read(self, source: Any, folder: Path, example: Arrays | None) -> Model:
        """Read ``source`` and write its network into ``folder`` as one ONNX file.

        ``example`` is a batch of the network's inputs, for formats whose files do not carry the
        shapes of their inputs.

        Raises:
            ModelError: the model cannot be read; the message says why and what to do.
            UnsafeFileError: reading it could run code that came with it.
            DataError: ``example`` is needed, or does not fit.
        """


#: Asked in this order: what may run code first, so that no other format opens it.
formats: Registry[type[Format]] = Registry("formats", extra="optimize")
formats.register("pickle", "lepton_ai.formats.pickle:Pickle")
formats.register("torch-module", "lepton_ai.formats.torch_module:TorchModule")
formats.register("huggingface", "lepton_ai.formats.huggingface:HuggingFace")
formats.register("onnx", "lepton_ai.formats.onnx:Onnx")
