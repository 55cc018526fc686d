"""A pretrained sentence encoder, taught three sentiments in a few minutes on a CPU."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.demo.tweets import LABELS, Tweet
from lepton_ai.plan.journal import cache_folder
from lepton_ai.train.fit import TrainStep, fit
from lepton_ai.train.loop import TrainConfig

_MAX_TOKENS = 64
_LEARNING_RATE = 2e-4
_BUCKETS = 64
_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
_SAMPLES_IN_FP32 = 3_000


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long to learn: ``samples`` tweets once, in batches of ``batch``.

    With ``bf16`` the matrix products are computed in bfloat16; weights and updates stay fp32.
    """

    samples: int = 9_000
    batch: int = 32
    bf16: bool = False

    @classmethod
    def for_machine(cls, isa: Sequence[str]) -> "Schedule":
        """About two minutes on two cores: bf16 where the processor computes it, else less data."""
        if any(flag in isa for flag in _BF16_FLAGS):
            return cls(bf16=True)
        return cls(samples=_SAMPLES_IN_FP32)


def fine_tuned(
    encoder: Path,
    tweets: Sequence[Tweet],
    schedule: Schedule,
    progress: Callable[[TrainStep], None],
) -> Path:
    """A Hugging Face folder with the encoder and a 3-way sentiment head, cached by content."""
    chosen = tweets[: schedule.samples]
    home = cache_folder() / "models" / _key(encoder, chosen, schedule) / "sentiment"
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=home.parent))
        try:
            _learn(encoder, chosen, schedule, progress, partial)
            partial.replace(home)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return home


def _key(encoder: Path, tweets: Sequence[Tweet], schedule: Schedule) -> str:
    whole = hashlib.sha256((encoder / "model.safetensors").read_bytes())
    whole.update(json.dumps([asdict(tweet) for tweet in tweets]).encode())
    whole.update(json.dumps(asdict(schedule)).encode())
    whole.update(Path(__file__).read_bytes())
    return whole.hexdigest()[:16]


def _learn(
    encoder: Path,
    tweets: Sequence[Tweet],
    schedule: Schedule,
    progress: Callable[[TrainStep], None],
    target: Path,
) -> None:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    names = dict(enumerate(LABELS))
    network = transformers.AutoModelForSequenceClassification.from_pretrained(
        encoder, num_labels=len(LABELS), id2label=names, label2id={v: k for k, v in names.items()}
    )
    network.get_input_embeddings().requires_grad_(False)  # half the weights, little to learn here
    tokens = tokenizer([t.text for t in tweets], truncation=True, max_length=_MAX_TOKENS)
    labels = [LABELS.index(tweet.label) for tweet in tweets]

    def loss(batch: Sequence[int]) -> Any:
        padded = tokenizer.pad(
            {"input_ids": [tokens["input_ids"][index] for index in batch]}, return_tensors="pt"
        )
        wanted = torch.tensor([labels[index] for index in batch])
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.bf16):
            return network(**padded, labels=wanted).loss

    lengths = [len(ids) for ids in tokens["input_ids"]]
    fit(
        network,
        loss,
        batches(lengths, schedule.batch),
        steps=-(-len(tweets) // schedule.batch),
        config=TrainConfig(learning_rate=_LEARNING_RATE),
        progress=progress,
    )
    network.save_pretrained(target)
    tokenizer.save_pretrained(target)


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Every index once, in batches of texts of similar length, the batches in random order.

    Within windows of many batches the texts are sorted by length, so that little is padding.
    """
    random = np.random.default_rng(0)
    order = random.permutation(len(lengths))
    found = []
    for start in range(0, len(order), size * _BUCKETS):
        window = sorted(order[start : start + size * _BUCKETS], key=lambda i: lengths[i])
        found += [window[place : place + size] for place in range(0, len(window), size)]
    for place in random.permutation(len(found)):
        yield [int(index) for index in found[place]]
