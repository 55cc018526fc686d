"""Arithmetic in bf16 or fp16, where the processor has it."""

from dataclasses import replace

from lepton_ai.plan.advising.facts import PRODUCTS, Facts
from lepton_ai.plan.advising.method import GUESSED, Estimate, Method
from lepton_ai.plan.advising.predicting import (
    BF16_GAINS,
    KEPT,
    as_tried,
    failure,
    gain,
    plain_ratio,
    trial_minutes,
    tried,
    where,
    with_fewer_bits,
)
from lepton_ai.plan.recipe import Recipe

#: What the bytes of a product shrink by.
_BYTES = 2.0


class LowerPrecision(Method):
    """By trial, or by the time in products and what the instruction set does for them."""

    name = "lower-precision"
    what = "arithmetic in bf16 or fp16; the file stays as it is"

    def covers(self, recipe: Recipe) -> bool:
        """No compressor, and another precision than fp32."""
        return not (recipe.compressor or recipe.student) and recipe.plan.precision != "fp32"

    def estimate(self, facts: Facts) -> Estimate:
        """What is known of it here."""
        able = [name for name, each in facts.precisions.items() if set(each) - {"fp32"}]
        if not able:
            has = [name for name in facts.isa if name in BF16_GAINS]
            why = f"though the processor has {has[0]}" if has else "nor has the processor bf16"
            return self.refused(f"no engine that was asked computes below fp32 here, {why}")
        failed = failure(facts, self)
        if failed is not None:
            return self.refused(failed)
        products = where(facts, PRODUCTS)
        found = tried(facts, self)
        if found:
            estimate = as_tried(facts, self, found)
            return replace(estimate, bytes_ratio=1.0, reasons=(*estimate.reasons, products))
        gained = with_fewer_bits(facts, PRODUCTS, gain(facts.isa, BF16_GAINS), _BYTES)
        return Estimate(
            method=self.name,
            ratio=plain_ratio(facts, able) * gained,
            minutes=trial_minutes(facts, len(able)),
            chance=KEPT,
            basis=GUESSED,
            reasons=(products, "its error is a hundredth, which few metrics show"),
        )
