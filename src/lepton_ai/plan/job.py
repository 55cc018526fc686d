"""What a search is about, and how it tells what it is doing."""

from collections.abc import Callable
from dataclasses import dataclass

from lepton_ai.data.metric import Metric
from lepton_ai.data.samples import Samples
from lepton_ai.data.split import Split
from lepton_ai.measure.machine import Machine
from lepton_ai.model.model import Model
from lepton_ai.model.signature import Array
from lepton_ai.plan.budget import Budget
from lepton_ai.plan.journal import Journal


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of progress: what is being done, how far along, and the best so far in words."""

    stage: str
    text: str
    done: int = 0
    total: int = 0
    best: str = ""


Progress = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """The samples that a thinned network is taught with: ``indices`` into ``samples``."""

    samples: Samples
    indices: Array

    def classes(self) -> list[int] | None:
        """The class of each sample, where it is known and each has a call of its own."""
        labels = self.samples.labels
        if labels is None or self.samples.per_call != 1:
            return None
        labels = labels[self.indices]
        flat = labels.ndim == 1 or labels.shape[1:] == (1,)
        return labels.reshape(-1).tolist() if flat and labels.dtype.kind in "iu" else None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A model bound to its samples, with the metric, the budget, and where to keep things.

    ``threads`` is the most that an engine may use; ``engines`` are those to try, by name;
    ``started`` is the monotonic second at which the search began, from which the minutes of the
    budget run.
    """

    model: Model
    samples: Samples
    split: Split
    teaching: Teaching
    metric: Metric
    budget: Budget
    machine: Machine
    journal: Journal
    threads: int
    engines: tuple[str, ...]
    started: float
    progress: Progress
