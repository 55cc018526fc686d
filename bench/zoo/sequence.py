"""Series of numbers: recurrent networks and temporal convolutions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from zoo.export import Network


class Recurrent(nn.Module):
    """A recurrent classifier of series."""

    def __init__(self, kind: type[nn.RNNBase], width: int) -> None:
        super().__init__()
        self.recurrent = kind(6, width, num_layers=2, batch_first=True, bidirectional=True)
        self.classes = nn.Linear(2 * width, 7)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(series)
        return self.classes(states.mean(dim=1))


def _recurrent(kind: type[nn.RNNBase], small: bool) -> Network:
    return Network(
        module=Recurrent(kind, 8 if small else 128),
        inputs={"series": torch.randn(1, 20 if small else 100, 6)},
        outputs=("classes",),
        free={"series": {0: "batch"}, "classes": {0: "batch"}},
        torchscript=True,
    )


def lstm(small: bool) -> Network:
    """LSTM (Hochreiter & Schmidhuber, 1997)."""
    return _recurrent(nn.LSTM, small)


def gru(small: bool) -> Network:
    """GRU (Cho et al., 2014)."""
    return _recurrent(nn.GRU, small)


class Temporal(nn.Module):
    """One residual block of causal, dilated convolutions."""

    def __init__(self, taken: int, given: int, dilation: int) -> None:
        super().__init__()
        self.pad = (3 - 1) * dilation
        self.first = nn.Conv1d(taken, given, 3, dilation=dilation)
        self.norm = nn.BatchNorm1d(given)
        self.second = nn.Conv1d(given, given, 3, dilation=dilation)
        self.skip = nn.Conv1d(taken, given, 1) if taken != given else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.first(nn.functional.pad(x, (self.pad, 0)))))
        y = torch.relu(self.second(nn.functional.pad(y, (self.pad, 0))))
        return torch.relu(y + self.skip(x))


class TCN(nn.Module):
    """Temporal convolutional network (Bai et al., 2018)."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(Temporal(width if level else 6, width, 1 << level) for level in range(depth))
        )
        self.classes = nn.Linear(width, 7)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        return self.classes(self.blocks(series.transpose(1, 2))[:, :, -1])


def tcn(small: bool) -> Network:
    """A classifier of sensor series."""
    return Network(
        module=TCN(8 if small else 64, 3 if small else 6),
        inputs={"series": torch.randn(2, 40 if small else 256, 6)},
        outputs=("classes",),
        free={"series": {0: "batch"}},
    )


ARCHITECTURES: dict[str, Callable[[bool], Any]] = {"lstm": lstm, "gru": gru, "tcn": tcn}
