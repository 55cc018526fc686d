"""A module trained on batches, with progress."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from lepton_ai.errors import DataError
from lepton_ai.train.loop import Loop, TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """One step as progress tells it: its number of ``steps``, loss, and samples per second."""

    step: int
    steps: int
    loss: float
    samples_per_second: float


def fit(
    module: torch.nn.Module,
    loss: Callable[[Any], torch.Tensor],
    batches: Iterable[Any],
    *,
    steps: int,
    config: TrainConfig,
    progress: Callable[[TrainStep], None],
) -> float:
    """Train ``module`` in place on ``steps`` batches; the mean loss of the last tenth of them.

    ``loss`` takes a batch and returns the mean loss of its samples; ``len(batch)`` is taken for
    throughput where a batch has a length.

    Raises:
        DataError: there are no batches.
        DivergedError: the loss became NaN or infinite; the message says at which step.
    """
    loop = Loop(module, steps=steps, config=config)
    losses: list[float] = []
    started, seen = time.perf_counter(), 0
    for batch in batches:
        losses.append(loop.advance(partial(loss, batch)))
        seen += len(batch)
        rate = seen / (time.perf_counter() - started)
        progress(TrainStep(step=loop.step, steps=steps, loss=losses[-1], samples_per_second=rate))
    module.eval()
    if not losses:
        raise DataError("there is no batch to train on")
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)
