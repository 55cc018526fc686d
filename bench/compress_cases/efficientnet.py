"""EfficientNet-Lite0 with ImageNet's weights, fine-tuned on Fashion-MNIST in 64×64 RGB."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress_cases.case import Bar, Case
from compress_cases.downloads import EFFICIENTNET, fetch
from compress_cases.fashion import CLASSES, fashion
from compress_cases.lite0 import pretrained
from compress_cases.teaching import accuracy, export, teach

SIDE = 64
#: ImageNet's mean and deviation, as the weights' package has them.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: The network learns from the first of the training images; these, the last, it has never seen.
LEARNT, TAUGHT, SCORED = 16_000, 24_000, 10_000
EPOCHS, BATCH, LEARNING_RATE = 2, 64, 1e-3
WEIGHTS = "efficientnet-lite0-57934424.pth"


def prepare(folder: Path) -> Mapping[str, Any]:
    """Fine-tune, export, and write the images as the network takes them."""
    torch.manual_seed(0)
    images, labels = fashion("train")
    network = pretrained(fetch(EFFICIENTNET) / WEIGHTS, CLASSES)
    network = network.to(memory_format=torch.channels_last)
    random = np.random.default_rng(0)

    def logits(chosen: np.ndarray) -> torch.Tensor:
        x = as_input(images[chosen])
        turned = torch.from_numpy(random.random(len(chosen)) < 0.5)
        x[turned] = x[turned].flip(-1)
        return network(x.contiguous(memory_format=torch.channels_last))

    teach(
        network,
        logits,
        labels[:LEARNT],
        epochs=EPOCHS,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
    )
    network = network.to(memory_format=torch.contiguous_format)
    torch.save(network.state_dict(), folder / "model.pt")
    export(network, torch.zeros(2, 3, SIDE, SIDE), folder / "model.onnx")
    np.savez(folder / "train.npz", x=as_input(images[-TAUGHT:]).numpy(), labels=labels[-TAUGHT:])
    images, labels = fashion("t10k")
    x, labels = as_input(images[:SCORED]).numpy(), labels[:SCORED]
    np.savez(folder / "data.npz", x=x, labels=labels)
    return {"fp32": accuracy(folder / "model.onnx", x, labels)}


def as_input(images: np.ndarray) -> torch.Tensor:
    """Grey ``uint8`` [n, 28, 28] as normalised RGB, ``float32`` [n, 3, 64, 64]."""
    grey = torch.from_numpy(images.astype(np.float32) / 255)[:, None]
    large = torch.nn.functional.interpolate(grey, size=(SIDE, SIDE), mode="bilinear")
    mean, deviation = (torch.tensor(each).reshape(1, 3, 1, 1) for each in (MEAN, DEVIATION))
    return (large.expand(-1, 3, -1, -1) - mean) / deviation


CASE = Case(
    name="efficientnet",
    title="EfficientNet-Lite0 on Fashion-MNIST",
    prepare=prepare,
    sources=("efficientnet.py", "lite0.py", "fashion.py"),
    bars=(
        Bar(against="fastest int8", at_least=2.0),
        Bar(against="fp32 bytes", at_least=12.0),
    ),
)
