"""What is done before the network and after it, as plain settings and files, never as code.

A processing is found by its ``kind`` in a registry and rebuilt from JSON settings and a few data
files (a tokenizer, label names), so that a bundle answers texts and images with no code of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lepton_ai.model.signature import Arrays
from lepton_ai.registry import Registry


class Processing(ABC):
    """From raw samples (texts, images) to a network's inputs, and from outputs to answers."""

    kind: ClassVar[str]

    @abstractmethod
    def feed(self, raws: Sequence[Any]) -> Arrays:
        """The network's inputs for a batch of raw samples.

        Raises:
            DataError: a raw sample is not what this processing takes; the message names it.
        """

    @abstractmethod
    def present(self, outputs: Arrays) -> list[dict[str, Any]]:
        """One JSON-ready answer per sample, in the task's own terms."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """JSON settings that, with :meth:`files`, rebuild this processing."""

    def files(self) -> dict[str, bytes]:
        """Data files by name (``tokenizer.json``)."""
        return {}

    @classmethod
    @abstractmethod
    def rebuild(cls, settings: Mapping[str, Any], files: Mapping[str, bytes]) -> "Processing":
        """The inverse of :meth:`settings` and :meth:`files`."""


processings: Registry[type[Processing]] = Registry("processings", extra="all")
processings.register("text-classification", "lepton_ai.model.text:TextClassification")
processings.register("image-classification", "lepton_ai.model.image:ImageClassification")
