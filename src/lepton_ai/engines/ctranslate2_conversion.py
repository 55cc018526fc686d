"""A Hugging Face folder in CTranslate2's own form.

A token is called by its number: ``"17"`` is the token 17. So the tokenizer is not asked, and no id
can come to mean another one on the way through tables of words.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ctranslate2.converters import TransformersConverter  # type: ignore[import-untyped]
from ctranslate2.specs import model_spec  # type: ignore[import-untyped]

from lepton_ai.engines.ctranslate2_folder import Family, name_of
from lepton_ai.errors import EngineError, first_line
from lepton_ai.formats.quiet import quiet

#: Marian's converter looks for this name to leave the token out, which only starts the decoder.
_PAD = "<pad>"


def convert(path: Path, config: Mapping[str, Any], family: Family, kind: str, into: Path) -> None:
    """Write what :class:`ctranslate2.Translator` reads into the folder ``into``.

    ``kind`` is how weights are kept, by CTranslate2's names. The folder's Python code, if it has
    any, is not run; pickles are not read.

    Raises:
        EngineError: the weights are not all there, or the family has a variant that is not known.
    """
    try:
        with quiet():
            _Converter(path, config, family).convert(str(into), quantization=kind, force=True)
    except EngineError:
        raise
    except Exception as failure:  # transformers and the converter raise many kinds
        why = first_line(failure)
        raise EngineError(f"ctranslate2 cannot convert {path}: {why}") from failure


class _Converter(TransformersConverter):  # type: ignore[misc]
    def __init__(self, path: Path, config: Mapping[str, Any], family: Family) -> None:
        super().__init__(str(path))
        self._config = config
        self._family = family
        self._unscaled = False

    def _load(self) -> Any:
        spec = super()._load()
        if not self._family.starts_from_zero:
            # The converter guesses it from the class of the tokenizer.
            spec.config.decoder_start_token = name_of(self._config["decoder_start_token_id"])
        if self._unscaled:
            spec.decoder.scale_outputs = model_spec.OPTIONAL
        return spec

    def load_model(self, model_class: Any, model_name_or_path: str, **found: Any) -> Any:
        network, loaded = model_class.from_pretrained(
            model_name_or_path,
            config=found.get("config"),
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        missing = sorted(loaded["missing_keys"])
        if missing:
            raise EngineError(f"{model_name_or_path} lacks the weights {', '.join(missing[:4])}")
        # The converter asks the configuration, where older versions of transformers kept it.
        network.config.normalize_before = self._family.norm_first
        network.config.normalize_embedding = self._family.norm_embeddings
        # T5 v1.1 does not scale what it projects. The converter tells by whether embeddings are
        # tied, which transformers has said of every T5 since its version 5.
        self._unscaled = getattr(network.config, "scale_decoder_outputs", None) is False
        return network

    def load_tokenizer(self, tokenizer_class: Any, model_name_or_path: str, **_: Any) -> Any:
        return _Numbers(self._config, self._family)


class _Numbers:
    """What the converter asks of a tokenizer, with numbers for words."""

    def __init__(self, config: Mapping[str, Any], family: Family) -> None:
        self._names = [name_of(token) for token in range(int(config["vocab_size"]))]
        if family.starts_from_zero:
            self._names[-1] = _PAD
        self.pad_token = self._of(config.get("pad_token_id"))
        self.eos_token = self._of(config["eos_token_id"])
        self.bos_token = self._of(config.get("bos_token_id"))
        # Ids that are not in the vocabulary are refused before they come here, so that any will do.
        special = {self.pad_token, self.eos_token, self.bos_token}
        self.unk_token = next(name for name in self._names if name not in special)
        self.unk_token_id = self._names.index(self.unk_token)
        self.additional_special_tokens: list[str] = []
        self.special_tokens_map: dict[str, Any] = {}

    def _of(self, token: Any) -> str | None:
        first = token[0] if isinstance(token, list) else token
        return None if first is None else self._names[first]

    def get_vocab(self) -> dict[str, int]:
        """Every name with its number."""
        return {name: token for token, name in enumerate(self._names)}

    def convert_ids_to_tokens(self, token: int) -> str:
        """The name of one token."""
        return self._names[token]
