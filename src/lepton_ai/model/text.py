"""Texts to token ids, and class scores to labels."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from tokenizers import Tokenizer

from lepton_ai.errors import DataError, ModelError
from lepton_ai.model.answer import check_answer, present_scores
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Array, Arrays

_TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """How a text classifier reads and answers.

    ``inputs`` are the network's inputs, each one of ``input_ids``, ``attention_mask`` and
    ``token_type_ids``. ``max_length`` counts tokens, special ones included. A batch is padded to
    its longest text, and further to a multiple of ``pad_to_multiple_of`` where that is given.
    ``answer`` says what the scores are: ``softmax`` (one label is right), ``sigmoid`` (each label
    by itself) or ``raw`` (a regression).
    """

    max_length: int
    labels: tuple[str, ...]
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    output: str = "logits"
    answer: str = "softmax"
    pad_id: int = 0
    pad_token: str = "[PAD]"
    pad_side: str = "right"
    pad_to_multiple_of: int | None = None


class TextClassification(Processing):
    """One text in, one label out."""

    kind: ClassVar[str] = "text-classification"

    def __init__(self, *, tokenizer: bytes, settings: TextSettings) -> None:
        """Take the content of a ``tokenizer.json`` and the settings around it.

        Raises:
            ModelError: the tokenizer or a setting makes no sense.
        """
        self._bytes = tokenizer
        self._settings = settings
        self._columns = [(name, _column(name)) for name in settings.inputs]
        check_answer(settings.answer)
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer.decode())
            self._tokenizer.enable_truncation(settings.max_length)
            self._tokenizer.enable_padding(
                direction=settings.pad_side,
                pad_id=settings.pad_id,
                pad_token=settings.pad_token,
                pad_to_multiple_of=settings.pad_to_multiple_of,
            )
        except Exception as failure:  # the library raises bare Exceptions
            raise ModelError(f"{_TOKENIZER_FILE} cannot be used: {failure}") from failure
        special = self._tokenizer.num_special_tokens_to_add(False)
        if settings.max_length <= special:
            raise ModelError(
                f"max_length wants more than the {special} special tokens of every text, and "
                f"{settings.max_length} came"
            )

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, in the order of the network's classes."""
        return self._settings.labels

    def feed(self, raws: Sequence[Any]) -> Arrays:
        """Token ids, int64 ``[batch, longest]`` for each of the network's inputs.

        Raises:
            DataError: a sample is not a text, or is empty; the message gives its index.
        """
        texts = [_check_text(index, raw) for index, raw in enumerate(raws)]
        if not texts:
            raise DataError("at least one text was wanted, and none came")
        encoded = self._tokenizer.encode_batch_fast(texts)
        return {
            name: np.array([getattr(one, column) for one in encoded], dtype=np.int64)
            for name, column in self._columns
        }

    def present(self, outputs: Arrays) -> list[dict[str, Any]]:
        """``{"label": ..., "scores": {label: score}}`` per text."""
        scores: Array = outputs[self._settings.output]
        return present_scores(scores, self._settings.labels, self._settings.answer)

    def settings(self) -> dict[str, Any]:
        """The fields of :class:`TextSettings`."""
        record = asdict(self._settings)
        return {**record, "labels": list(record["labels"]), "inputs": list(record["inputs"])}

    def files(self) -> dict[str, bytes]:
        """The tokenizer, as ``tokenizer.json``."""
        return {_TOKENIZER_FILE: self._bytes}

    @classmethod
    def rebuild(
        cls, settings: Mapping[str, Any], files: Mapping[str, bytes]
    ) -> "TextClassification":
        """The inverse of :meth:`settings` and :meth:`files`."""
        whole = {**settings, "labels": tuple(settings["labels"])}
        whole["inputs"] = tuple(settings["inputs"])
        return cls(tokenizer=files[_TOKENIZER_FILE], settings=TextSettings(**whole))


def _column(name: str) -> str:
    """The attribute of a tokenizer's encoding that holds an input."""
    columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    if name not in columns:
        raise ModelError(f"a text network's inputs can be {list(columns)}, and {name!r} came")
    return columns[name]


def _check_text(index: int, raw: Any) -> str:
    if not isinstance(raw, str):
        raise DataError(f"sample {index} should be a text, and a {type(raw).__name__} came")
    if not raw.strip():
        raise DataError(f"sample {index} is an empty text")
    try:
        raw.encode()
    except UnicodeEncodeError:
        raise DataError(f"sample {index} holds half of a surrogate pair, no valid text") from None
    return raw
