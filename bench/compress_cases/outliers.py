"""An MLP-Mixer on motion sensors, a few of whose features are far larger than the others.

Transformers grow such features in training (Dettmers et al., *LLM.int8()*, 2022; Xiao et al.,
*SmoothQuant*, 2023): a normalisation's gain and the weights that follow it undo each other. Here it
is done by factors that cancel, so that the answers in fp32 stay as they were learnt, and the int8
range that the few need leaves the many a step or two.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compress_cases.case import Bar, Case
from compress_cases.downloads import WATCH, fetch
from compress_cases.teaching import accuracy, export, teach

#: Of the ten people whose arms were recorded, these are scored by; the others are learnt from.
SCORED_SUBJECTS = 3
STEPS, CHANNELS, PATCH = 128, 6, 8
LEARNT_EVERY, SCORED_EVERY = 24, 12
WIDTH, WIDER, DEPTH, CLASSES = 256, 1024, 4, 7
EPOCHS, BATCH, LEARNING_RATE = 4, 64, 1e-3
#: Of each normalisation's features, how many are made larger, and by how much.
OUTLIERS, FACTOR = 8, 256.0


class Mixer(nn.Module):
    """One layer: mix along time, then along features, each added to its input."""

    def __init__(self) -> None:
        super().__init__()
        patches = STEPS // PATCH
        self.before_time, self.before_features = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.time = nn.Sequential(
            nn.Linear(patches, 4 * patches), nn.GELU(), nn.Linear(4 * patches, patches)
        )
        self.features = nn.Sequential(nn.Linear(WIDTH, WIDER), nn.GELU(), nn.Linear(WIDER, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.time(self.before_time(x).transpose(1, 2)).transpose(1, 2)
        return x + self.features(self.before_features(x))


class Network(nn.Module):
    """A window ``[n, 128, 6]`` to the logits of seven exercises."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH * CHANNELS, WIDTH)
        self.layers = nn.Sequential(*(Mixer() for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = x.reshape(-1, STEPS // PATCH, PATCH * CHANNELS)
        return self.head(self.norm(self.layers(self.embed(patches)).mean(1)))


def stretch(network: Network) -> None:
    """Multiply a few features after a normalisation, and divide the weights that they meet."""
    random = np.random.default_rng(0)
    pairs = [(layer.before_features, layer.features[0]) for layer in network.layers]
    with torch.no_grad():
        for norm, after in [*pairs, (network.norm, network.head)]:
            chosen = random.choice(WIDTH, OUTLIERS, replace=False)
            norm.weight[chosen] *= FACTOR
            norm.bias[chosen] *= FACTOR
            after.weight[:, chosen] /= FACTOR


def windows() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Windows ``float32`` [n, 128, 6] with labels: to learn from, and of other people to score."""
    # Pickled, and pinned by its content: read here alone.
    held = np.load(fetch(WATCH) / "watch_dataset.npy", allow_pickle=True).item()
    subjects = np.asarray(held["subject"]).astype(int)
    scored = np.isin(subjects, np.unique(subjects)[-SCORED_SUBJECTS:])
    learnt = _cut(held, ~scored, LEARNT_EVERY)
    mean, deviation = learnt[0].mean((0, 1)), learnt[0].std((0, 1))
    parts = (learnt, _cut(held, scored, SCORED_EVERY))
    learn, score = (((x - mean) / deviation, labels) for x, labels in parts)
    return learn, score


def _cut(held: Mapping[str, Any], chosen: np.ndarray, every: int) -> tuple[np.ndarray, np.ndarray]:
    cut, labels = [], []
    for place in np.flatnonzero(chosen):
        series = np.asarray(held["X"][place], np.float32)
        starts = range(0, len(series) - STEPS + 1, every)
        cut += [series[start : start + STEPS] for start in starts]
        labels += [int(held["y"][place])] * len(starts)
    return np.stack(cut), np.array(labels, np.int64)


def prepare(folder: Path) -> Mapping[str, Any]:
    """Teach, stretch, export, and write the windows."""
    torch.manual_seed(0)
    (learn, labels), (x, wanted) = windows()
    network = Network()
    teach(
        network,
        lambda chosen: network(torch.from_numpy(learn[chosen])),
        labels,
        epochs=EPOCHS,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
    )
    stretch(network)
    export(network, torch.zeros(2, STEPS, CHANNELS), folder / "model.onnx")
    np.savez(folder / "train.npz", x=learn, labels=labels)
    np.savez(folder / "data.npz", x=x, labels=wanted)
    return {"fp32": accuracy(folder / "model.onnx", x, wanted)}


CASE = Case(
    name="outliers",
    title="MLP-Mixer on motion sensors, outlying features",
    prepare=prepare,
    sources=("outliers.py",),
    bars=(Bar(against="default int8", at_least=0.85),),
)
