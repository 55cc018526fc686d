"""What a compressor is, and the registry it is found in."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from lepton_ai.engines.engine import Availability
from lepton_ai.model.signature import Arrays
from lepton_ai.registry import Registry


class Compressor(ABC):
    """ONNX file to smaller ONNX file, whose answers may differ."""

    name: str
    #: Whether the algorithm looks at calibration samples.
    needs_calibration: bool = True

    def available(self) -> Availability:
        """Whether it runs here; what it stands on was imported with its file."""
        return Availability(ok=True, reason="what it stands on is installed")

    @abstractmethod
    def compress(self, source: Path, target: Path, calibration: Iterable[Arrays]) -> None:
        """Read ``source``, write the compressed graph to ``target`` (weights stored small).

        ``calibration`` can be iterated more than once; each item is the inputs of one call.

        Raises:
            ModelError: the algorithm cannot take this graph; the message says why.
        """


compressors: Registry[type[Compressor]] = Registry("compressors", extra="optimize")
compressors.register("int8-dynamic", "lepton_ai.compress.int8_dynamic:Int8Dynamic")
compressors.register("int8-static-ort", "lepton_ai.compress.int8_static_ort:Int8StaticOrt")
compressors.register("int8-static-nncf", "lepton_ai.compress.int8_static_nncf:Int8StaticNncf")

#: Those with other ranges than one of the above, asked where that one harmed the model: each has
#: its name, and a word after it.
alternatives: Registry[type[Compressor]] = Registry("alternatives", extra="optimize")
alternatives.register(
    "int8-static-nncf-minmax", "lepton_ai.compress.int8_static_nncf_minmax:Int8StaticNncfMinmax"
)

#: Those that save bytes alone: what engines compute, and how long it takes, stays as it was.
storages: Registry[type[Compressor]] = Registry("storages", extra="optimize")
storages.register("fp16-weights", "lepton_ai.compress.fp16_weights:Fp16Weights")
storages.register("int8-weights", "lepton_ai.compress.int8_weights:Int8Weights")
storages.register("int4-weights", "lepton_ai.compress.int4_weights:Int4Weights")


def alternatives_to(name: str) -> tuple[str, ...]:
    """The compressors that take other ranges than the compressor ``name``."""
    return tuple(each for each in alternatives.names() if each.startswith(f"{name}-"))


def named_compressor(name: str) -> Compressor:
    """The compressor, alternative or storage ``name``.

    Raises:
        UnknownNameError: none is called so; the message lists the compressors.
        MissingExtraError: it needs a package that is not installed.
    """
    for registry in (alternatives, storages):
        if name in registry.names():
            return registry.get(name)()
    return compressors.get(name)()
