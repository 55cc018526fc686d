"""One loop over batches: forward, loss, backward, step; a schedule, a clip, and progress.

Plain PyTorch on purpose: one process, one optimiser, no callbacks. The learning rate rises linearly
over the first steps and falls linearly to zero, which a short fine-tuning needs and forgives most.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from lepton_ai.errors import DataError, LeptonError

_WARM_UP_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """AdamW with ``learning_rate`` at its highest, and gradients clipped to the norm ``clip``."""

    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """One step as progress tells it: its number of ``steps``, loss, and samples per second."""

    step: int
    steps: int
    loss: float
    samples_per_second: float


class DivergedError(LeptonError):
    """A loss that is no longer a number."""


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
    torch.manual_seed(config.seed)
    trainable = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        trainable, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share(step, steps))
    module.train()
    losses: list[float] = []
    started, seen = time.perf_counter(), 0
    for step, batch in enumerate(batches, start=1):
        value = loss(batch)
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]):
            raise DivergedError(f"the loss is {losses[-1]} at step {step}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        torch.nn.utils.clip_grad_norm_(trainable, config.clip)
        optimiser.step()
        schedule.step()
        seen += len(batch)
        rate = seen / (time.perf_counter() - started)
        progress(TrainStep(step=step, steps=steps, loss=losses[-1], samples_per_second=rate))
    module.eval()
    if not losses:
        raise DataError("there is no batch to train on")
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail)


def _share(step: int, steps: int) -> float:
    """The share of the learning rate at ``step``: up over the first tenth, then down to zero."""
    warm_up = max(1, int(steps * _WARM_UP_SHARE))
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.0, (steps - step) / max(1, steps - warm_up))
