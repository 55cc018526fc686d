"""Images out of noise."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from zoo.export import Network


def dcgan(small: bool) -> Network:
    """The generator of DCGAN (Radford et al., 2015)."""
    width, noise = (4, 16) if small else (64, 100)
    widths = [width * 8, width * 4, width * 2, width]
    parts: list[nn.Module] = [
        nn.ConvTranspose2d(noise, widths[0], 4, 1, 0, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    for taken, given in itertools.pairwise(widths):
        parts += [
            nn.ConvTranspose2d(taken, given, 4, 2, 1, bias=False),
            nn.BatchNorm2d(given),
            nn.ReLU(),
        ]
    parts += [nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh()]
    return Network(
        module=nn.Sequential(*parts),
        inputs={"noise": torch.randn(2, noise, 1, 1)},
        outputs=("image",),
        free={"noise": {0: "batch"}},
    )


ARCHITECTURES: dict[str, Callable[[bool], Any]] = {"dcgan": dcgan}
