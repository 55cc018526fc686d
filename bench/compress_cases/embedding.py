"""A table of word vectors with dense layers, the vectors' dimensions heavy-tailed in range.

Tables learnt from clicks and words come like that, since nothing but the next layer sees a
dimension's scale. Here it is made so by factors that cancel, so that the answers in fp32 stay as
they were learnt, and int8 with one range for the table rounds most dimensions to nothing.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compress_cases.case import Bar, Case
from compress_cases.teaching import accuracy, export, teach
from lepton_ai.demo.assets import TWEETS, fetch
from lepton_ai.demo.tweets import LABELS, Tweet, read_tweets

WORDS, LENGTH = 8_000, 32
#: Numbers that stand for no word, and for one that is not in the table.
PADDING, UNKNOWN = 0, 1
WIDTH, WIDER = 128, 512
EPOCHS, BATCH, LEARNING_RATE = 3, 128, 1e-3
SCORED = 12_000
#: The deviation of the natural logarithm of a dimension's factor.
TAIL = 3.0


class Network(nn.Module):
    """Words ``int64`` [n, 32] to the logits of three sentiments: dense layers, then the largest."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, WIDTH)
        self.dense = nn.Sequential(
            nn.Linear(WIDTH, WIDER), nn.ReLU(), nn.Linear(WIDER, WIDER), nn.ReLU()
        )
        self.head = nn.Linear(WIDER, len(LABELS))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.dense(self.table(words)).amax(1))


def stretch(network: Network) -> None:
    """Multiply the table's dimensions, and divide the weights that they meet."""
    logarithms = np.random.default_rng(0).standard_normal(WIDTH) * TAIL
    factors = torch.from_numpy(2.0 ** np.round(logarithms / np.log(2))).float()
    with torch.no_grad():
        network.table.weight *= factors
        network.dense[0].weight /= factors


def prepare(folder: Path) -> Mapping[str, Any]:
    """Teach, stretch, export, and write the tweets as numbers of words."""
    torch.manual_seed(0)
    learn, unseen = read_tweets(fetch(TWEETS))
    table = _table(learn)
    words, labels = _numbers(learn, table)
    network = Network()
    teach(
        network,
        lambda chosen: network(torch.from_numpy(words[chosen])),
        labels,
        epochs=EPOCHS,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
    )
    stretch(network)
    export(network, torch.zeros(2, LENGTH, dtype=torch.int64), folder / "model.onnx")
    x, wanted = _numbers(unseen[:SCORED], table)
    np.savez(folder / "train.npz", x=words, labels=labels)
    np.savez(folder / "data.npz", x=x, labels=wanted)
    return {"fp32": accuracy(folder / "model.onnx", x, wanted)}


def _table(tweets: Sequence[Tweet]) -> dict[str, int]:
    """A number for each of the most frequent words, ties by the alphabet."""
    counts = Counter(word for tweet in tweets for word in _split(tweet.text))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: place for place, word in enumerate(ordered[: WORDS - 2], start=2)}


def _split(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+|[^\sa-z0-9']", text.lower())


def _numbers(tweets: Sequence[Tweet], table: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    words = np.full((len(tweets), LENGTH), PADDING, np.int64)
    for row, tweet in zip(words, tweets, strict=True):
        numbers = [table.get(word, UNKNOWN) for word in _split(tweet.text)][:LENGTH]
        row[: len(numbers)] = numbers
    return words, np.array([LABELS.index(tweet.label) for tweet in tweets], np.int64)


CASE = Case(
    name="embedding",
    title="word vectors with dense layers, heavy-tailed",
    prepare=prepare,
    sources=("embedding.py",),
    bars=(Bar(against="default int8", at_least=0.85),),
)
