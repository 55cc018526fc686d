"""Tiny translators with random weights: the same tokens as transformers, and kind refusals."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from lepton_ai.engines.ctranslate2 import CTranslate2
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.errors import EngineError, EngineUnavailableError, UnsafeFileError
from lepton_ai.formats.quiet import quiet

WORDS = 97
EOS, PAD, FIRST_LANGUAGE = 2, 1, 90
PLAN = EnginePlan(threads=1)
LENGTHS = (5, 9, 1, 7)


def marian() -> Any:
    """With its pad token last, which starts the decoder and is never generated."""
    pad = WORDS - 1
    config = transformers.MarianConfig(
        **small(), pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad, bos_token_id=None
    )
    config.forced_eos_token_id = None
    network = transformers.MarianMTModel(config)
    network.generation_config.bad_words_ids = [[pad]]
    return network


def t5(**changes: Any) -> Any:
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=WORDS,
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=2,
            num_heads=4,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            initializer_factor=3.0,
            **changes,
        )
    )


def bart() -> Any:
    config = transformers.BartConfig(**small(), **tokens(), decoder_start_token_id=EOS)
    return transformers.BartForConditionalGeneration(config)


def m2m100() -> Any:
    """NLLB's architecture; the language to translate into is the first token of the answer."""
    config = transformers.M2M100Config(**small(), **tokens(), decoder_start_token_id=EOS)
    network = transformers.M2M100ForConditionalGeneration(config)
    network.generation_config.forced_bos_token_id = FIRST_LANGUAGE
    return network


def mbart() -> Any:
    config = transformers.MBartConfig(
        **small(), **tokens(), decoder_start_token_id=FIRST_LANGUAGE, scale_embedding=True
    )
    return transformers.MBartForConditionalGeneration(config)


def pegasus() -> Any:
    config = transformers.PegasusConfig(
        **small(), pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, scale_embedding=True
    )
    return transformers.PegasusForConditionalGeneration(config)


def small() -> dict[str, Any]:
    return {
        "vocab_size": WORDS,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "max_position_embeddings": 64,
        "init_std": 0.3,
    }


def tokens() -> dict[str, Any]:
    return {"pad_token_id": PAD, "bos_token_id": 0, "eos_token_id": EOS}


BUILDERS: dict[str, Callable[[], Any]] = {
    "marian": marian,
    "t5": t5,
    "t5_v1_1": lambda: t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "bart": bart,
    "m2m100": m2m100,
    "mbart": mbart,
    "pegasus": pegasus,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family, made when it is first asked for; do not change it."""
    home = tmp_path_factory.mktemp("translators")

    def folder(name: str) -> Path:
        path = home / name
        if not path.exists():
            torch.manual_seed(5)
            with quiet():
                network = BUILDERS[name]().eval()
                with torch.no_grad():
                    for where, parameter in network.named_parameters():
                        if parameter.ndim == 1:  # biases and norms, zeros and ones at the start
                            parameter.add_(0.1 * torch.randn_like(parameter))
                        elif "encoder_attn" in where:  # so that answers depend on what is asked
                            parameter.mul_(4.0)
                network.generation_config.forced_eos_token_id = None
                network.generation_config.max_length = 24
                network.save_pretrained(path)
        return path

    return folder


@pytest.fixture(scope="module")
def networks(folders: Callable[[str], Path]) -> Callable[[str], Any]:
    def network(name: str) -> Any:
        with quiet():
            kind = transformers.AutoModelForSeq2SeqLM
            return kind.from_pretrained(folders(name)).eval()

    return network


def sentences(path: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of several lengths, filled up on the right."""
    config = json.loads((path / "config.json").read_text())
    pad, eos = config["pad_token_id"], config["eos_token_id"]
    rng = np.random.default_rng(seed)
    ids = np.full((len(LENGTHS), max(LENGTHS) + 1), pad, np.int64)
    for row, length in enumerate(LENGTHS):
        ids[row, :length] = rng.integers(3, WORDS - 8, length)
        ids[row, length] = eos
    return {"input_ids": ids, "attention_mask": (ids != pad).astype(np.int64)}


def generated(network: Any, inputs: dict[str, np.ndarray], **how: Any) -> tuple[Any, Any]:
    """What transformers generates, without the token that the decoder starts with."""
    with torch.no_grad(), quiet():
        found = network.generate(
            **{name: torch.from_numpy(array) for name, array in inputs.items()},
            return_dict_in_generate=True,
            output_scores=True,
            **how,
        )
    return found.sequences[:, 1:].numpy(), getattr(found, "sequences_scores", None)


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("family", BUILDERS)
def test_tokens_are_those_of_transformers(
    folders: Callable[[str], Path], networks: Callable[[str], Any], family: str, beams: int
) -> None:
    path = folders(family)
    inputs = sentences(path)
    translation = CTranslate2().load(path, PLAN).with_decoding(beam_size=beams)
    answer = translation.run(inputs)
    stopping = {"early_stopping": True} if beams > 1 else {}
    wanted, scores = generated(networks(family), inputs, num_beams=beams, **stopping)
    assert answer["sequences"].dtype == np.int64
    assert answer["scores"].dtype == np.float32
    ends = translation.decoding.ends
    assert ended(answer["sequences"], ends) == ended(wanted, ends)
    assert len({tuple(row) for row in wanted.tolist()}) > 1
    if scores is not None:
        # transformers takes the pad token out after the softmax, so that its share is missing.
        rtol = 1e-2 if family == "marian" else 1e-3
        np.testing.assert_allclose(answer["scores"], scores.numpy(), rtol=rtol, atol=1e-4)


def ended(rows: np.ndarray, ends: tuple[int, ...]) -> list[list[int]]:
    """Each row up to its end; beams of transformers are filled up with now this, now that."""
    cut = []
    for row in rows.tolist():
        last = next((place for place, token in enumerate(row) if token in ends), len(row))
        cut.append(row[: last + 1])
    return cut


def test_settings_come_from_the_folder(folders: Callable[[str], Path]) -> None:
    decoding = CTranslate2().load(folders("m2m100"), PLAN).decoding
    assert decoding.first == FIRST_LANGUAGE
    assert decoding.max_length == 23
    assert decoding.ends == (EOS,)
    assert decoding.beam_size == 1


def test_settings_can_be_changed(folders: Callable[[str], Path]) -> None:
    translation = CTranslate2().load(folders("m2m100"), PLAN)
    inputs = sentences(folders("m2m100"))
    other = translation.with_decoding(first=FIRST_LANGUAGE + 1, max_length=4).run(inputs)
    assert other["sequences"].shape == (len(LENGTHS), 4)
    assert (other["sequences"][:, 0] == FIRST_LANGUAGE + 1).all()
    assert (translation.run(inputs)["sequences"][:, 0] == FIRST_LANGUAGE).all()


@pytest.mark.parametrize("precision", CTranslate2().precisions()[1:])
def test_other_precisions_run(folders: Callable[[str], Path], precision: str) -> None:
    path = folders("marian")
    inputs = sentences(path)
    answer = CTranslate2().load(path, EnginePlan(threads=1, precision=precision)).run(inputs)
    assert answer["sequences"].shape[0] == answer["scores"].shape[0] == len(LENGTHS)
    assert np.isfinite(answer["scores"]).all()
    assert ((answer["sequences"] >= 0) & (answer["sequences"] < WORDS)).all()


def test_int8_is_close(folders: Callable[[str], Path]) -> None:
    """The score of the first token; later ones may be others, once one has been.

    Random weights are as coarse in int8 as weights get. One of 97 tokens at random scores -4.6, the
    best here about -1.9.
    """
    assert "int8" in CTranslate2().precisions()
    inputs = sentences(folders("m2m100"))
    scores = [
        CTranslate2()
        .load(folders("m2m100"), EnginePlan(threads=1, precision=precision))
        .with_decoding(first=None, max_length=1)
        .run(inputs)["scores"]
        for precision in ("fp32", "int8")
    ]
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.5


def test_without_a_mask_padding_is_seen(folders: Callable[[str], Path]) -> None:
    inputs = sentences(folders("marian"))
    translation = CTranslate2().load(folders("marian"), PLAN)
    alone = translation.run({"input_ids": inputs["input_ids"]})
    np.testing.assert_array_equal(alone["sequences"], translation.run(inputs)["sequences"])


def test_eight_threads_get_the_answers_of_one(folders: Callable[[str], Path]) -> None:
    path = folders("t5")
    translation = CTranslate2().load(path, PLAN)
    calls = [sentences(path, seed) for seed in range(8)]
    alone = [translation.run(call)["sequences"] for call in calls]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda call: translation.run(call)["sequences"], calls * 4))
    for place, answer in enumerate(together):
        np.testing.assert_array_equal(answer, alone[place % 8])


def test_inputs_are_not_changed_and_need_not_be_contiguous(folders: Callable[[str], Path]) -> None:
    inputs = sentences(folders("t5"))
    translation = CTranslate2().load(folders("t5"), PLAN)
    wide = np.repeat(inputs["input_ids"], 2, axis=1)
    before = wide.copy()
    answer = translation.run({**inputs, "input_ids": wide[:, ::2]})
    np.testing.assert_array_equal(answer["sequences"], translation.run(inputs)["sequences"])
    np.testing.assert_array_equal(wide, before)


def test_the_second_load_finds_what_the_first_converted(
    folders: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = sentences(folders("marian"))
    first = CTranslate2().load(folders("marian"), PLAN, tmp_path).run(inputs)
    monkeypatch.setattr("lepton_ai.engines.ctranslate2._make", lambda *_: pytest.fail("again"))
    second = CTranslate2().load(folders("marian"), PLAN, tmp_path).run(inputs)
    np.testing.assert_array_equal(first["sequences"], second["sequences"])


def test_nothing_is_left_behind_without_a_cache(
    folders: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    CTranslate2().load(folders("t5"), PLAN).run(sentences(folders("t5")))
    assert list(tmp_path.iterdir()) == []


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda inputs: {key: value for key, value in inputs.items() if key != name}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without("input_ids"), "'input_ids' is missing"),
        (lambda x: {**x, "labels": x["input_ids"]}, "no input is called 'labels'"),
        (lambda x: {**x, "input_ids": x["input_ids"].astype("f4")}, "'input_ids' wants int64"),
        (lambda x: {**x, "input_ids": x["input_ids"][0]}, "'input_ids' wants the shape"),
        (lambda x: {**x, "input_ids": x["input_ids"] + WORDS}, "'input_ids' has .* in row 0"),
        (lambda x: {**x, "input_ids": x["input_ids"] - WORDS}, "'input_ids' has -.* in row 0"),
        (lambda x: {"input_ids": x["input_ids"][:0]}, "'input_ids' has no samples"),
        (lambda x: {"input_ids": x["input_ids"][:, :0]}, "'input_ids' has no token in row 0"),
        (
            lambda x: {**x, "attention_mask": x["attention_mask"][:, ::-1]},
            "'attention_mask' is not ones and then zeros in row 0",
        ),
        (
            lambda x: {**x, "attention_mask": x["attention_mask"][:, :-1]},
            "'attention_mask' has the shape",
        ),
    ],
)
def test_a_call_that_does_not_fit_is_refused_by_name(
    folders: Callable[[str], Path], change: Callable[..., Any], complaint: str
) -> None:
    translation = CTranslate2().load(folders("t5"), PLAN)
    with pytest.raises(EngineError, match=complaint):
        translation.run(change(sentences(folders("t5"))))


def test_a_text_longer_than_its_positions_is_refused(folders: Callable[[str], Path]) -> None:
    translation = CTranslate2().load(folders("marian"), PLAN)
    with pytest.raises(EngineError, match="position"):
        translation.run({"input_ids": np.full((1, 65), 7)})


def test_a_closed_translation_is_refused(folders: Callable[[str], Path]) -> None:
    translation = CTranslate2().load(folders("t5"), PLAN)
    translation.close()
    with pytest.raises(EngineError):
        translation.run(sentences(folders("t5")))


def test_a_precision_that_it_does_not_have_is_refused(folders: Callable[[str], Path]) -> None:
    with pytest.raises(EngineError, match="int3"):
        CTranslate2().load(folders("t5"), EnginePlan(precision="int3"))


def folder_of(config: dict[str, Any], home: Path, *, weights: str = "model.safetensors") -> Path:
    (home / "config.json").write_text(json.dumps(config))
    (home / weights).write_bytes(b"")
    return home


def test_an_architecture_that_it_does_not_know_is_named(tmp_path: Path) -> None:
    path = folder_of({"architectures": ["BertForMaskedLM"]}, tmp_path)
    with pytest.raises(EngineError, match=r"BertForMaskedLM; ctranslate2 runs Bart.*MarianMTModel"):
        CTranslate2().load(path, PLAN)


def test_a_folder_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    config = {"architectures": ["MarianMTModel"], "auto_map": {"AutoModel": "evil.Evil"}}
    with pytest.raises(EngineError, match="Python code"):
        CTranslate2().load(folder_of(config, tmp_path), PLAN)


def known(**changes: Any) -> dict[str, Any]:
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "vocab_size": 9,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        **changes,
    }


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = folder_of(known(), tmp_path, weights="pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match=r"pytorch_model\.bin"):
        CTranslate2().load(path, PLAN)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"eos_token_id": None}, "eos_token_id"),
        ({"encoder_no_repeat_ngram_size": 3}, "encoder_no_repeat_ngram_size 3"),
        ({"architectures": ["MarianMTModel"]}, "pad token that is not the last one"),
    ],
)
def test_what_the_folder_lacks_or_asks_too_much_is_said(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(EngineError, match=complaint):
        CTranslate2().load(folder_of(known(**changes), tmp_path), PLAN)


def test_what_is_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"config.json is not there"):
        CTranslate2().load(tmp_path / "gone", PLAN)


def test_weights_that_are_not_all_there_are_named(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folders("bart") / "model.safetensors")
    gone = next(name for name in weights if name.endswith("fc1.weight"))
    del weights[gone]
    config = json.loads((folders("bart") / "config.json").read_text())
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineError, match=r"fc1\.weight"):
        CTranslate2().load(tmp_path, PLAN)


def test_what_converts_is_asked_for_where_it_is_missing(
    folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lepton_ai.engines.ctranslate2.find_spec", lambda name: None)
    assert CTranslate2().available().remedy == "pip install 'lepton-ai[translate]'"
    with pytest.raises(EngineUnavailableError, match="torch"):
        CTranslate2().load(folders("t5"), PLAN)
