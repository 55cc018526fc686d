"""A recipe that was tried, and what came of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lepton_ai.measure.measurement import Measurement
from lepton_ai.plan.recipe import Recipe

CANDIDATE = "candidate"
REJECTED = "rejected"
FAILED = "failed"
FRONT = "front"
SHIPPED = "shipped"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One recipe with its measurement and verdict.

    ``ratio`` is its median time over that of the plain fp32 graph, both timed in turns, so that
    trials made minutes apart can be ordered. ``equal`` says that the gate found its answers equal
    to the original's. ``likely_bound`` is what a certificate would say if the tune split's
    outcomes were the certify split's.
    """

    recipe: Recipe
    verdict: str
    why: str
    measurement: Measurement | None = None
    ratio: float | None = None
    equal: bool = False
    likely_bound: float | None = None

    @property
    def name(self) -> str:
        """The recipe in words."""
        return self.recipe.name

    @property
    def slowness(self) -> float:
        """The ratio; infinite where it was not timed."""
        return math.inf if self.ratio is None else self.ratio

    def judged(self, verdict: str, why: str) -> "Trial":
        """This trial with another verdict."""
        return replace(self, verdict=verdict, why=why)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; the inverse of :meth:`from_json`."""
        return {
            "name": self.name,
            "recipe": self.recipe.to_json(),
            "verdict": self.verdict,
            "why": self.why,
            "measurement": self.measurement and self.measurement.to_json(),
            "ratio": self.ratio,
            "equal": self.equal,
            "likely_bound": self.likely_bound,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Trial":
        """The inverse of :meth:`to_json`."""
        measured = record["measurement"]
        return cls(
            recipe=Recipe.from_json(record["recipe"]),
            verdict=record["verdict"],
            why=record["why"],
            measurement=measured and Measurement.from_json(measured),
            ratio=record["ratio"],
            equal=record["equal"],
            likely_bound=record["likely_bound"],
        )
