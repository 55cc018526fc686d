"""EfficientNet-Lite0 in PyTorch, its weights named as in their package.

Source: Tan & Le, *EfficientNet* (2019), in the variant for edge devices: no squeeze-and-excitation,
ReLU6 for Swish, and a stem and a head of fixed width.
"""

from pathlib import Path

import torch
from torch import nn

#: Repeats, kernel, stride, expansion, channels in and out, of each stage.
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
STEM, HEAD = 32, 1280
DROPOUT = 0.2
_EPS, _MOMENTUM = 1e-3, 0.01


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: an even input halves, the odd pixel at the end."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(ins, outs, kernel, stride, groups=groups, bias=False)
        whole = kernel - stride
        self.same = (whole // 2, whole - whole // 2) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if any(self.same):
            x = nn.functional.pad(x, self.same)
        return super().forward(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPS, momentum=_MOMENTUM)


class Block(nn.Module):
    """Widen, filter each channel, narrow; added to its input where the shapes allow."""

    def __init__(self, kernel: int, stride: int, expansion: int, ins: int, outs: int) -> None:
        super().__init__()
        wide = ins * expansion
        self.widens = expansion > 1
        self.adds = stride == 1 and ins == outs
        if self.widens:
            self._expand_conv, self._bn0 = SameConv(ins, wide, 1), _norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = SameConv(wide, outs, 1), _norm(outs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        held = x
        if self.widens:
            x = nn.functional.relu6(self._bn0(self._expand_conv(x)))
        x = nn.functional.relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        return x + held if self.adds else x


class Lite0(nn.Module):
    """The whole network: RGB ``[n, 3, h, w]``, each side a multiple of 32, to logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, STEM, 3, 2), _norm(STEM)
        blocks = []
        for repeats, kernel, stride, expansion, ins, outs in STAGES:
            blocks.append(Block(kernel, stride, expansion, ins, outs))
            blocks += [Block(kernel, 1, expansion, outs, outs) for _ in range(repeats - 1)]
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(STAGES[-1][-1], HEAD, 1), _norm(HEAD)
        self._dropout = nn.Dropout(DROPOUT)
        self._fc = nn.Linear(HEAD, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = nn.functional.relu6(self._bn1(self._conv_head(x)))
        return self._fc(self._dropout(x.mean((2, 3))))


def pretrained(weights: Path, classes: int) -> Lite0:
    """The network with ImageNet's weights and a new last layer; every other key must match."""
    network = Lite0(classes)
    state = torch.load(weights, map_location="cpu", weights_only=True)
    new = network.state_dict()
    state |= {key: new[key] for key in ("_fc.weight", "_fc.bias")}
    network.load_state_dict(state, strict=True)
    return network
