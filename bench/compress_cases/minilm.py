"""MiniLM-L6 fine-tuned on tweets with three sentiments, as the demo does it."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress_cases.case import Bar, Case
from lepton_ai.demo.assets import MINILM, TWEETS, fetch
from lepton_ai.demo.sentiment import Schedule, fine_tuned
from lepton_ai.demo.tweets import LABELS, Tweet, read_tweets, write_csv
from lepton_ai.measure.machine import fingerprint
from lepton_ai.train.fit import TrainStep

#: As many unseen tweets as the demo certifies on.
SCORED = 12_000
#: An eighth of what the network takes in fp32, 83.5 MB.
MOST_MB = 10.4
_TOLD_EVERY = 50
_MAX_TOKENS, _SCORED_AT_ONCE = 64, 64


def prepare(folder: Path) -> Mapping[str, Any]:
    """Fine-tune the encoder; write tweets to score by, and those left to teach with."""
    learn, unseen = read_tweets(fetch(TWEETS))
    schedule = Schedule.for_machine(fingerprint().isa)
    made = fine_tuned(fetch(MINILM), learn, schedule, _tell)
    shutil.copytree(made, folder / "model")
    write_csv(learn, folder / "train.csv")
    write_csv(unseen[:SCORED], folder / "data.csv")
    return {"fp32": _accuracy(folder / "model", unseen[:SCORED])}


def _tell(step: TrainStep) -> None:
    if step.step % _TOLD_EVERY == 0 or step.step == step.steps:
        words = f"loss {step.loss:.3f}, {step.samples_per_second:.0f} tweets/s"
        print(f"# {step.step}/{step.steps}: {words}", file=sys.stderr, flush=True)


def _accuracy(model: Path, tweets: list[Tweet]) -> float:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(model).eval()
    ordered = sorted(tweets, key=lambda tweet: len(tweet.text))  # little is padding then
    right = 0
    for start in range(0, len(ordered), _SCORED_AT_ONCE):
        chosen = ordered[start : start + _SCORED_AT_ONCE]
        texts = [tweet.text for tweet in chosen]
        tokens = tokenizer(
            texts, truncation=True, max_length=_MAX_TOKENS, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            answers = network(**tokens).logits.argmax(1).numpy()
        right += int(np.sum(answers == [LABELS.index(tweet.label) for tweet in chosen]))
    return right / len(ordered)


CASE = Case(
    name="minilm",
    title="MiniLM-L6 on tweets",
    prepare=prepare,
    sources=("minilm.py",),
    bars=(
        Bar(against="fastest int8", at_least=2.0),
        Bar(against="fp32 bytes", at_least=8.0),
    ),
    model="model",
    data="data.csv",
    train="train.csv",
    max_transfer_mb=MOST_MB,
    columns={"text": "text", "label": "label"},
)
