"""What every metric answers, and the registry they are found in."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from lepton_ai.errors import DataError
from lepton_ai.model.signature import Array, Arrays
from lepton_ai.registry import Registry

#: Resamples are averaged in pieces of about this many outcomes, so that memory stays flat.
_PIECE = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric's value, and one outcome per sample where the metric has them.

    ``per_sample`` has shape ``[n]`` and its mean is ``value``; with it, two models can be compared
    sample by sample. It is ``None`` for scores that exist only over all samples (macro-F1).
    """

    value: float
    per_sample: Array | None


class Metric(ABC):
    """A named score with a direction."""

    name: str
    larger_is_better: bool = True
    #: Whether the metric compares with labels; if not, it compares with the original's outputs.
    needs_labels: bool = True
    #: The range of a per-sample outcome, where the metric bounds it.
    bounds: tuple[float, float] | None = (0.0, 1.0)

    def content_key(self) -> str:
        """What names this metric in a journal; it changes when the metric's meaning does."""
        return self.name

    def check_labels(self, labels: Array | None) -> None:
        """Raise :class:`DataError` when the labels of *all* samples cannot be scored against."""
        if self.needs_labels and labels is None:
            raise DataError(
                f"metric {self.name} needs labels, and there are none; give labels (an array "
                "called labels in an .npz file, --label COLUMN of a table, one subfolder per "
                "class), or use --metric agreement"
            )

    @abstractmethod
    def check(
        self, labels: Array | None, reference: Arrays, all_labels: Array | None = None
    ) -> None:
        """Raise :class:`DataError` when labels or the original's outputs cannot be scored.

        ``labels`` and ``reference`` are of the same samples; ``all_labels`` are those of every
        sample, so that one that no score could take is found before the last score is taken.
        """

    @abstractmethod
    def score(self, outputs: Arrays, labels: Array | None, reference: Arrays) -> Score:
        """Score ``outputs`` (first axis: samples) against labels or the original's outputs."""

    @abstractmethod
    def describe(self, reference: Arrays, labels: Array | None = None) -> str:
        """What is compared with what for a model with these outputs, in one sentence."""

    def chance(self, labels: Array) -> float | None:
        """The score of one constant answer, where that means something."""
        return None

    def resampled(
        self, outputs: Arrays, labels: Array | None, reference: Arrays, indices: Array
    ) -> Array:
        """The value on each resample of the samples; ``indices`` is ``[B, n]``, the answer ``[B]``.

        Metrics with outcomes per sample are scored once; others once for each resample.
        """
        outcomes = self.score(outputs, labels, reference).per_sample
        if outcomes is not None:
            step = max(1, _PIECE // max(1, indices.shape[1]))
            pieces = range(0, len(indices), step)
            return np.concatenate([outcomes[indices[i : i + step]].mean(axis=1) for i in pieces])
        return np.asarray(
            [
                self.score(
                    {name: array[chosen] for name, array in outputs.items()},
                    None if labels is None else labels[chosen],
                    {name: array[chosen] for name, array in reference.items()},
                ).value
                for chosen in indices
            ]
        )


metrics: Registry[type[Metric]] = Registry("metrics", extra="optimize")
metrics.register("accuracy", "lepton_ai.data.accuracy:Accuracy")
metrics.register("macro-f1", "lepton_ai.data.macro_f1:MacroF1")
metrics.register("agreement", "lepton_ai.data.agreement:Agreement")
