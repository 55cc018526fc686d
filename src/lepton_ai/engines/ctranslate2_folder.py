"""What a Hugging Face folder of a translator says: its family, its tokens, how it decodes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_ai.errors import EngineError
from lepton_ai.formats.pickle import refuse

#: What ``generate`` of transformers would stop at says more of old defaults than of translations.
MOST_NEW_TOKENS = 256
_SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
#: Settings that change what is generated and that CTranslate2 has no like of, with the value that
#: changes nothing.
_UNHEARD = {
    "diversity_penalty": 0.0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "num_beam_groups": 1,
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """What sets one architecture apart, where its configuration does not say.

    ``starts_from_zero``: the decoder starts from an embedding of zeros, and the token that stands
    for it, the last one, is never generated. ``norm_first``: layers are normalised before, not
    after. ``norm_embeddings``: and so are the embeddings.
    """

    starts_from_zero: bool = False
    norm_first: bool = False
    norm_embeddings: bool = False


#: By the name of the architecture in ``config.json``. NLLB is an M2M100.
FAMILIES = {
    "BartForConditionalGeneration": Family(norm_embeddings=True),
    "M2M100ForConditionalGeneration": Family(norm_first=True),
    "MBartForConditionalGeneration": Family(norm_first=True, norm_embeddings=True),
    "MT5ForConditionalGeneration": Family(),
    "MarianMTModel": Family(starts_from_zero=True),
    "PegasusForConditionalGeneration": Family(norm_first=True),
    "T5ForConditionalGeneration": Family(),
}


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the answer is looked for.

    ``max_length`` and ``min_length`` count the tokens of an answer, its end included. ``first`` is
    the token that every answer begins with, such as a language's; ``ends`` are the tokens that end
    one; ``suppressed`` are runs of tokens that no answer holds.
    """

    beam_size: int = 1
    max_length: int = MOST_NEW_TOKENS
    min_length: int = 0
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    first: int | None = None
    ends: tuple[int, ...] = ()
    suppressed: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder that can be converted; ``tokens`` are those from 0 on that may be asked for."""

    path: Path
    config: Mapping[str, Any]
    family: Family
    tokens: int
    pad: int
    decoding: Decoding


def name_of(token: int) -> str:
    """What a token is called in the converted model."""
    return str(token)


def read_folder(path: Path) -> Folder:
    """Read ``config.json`` and ``generation_config.json``, and look at the weights' names.

    Raises:
        EngineError: the folder is not of a family that is known; the message names it.
        UnsafeFileError: its weights are a pickle.
    """
    config = _json(path / "config.json")
    generation = path / "generation_config.json"
    decoding = {**config, **(_json(generation) if generation.is_file() else {})}
    family = _family(path, config)
    wanted = ("vocab_size", "pad_token_id", "eos_token_id", "decoder_start_token_id")
    missing = [name for name in wanted if decoding.get(name) is None]
    if missing:
        raise EngineError(f"{path / 'config.json'} does not say {', '.join(missing)}")
    _check_weights(path)
    tokens = int(decoding["vocab_size"]) - family.starts_from_zero
    pad = int(decoding["pad_token_id"])
    if family.starts_from_zero and (
        pad != tokens or config.get("decoder_vocab_size") not in (None, tokens + 1)
    ):
        raise EngineError(
            f"{path} has a vocabulary of its own for its answers, or a pad token that is not the "
            "last one; ctranslate2 takes neither"
        )
    return Folder(
        path=path,
        config=decoding,
        family=family,
        tokens=tokens,
        pad=pad,
        decoding=_decoding(path, decoding, tokens),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise EngineError(
            f"{path} is not there; ctranslate2 runs Hugging Face folders of translators"
        ) from None
    except (OSError, ValueError, TypeError) as failure:
        raise EngineError(f"{path} is no configuration in JSON: {failure}") from None


def _family(path: Path, config: Mapping[str, Any]) -> Family:
    if "auto_map" in config:
        raise EngineError(f"{path} brings Python code of its own for its network, which is not run")
    names = [str(name) for name in config.get("architectures") or []]
    for name in names:
        if name in FAMILIES:
            return FAMILIES[name]
    raise EngineError(
        f"{path} is {' or '.join(names) or 'a network without a named architecture'}; ctranslate2 "
        f"runs {', '.join(FAMILIES)}"
    )


def _check_weights(path: Path) -> None:
    if any((path / name).is_file() for name in _SAFE_WEIGHTS):
        return
    for pickle in sorted(path.glob("pytorch_model*.bin")):
        refuse(pickle)
    raise EngineError(f"{path} holds no weights: model.safetensors was wanted")


def _decoding(path: Path, found: Mapping[str, Any], tokens: int) -> Decoding:
    """The settings of ``generate``, whose lengths count the token that the decoder starts with."""

    def setting(name: str, otherwise: Any) -> Any:
        value = found.get(name)
        return otherwise if value is None else value

    for name, neutral in _UNHEARD.items():
        if setting(name, neutral) != neutral:
            raise EngineError(f"{path} wants {name} {found[name]}, which ctranslate2 has not")
    ends = setting("eos_token_id", ())
    banned = [tuple(run) for run in setting("bad_words_ids", ())]
    banned += [(token,) for token in setting("suppress_tokens", ())]
    return Decoding(
        beam_size=int(setting("num_beams", 1)),
        max_length=int(
            setting("max_new_tokens", int(setting("max_length", MOST_NEW_TOKENS + 1)) - 1)
        ),
        min_length=int(setting("min_new_tokens", max(0, int(setting("min_length", 0)) - 1))),
        length_penalty=float(setting("length_penalty", 1.0)),
        repetition_penalty=float(setting("repetition_penalty", 1.0)),
        no_repeat_ngram_size=int(setting("no_repeat_ngram_size", 0)),
        first=found.get("forced_bos_token_id"),
        ends=tuple(ends) if isinstance(ends, list) else (int(ends),),
        suppressed=tuple(run for run in banned if all(0 <= token < tokens for token in run)),
    )
