"""What the methods that quantise share: by trial, or by the time in products that have int8."""

from dataclasses import replace
from typing import ClassVar

from lepton_ai.compress.compressor import alternatives
from lepton_ai.compress.preparation import preparations
from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import GUESSED, Estimate, Method
from lepton_ai.plan.advising.predicting import (
    INT8_GAINS,
    as_tried,
    failure,
    gain,
    plain_ratio,
    smaller_weights,
    trial_minutes,
    tried,
    where,
    with_fewer_bits,
)
from lepton_ai.plan.recipe import Recipe

#: What a weight shrinks to, and what the bytes that a product moves shrink by.
WEIGHT_SHARE, BYTES = 0.27, 3.0


def as_it_comes(recipe: Recipe) -> bool:
    """Whether nothing was done to mend the int8 of ``recipe``."""
    mended = recipe.kept or recipe.taught or recipe.student
    prepared = any(name in preparations.names() for name in recipe.rewrites)
    return not (mended or prepared or recipe.compressor in alternatives.names())


class Int8(Method):
    """A quantiser as it comes: ``operators`` get int8 kernels, ``gains`` as much as the ISA gives.

    ``chance`` is how often networks bear it, where nothing is known of this one.
    """

    operators: ClassVar[frozenset[str]]
    chance: ClassVar[float]
    #: The share of what the instruction set gives that is left of it.
    yields: ClassVar[float] = 1.0

    def covers(self, recipe: Recipe) -> bool:
        """This compressor, and nothing done to mend its result."""
        return recipe.compressor == self.name and as_it_comes(recipe)

    def estimate(self, facts: Facts) -> Estimate:
        """By trial; else by prediction."""
        failed = failure(facts, self)
        if failed is not None:
            return self.refused(failed)
        found = tried(facts, self)
        if not found:
            return self.predicted(facts)
        estimate = as_tried(facts, self, found)
        return replace(estimate, reasons=(*estimate.reasons, where(facts, self.operators)))

    def predicted(self, facts: Facts) -> Estimate:
        """Amdahl's law over the profile."""
        times = max(1.0, gain(facts.isa, INT8_GAINS) * self.yields)
        has = next((name for name in INT8_GAINS if name in facts.isa), "no int8 products")
        gained = with_fewer_bits(facts, self.operators, times, BYTES)
        return Estimate(
            method=self.name,
            ratio=plain_ratio(facts, facts.precisions) * gained,
            bytes_ratio=smaller_weights(facts, WEIGHT_SHARE),
            minutes=trial_minutes(facts, 2 * max(1, len(facts.precisions))),
            chance=self.chance,
            basis=GUESSED,
            reasons=(where(facts, self.operators), f"the processor has {has}"),
        )
