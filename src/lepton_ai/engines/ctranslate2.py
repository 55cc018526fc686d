"""CTranslate2: translators and their like, with a decoder of its own and beam search."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lepton_ai.engines.cache import cached
from lepton_ai.engines.ctranslate2_folder import Decoding, Folder, name_of, read_folder
from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable
from lepton_ai.engines.feed import Feed, Wanted
from lepton_ai.errors import EngineError, EngineUnavailableError, first_line
from lepton_ai.model.signature import Array, Arrays

_REMEDY = "pip install 'lepton-ai[translate]'"
#: Precisions by what CTranslate2 calls them; activations that are not int8 are in the second one.
_KINDS = {
    "fp32": "float32",
    "int8": "int8_float32",
    "bf16": "bfloat16",
    "int8_bf16": "int8_bfloat16",
    "fp16": "float16",
    "int8_fp16": "int8_float16",
}


class CTranslate2(Engine):
    """Sequence-to-sequence families from their Hugging Face folders; ids in, ids out."""

    name = "ctranslate2"
    #: What it loads is a folder with a ``config.json``, not an ONNX file.
    form = "huggingface"
    by_default = False
    parallel = True
    unlocks = "translators with int8 and beam search"

    def available(self) -> Availability:
        """Whether the package is installed."""
        if find_spec("ctranslate2") is None:
            return Availability(ok=False, reason="not installed", remedy=_REMEDY)
        return Availability(ok=True, reason="sequence-to-sequence models, from their folders")

    def devices(self) -> tuple[str, ...]:
        """The processor, and ``cuda`` where CTranslate2 finds such a device."""
        return ("cpu", "cuda") if _package().get_cuda_device_count() else ("cpu",)

    def precisions(self, device: str = "cpu") -> tuple[str, ...]:
        """``fp32``, and those that CTranslate2 says that ``device`` computes."""
        computed = _package().get_supported_compute_types(device)
        return tuple(name for name, kind in _KINDS.items() if name == "fp32" or kind in computed)

    def load(self, path: Path, plan: EnginePlan, cache: Path | None = None) -> Executable:
        """Convert the Hugging Face folder ``path``, or take the converted one from ``cache``.

        The first needs torch and transformers, the second does not.

        Raises:
            EngineUnavailableError: the engine, or what converts for it, is not installed.
            EngineError: the folder is of no family that it knows; the message names it.
            UnsafeFileError: its weights are a pickle.
        """
        _package()
        self.check(plan)
        _check(plan, self.precisions(plan.device))
        folder = read_folder(Path(path))
        kind = _KINDS[plan.precision]
        if cache is not None:
            engine = f"{self.name} {self.version()}"
            made = cached(cache, engine, folder.path, plan, lambda into: _make(folder, kind, into))
            return Translation(_open(made, plan), folder)
        with TemporaryDirectory(prefix="lepton-ctranslate2-") as into:
            _make(folder, kind, Path(into))
            return Translation(_open(Path(into), plan), folder)


class Translation(Executable):
    """``input_ids`` int64 [batch, source] to ``sequences`` and ``scores``.

    ``attention_mask`` [batch, source], if given, is ones and then zeros in each row; without one,
    pad ids at the end of a row are left out. ``sequences`` int64 [batch, target] are filled up with
    the pad id; they hold the token that ends them and not the one that the decoder starts with.
    ``scores`` float32 [batch] are log probabilities over ``length ** length_penalty``.
    """

    def __init__(self, translator: Any, folder: Folder, decoding: Decoding | None = None) -> None:
        self._translator = translator
        self._folder = folder
        self._feed = Feed(
            "ctranslate2",
            [
                Wanted(name="input_ids", dtype=np.dtype(np.int64), shape=(None, None)),
                Wanted(
                    name="attention_mask",
                    dtype=np.dtype(np.int64),
                    shape=(None, None),
                    optional=True,
                ),
            ],
        )
        self.decoding = decoding or folder.decoding

    def with_decoding(self, **changes: Any) -> "Translation":
        """The same translator with other settings (see :class:`Decoding`); both may be used."""
        return Translation(self._translator, self._folder, replace(self.decoding, **changes))

    def run(self, inputs: Arrays) -> Arrays:
        """The best answer to each row, and its score."""
        self._feed.check(inputs)
        rows = self._rows(inputs["input_ids"], inputs.get("attention_mask"))
        how = self.decoding
        first = None if how.first is None else [[name_of(how.first)]] * len(rows)
        try:
            found = self._translator.translate_batch(
                rows,
                target_prefix=first,
                beam_size=how.beam_size,
                length_penalty=how.length_penalty,
                repetition_penalty=how.repetition_penalty,
                no_repeat_ngram_size=how.no_repeat_ngram_size,
                suppress_sequences=[[name_of(t) for t in run] for run in how.suppressed] or None,
                end_token=[name_of(token) for token in how.ends],
                return_end_token=True,
                max_input_length=0,  # by default it cuts what is longer, and does not say so
                max_decoding_length=how.max_length,
                min_decoding_length=how.min_length,
                return_scores=True,
            )
        except Exception as failure:  # its exceptions share no base class
            why = first_line(failure)
            raise EngineError(f"ctranslate2 failed: {why}") from failure
        return self._answer([[int(name) for name in one.hypotheses[0]] for one in found], found)

    def close(self) -> None:
        """Give the model's memory back, for every executable that shares it."""
        self._translator.unload_model()

    def _answer(self, tokens: list[list[int]], found: list[Any]) -> Arrays:
        longest = max(map(len, tokens))
        sequences = np.full((len(tokens), longest), self._folder.pad, np.int64)
        for row, answer in enumerate(tokens):
            sequences[row, : len(answer)] = answer
        return {
            "sequences": sequences,
            "scores": np.array([one.scores[0] for one in found], np.float32),
        }

    def _rows(self, ids: Array, mask: Array | None) -> list[list[str]]:
        """The names of the tokens of each row, up to where it is filled up."""
        if mask is None:
            mask = _before_padding(ids != self._folder.pad)
        elif mask.shape != ids.shape:
            raise EngineError(
                f"input 'attention_mask' has the shape {list(mask.shape)}, and 'input_ids' "
                f"{list(ids.shape)}"
            )
        lengths = mask.astype(bool).sum(axis=1)
        inside = np.arange(ids.shape[1]) < lengths[:, None]
        for row in np.flatnonzero((mask != inside).any(axis=1)):
            raise EngineError(
                f"input 'attention_mask' is not ones and then zeros in row {row}; fill up on the "
                "right"
            )
        for row in np.flatnonzero(lengths == 0):
            raise EngineError(f"input 'input_ids' has no token in row {row}")
        for row, place in np.argwhere(inside & ((ids < 0) | (ids >= self._folder.tokens))):
            raise EngineError(
                f"input 'input_ids' has {ids[row, place]} in row {row}; the tokens that can be "
                f"asked for are 0 to {self._folder.tokens - 1}"
            )
        return [
            [name_of(token) for token in row[:length]]
            for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)
        ]


def _before_padding(told: Array) -> Array:
    """Ones up to the last token of each row that is not the pad token, zeros from there on."""
    return np.logical_or.accumulate(told[:, ::-1], axis=1)[:, ::-1]


def _check(plan: EnginePlan, precisions: tuple[str, ...]) -> None:
    if plan.precision not in precisions:
        raise EngineError(
            f"ctranslate2 computes in {list(precisions)} here, not in {plan.precision}"
        )
    if plan.without:
        raise EngineError(f"ctranslate2 has no optimisations called {list(plan.without)}")
    if plan.branches > 1 or plan.pinning is not None:
        raise EngineError("ctranslate2 has no branches side by side, and does not pin its threads")


def _make(folder: Folder, kind: str, into: Path) -> None:
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise EngineUnavailableError(
                f"ctranslate2 needs {package} to convert {folder.path}: {_REMEDY}"
            )
    from lepton_ai.engines.ctranslate2_conversion import convert

    convert(folder.path, folder.config, folder.family, kind, into)


def _open(converted: Path, plan: EnginePlan) -> Any:
    try:
        return _package().Translator(
            str(converted),
            device=plan.device,
            compute_type=_KINDS[plan.precision],
            inter_threads=plan.streams,
            intra_threads=plan.threads,
        )
    except Exception as failure:  # its exceptions share no base class
        why = first_line(failure)
        raise EngineError(f"ctranslate2 refuses what it converted: {why}") from failure


def _package() -> Any:
    try:
        import ctranslate2  # type: ignore[import-untyped]
    except ImportError as failure:
        raise EngineUnavailableError(f"ctranslate2 is not installed: {_REMEDY}") from failure
    return ctranslate2
