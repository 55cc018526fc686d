"""Recommendation from categories and numbers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from zoo.export import Network

CATEGORIES = 26
NUMBERS = 13


class DLRM(nn.Module):
    """Deep learning recommendation model (Naumov et al., 2019): embeddings and their products."""

    def __init__(self, rows: int, width: int, hidden: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows, width) for _ in range(CATEGORIES))
        self.bottom = nn.Sequential(
            nn.Linear(NUMBERS, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.ReLU()
        )
        pairs = (CATEGORIES + 1) * CATEGORIES // 2
        self.top = nn.Sequential(
            nn.Linear(width + pairs, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid()
        )

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        dense = self.bottom(numbers)
        vectors = torch.stack(
            [dense, *(table(categories[:, i]) for i, table in enumerate(self.tables))], dim=1
        )
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        rows, columns = torch.tril_indices(CATEGORIES + 1, CATEGORIES + 1, offset=-1)
        return self.top(torch.cat([dense, products[:, rows, columns]], dim=1))


def dlrm(small: bool) -> Network:
    """A click predictor."""
    rows = 20 if small else 5000
    return Network(
        module=DLRM(rows, 8 if small else 64, 16 if small else 512),
        inputs={
            "numbers": torch.rand(3, NUMBERS),
            "categories": torch.randint(0, rows, (3, CATEGORIES)),
        },
        outputs=("click",),
        free={"numbers": {0: "batch"}, "categories": {0: "batch"}},
    )


ARCHITECTURES: dict[str, Callable[[bool], Any]] = {"dlrm": dlrm}
