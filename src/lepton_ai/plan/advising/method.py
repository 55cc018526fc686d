"""What a method answers when it is asked how well it fits, and the registry they are found in."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.recipe import Recipe
from lepton_ai.registry import Registry

#: How an estimate is known: timed and scored here; computed of what was; by a rule of thumb.
MEASURED, DERIVED, GUESSED = "measured", "derived", "guessed"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How well a method fits.

    ``ratio`` is the median time of a call over the original's, ``bytes_ratio`` the same of bytes on
    disk, ``minutes`` what trying it takes, and ``chance`` how likely it keeps the budget, a rule of
    thumb unless it is measured. ``equal``: it changes no answer, so that nothing has to be shown.
    ``basis`` is one of :data:`MEASURED`, :data:`DERIVED` and :data:`GUESSED`. ``against`` says why
    the method cannot be used at all, where that is so; the numbers then say that nothing changes.
    """

    method: str
    ratio: float = 1.0
    bytes_ratio: float = 1.0
    minutes: float = 0.0
    chance: float = 0.0
    equal: bool = False
    basis: str = MEASURED
    reasons: tuple[str, ...] = ()
    against: str = ""

    @property
    def expected(self) -> float:
        """The ratio to be expected: where it breaks the budget, the original is left."""
        return self.chance * self.ratio + (1 - self.chance)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        return {**asdict(self), "reasons": list(self.reasons), "expected": self.expected}


class Method(ABC):
    """A way to make a network faster or smaller."""

    name: str
    #: What it does, in a clause.
    what: str

    @abstractmethod
    def covers(self, recipe: Recipe) -> bool:
        """Whether a search that tries ``recipe`` tries this method."""

    @abstractmethod
    def estimate(self, facts: Facts) -> Estimate:
        """How well it fits; nothing is measured here."""

    def refused(self, why: str) -> Estimate:
        """The estimate that it cannot be used."""
        return Estimate(method=self.name, against=why)


_HERE = "lepton_ai.plan.advising.methods"
methods: Registry[type[Method]] = Registry("methods", extra="optimize")
methods.register("another-engine", f"{_HERE}.another_engine:AnotherEngine")
methods.register("graph-rewrites", f"{_HERE}.graph_rewrites:GraphRewrites")
methods.register("lower-precision", f"{_HERE}.lower_precision:LowerPrecision")
methods.register("int8-dynamic", f"{_HERE}.int8_dynamic:Int8Dynamic")
methods.register("int8-static-ort", f"{_HERE}.int8_static_ort:Int8StaticOrt")
methods.register("int8-static-nncf", f"{_HERE}.int8_static_nncf:Int8StaticNncf")
methods.register("int8-mended", f"{_HERE}.int8_mended:Int8Mended")
methods.register("int8-taught", f"{_HERE}.int8_taught:Int8Taught")
methods.register("slim", f"{_HERE}.slim:Slim")
methods.register("fp16-weights", f"{_HERE}.stored_weights:Fp16Weights")
methods.register("int8-weights", f"{_HERE}.stored_weights:Int8Weights")
methods.register("int4-weights", f"{_HERE}.stored_weights:Int4Weights")
