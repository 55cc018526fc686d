"""The training loop: forward, loss, backward, step; a schedule, a clip, and a state to go on from.

Plain PyTorch on purpose: one process, one optimiser, no callbacks. The learning rate rises linearly
over the first steps and falls linearly to zero, which a short training needs and forgives most.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lepton_ai.errors import DivergedError

_WARM_UP_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """AdamW with ``learning_rate`` at its highest, and gradients clipped to the norm ``clip``."""

    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0


class Loop:
    """``module`` in training: ``steps`` steps in all, of which :attr:`step` are done.

    Only parameters that require a gradient are trained. The module is in training mode until it is
    put into another.
    """

    def __init__(self, module: torch.nn.Module, *, steps: int, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self._module = module
        self._config = config
        self._steps = steps
        self._trainable = [p for p in module.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._trainable, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._ends_from: tuple[int, float] | None = None
        self.step = 0
        module.train()

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self._steps

    def advance(self, loss: Callable[[], torch.Tensor]) -> float:
        """One step down the gradient of ``loss``, which computes it; the loss before the step.

        Raises:
            DivergedError: the loss is NaN or infinite; nothing was changed.
        """
        value = loss()
        found = float(value.detach())
        if not math.isfinite(found):
            raise DivergedError(
                f"the loss is {found} at step {self.step + 1}; lower the learning rate"
            )
        self._optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        torch.nn.utils.clip_grad_norm_(self._trainable, self._config.clip)
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        self._optimiser.step()
        self.step += 1
        return found

    def _rate(self) -> float:
        """The learning rate of the next step."""
        if self._ends_from is None:
            return self._config.learning_rate * _share(self.step, self._steps)
        begun, rate = self._ends_from
        return rate * max(0.0, (self._steps - self.step) / max(1, self._steps - begun))

    def end_after(self, steps: int) -> None:
        """End the schedule after ``steps`` more, the learning rate falling to zero over them."""
        self._ends_from = self.step, self._rate()
        self._steps = min(self._steps, self.step + steps)

    @property
    def is_ending(self) -> bool:
        """Whether the schedule has been cut short."""
        return self._ends_from is not None

    def save(self, path: Path, beside: Mapping[str, Any] | None = None) -> None:
        """Keep all that is needed to go on, and what is ``beside`` it.

        ``path`` appears whole or not at all.
        """
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        state: dict[str, Any] = {
            "module": self._module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "steps": self._steps,
            "ends_from": self._ends_from,
            "beside": dict(beside or {}),
        }
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> dict[str, Any]:
        """Go on from where :meth:`save` left off; what was kept beside."""
        state = torch.load(path, weights_only=True)
        self._module.load_state_dict(state["module"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self._steps = int(state["step"]), int(state["steps"])
        self._ends_from = state["ends_from"]
        kept: dict[str, Any] = state["beside"]
        return kept


def _share(step: int, steps: int) -> float:
    """The share of the learning rate at ``step``: up over the first tenth, then down to zero."""
    warm_up = max(1, int(steps * _WARM_UP_SHARE))
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.0, (steps - step) / max(1, steps - warm_up))
