"""The network and the tokenizer of a text classifier."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedModel

from lepton_ai.errors import ModelError, first_line
from lepton_ai.formats.huggingface_config import label_names, softmax_or
from lepton_ai.formats.huggingface_logits import export_logits
from lepton_ai.formats.quiet import quiet
from lepton_ai.model.model import Model
from lepton_ai.model.text import TextClassification, TextSettings

#: Texts of unequal length, so that padding and its mask are part of what is compared.
_EXAMPLES = (
    "A short text.",
    "A second text, which is a good deal longer than the first one: 1, 2.",
)
#: Without one of these, transformers makes up a tokenizer that knows no words.
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken")
#: Used where neither tokenizer nor network has a limit.
_NO_LIMIT_LENGTH = 512


def read_text_classifier(network: PreTrainedModel, source: Path, folder: Path) -> Model:
    """Export with free batch and text length; the processing is the folder's tokenizer.

    Raises:
        ModelError: the folder has no usable tokenizer, or the network cannot be exported.
    """
    processing = _processing(network, source)
    longest = int(processing.settings()["max_length"])
    sizes = {0: ("batch", None), 1: ("sequence", longest)}
    try:
        return export_logits(network, processing.feed(_EXAMPLES), sizes, folder, processing)
    except ModelError as failure:
        raise ModelError(f"{source} cannot be exported: {failure}") from failure


def _processing(network: PreTrainedModel, source: Path) -> TextClassification:
    if not any(found for pattern in _VOCABULARIES for found in source.glob(pattern)):
        raise ModelError(f"{source} has no tokenizer that can be used: tokenizer.json was wanted")
    try:
        with quiet():
            tokenizer: Any = AutoTokenizer.from_pretrained(
                source, local_files_only=True, trust_remote_code=False
            )
        content = tokenizer.backend_tokenizer.to_str().encode()
    except Exception as failure:  # transformers raises many kinds for a broken folder
        raise ModelError(
            f"{source} has no tokenizer that can be used: {first_line(failure)}"
        ) from failure
    if tokenizer.pad_token_id is None:
        raise ModelError(f"{source}'s tokenizer has no padding token, so texts make no batch")
    size = getattr(network.config, "vocab_size", None)
    if size is not None and len(tokenizer) > size:
        raise ModelError(
            f"{source}'s tokenizer has {len(tokenizer)} tokens, and its network {size}; they are "
            "not of one model"
        )
    processing = TextClassification(
        tokenizer=content,
        settings=TextSettings(
            max_length=_longest(network, tokenizer),
            labels=label_names(network.config),
            inputs=_inputs(network, tokenizer),
            answer=softmax_or(network.config),
            pad_id=tokenizer.pad_token_id,
            pad_token=tokenizer.pad_token,
            pad_side=tokenizer.padding_side,
        ),
    )
    _check_same(processing, tokenizer, source)
    return processing


def _longest(network: PreTrainedModel, tokenizer: Any) -> int:
    """The most tokens that both the tokenizer and the network's positions allow."""
    positions = getattr(network.config, "max_position_embeddings", None) or _NO_LIMIT_LENGTH
    # RoBERTa and its kin number positions from behind the padding token's
    table = getattr(network.base_model, "embeddings", None)
    padding = getattr(getattr(table, "position_embeddings", None), "padding_idx", None)
    if padding is not None:
        positions -= padding + 1
    return int(min(tokenizer.model_max_length, positions))


def _inputs(network: PreTrainedModel, tokenizer: Any) -> tuple[str, ...]:
    """The tokenizer's answers that ``forward`` takes; segment ids only where they say something."""
    taken = inspect.signature(network.forward).parameters
    names = ["input_ids", "attention_mask"]
    segments = tokenizer(list(_EXAMPLES), return_token_type_ids=True).get("token_type_ids", [])
    if "token_type_ids" in tokenizer.model_input_names and any(map(any, segments)):
        names.append("token_type_ids")
    return tuple(name for name in names if name in taken)


def _check_same(processing: TextClassification, tokenizer: Any, source: Path) -> None:
    """Refuse a tokenizer whose Python part adds something to what its file says."""
    longest = processing.settings()["max_length"]
    wanted = tokenizer(
        list(_EXAMPLES), padding=True, truncation=True, max_length=longest, return_tensors="np"
    )
    for name, array in processing.feed(_EXAMPLES).items():
        if not np.array_equal(array, wanted[name]):
            raise ModelError(f"{source}'s tokenizer gives other {name} than its file does")
