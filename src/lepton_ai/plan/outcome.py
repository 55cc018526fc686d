"""What a search ends with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_ai.measure.measurement import Latency, Measurement
from lepton_ai.model.signature import Arrays
from lepton_ai.plan.certify import Certificate
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import Trial

MET = "MET"
MISSED = "MISSED"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A runner of the last race: its name, its recipe if it has one, and its time."""

    name: str
    recipe: Recipe | None
    latency: Latency


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a search: what ships, why, and everything that was tried.

    ``baseline`` is the model as its owner runs it; ``plain`` is the untouched graph, fp32, in
    each engine. ``baseline_measurement`` and the measurement of ``best`` were taken in the same
    race, and scored on the same samples. ``golden`` are calls with the answers of ``best``.
    """

    status: str
    why: str
    baseline: Standing
    baseline_measurement: Measurement
    plain: tuple[Standing, ...]
    best: Trial
    certificate: Certificate
    trials: tuple[Trial, ...]
    artifact: Path
    golden: Sequence[tuple[Arrays, Arrays]]
    certified_on: int
    rewritten: Mapping[tuple[str, ...], Mapping[str, Any]]
