"""A depthwise-separable network whose channels differ in range by a factor of a thousand.

MobileNets come like that out of training (Nagel et al., *Data-Free Quantization Through Weight
Equalization and Bias Correction*, 2019): before a depthwise convolution nothing ties the scale of
one channel to another's. Here it is made so by factors that cancel, so that the answers in fp32
stay as they were learnt, and one int8 range for all channels of an activation rounds most of them
to nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compress_cases.case import Bar, Case
from compress_cases.fashion import CLASSES, fashion
from compress_cases.teaching import accuracy, export, teach

LEARNT, TAUGHT, SCORED = 20_000, 20_000, 10_000
EPOCHS, BATCH, LEARNING_RATE = 2, 128, 4e-3
STEM = 32
#: Channels and stride of each separable block.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1))
#: Factors are whole powers of two, which floats multiply by without rounding.
LARGEST_POWER = 5


class Separable(nn.Sequential):
    """Filter each channel, then mix them; batch normalisation and ReLU after each."""

    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(ins, ins, 3, stride, 1, groups=ins, bias=False),
            nn.BatchNorm2d(ins),
            nn.ReLU(),
            nn.Conv2d(ins, outs, 1, bias=False),
            nn.BatchNorm2d(outs),
            nn.ReLU(),
        )


def network() -> nn.Sequential:
    """Grey ``[n, 1, 28, 28]`` to logits."""
    layers: list[nn.Module] = [
        nn.Conv2d(1, STEM, 3, 1, 1, bias=False),
        nn.BatchNorm2d(STEM),
        nn.ReLU(),
    ]
    ins = STEM
    for outs, stride in BLOCKS:
        layers += Separable(ins, outs, stride)
        ins = outs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(ins, CLASSES))


def stretch(net: nn.Sequential) -> None:
    """Multiply the channels of each ReLU, and divide what the next layer does with them."""
    random = np.random.default_rng(0)
    weighted = [layer for layer in net if isinstance(layer, nn.Conv2d | nn.Linear)]
    norms = [layer for layer in net if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm, after in zip(norms, weighted[1:], strict=True):
            powers = random.integers(-LARGEST_POWER, LARGEST_POWER + 1, norm.num_features)
            factors = torch.from_numpy(2.0**powers).float()
            norm.weight *= factors
            norm.bias *= factors
            each_alone = isinstance(after, nn.Conv2d) and after.groups > 1
            across = factors.reshape(-1, 1) if each_alone else factors.reshape(1, -1)
            after.weight /= across.reshape(*across.shape, *[1] * (after.weight.ndim - 2))


def prepare(folder: Path) -> Mapping[str, Any]:
    """Teach, stretch, export, and write the images."""
    torch.manual_seed(0)
    images, labels = fashion("train")
    net = network().to(memory_format=torch.channels_last)
    teach(
        net,
        lambda chosen: net(torch.from_numpy(as_input(images[chosen]))),
        labels[:LEARNT],
        epochs=EPOCHS,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
    )
    net = net.eval().to(memory_format=torch.contiguous_format)
    stretch(net)
    export(net, torch.zeros(2, 1, 28, 28), folder / "model.onnx")
    np.savez(folder / "train.npz", x=as_input(images[-TAUGHT:]), labels=labels[-TAUGHT:])
    images, labels = fashion("t10k")
    x = as_input(images[:SCORED])
    np.savez(folder / "data.npz", x=x, labels=labels[:SCORED])
    return {"fp32": accuracy(folder / "model.onnx", x, labels[:SCORED])}


def as_input(images: np.ndarray) -> np.ndarray:
    """Grey ``uint8`` [n, 28, 28] as ``float32`` [n, 1, 28, 28] from -1 to 1."""
    return images[:, None].astype(np.float32) / 127.5 - 1


CASE = Case(
    name="depthwise",
    title="depthwise-separable network, channels of unequal range",
    prepare=prepare,
    sources=("depthwise.py", "fashion.py"),
    bars=(Bar(against="default int8", at_least=0.85),),
)
