"""Int8 that was harmed, taught by the original with its rounding in place."""

from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import DERIVED, Estimate, Method
from lepton_ai.plan.advising.methods.int8 import WEIGHT_SHARE
from lepton_ai.plan.advising.methods.int8_static_ort import Int8StaticOrt
from lepton_ai.plan.advising.predicting import (
    FEWEST,
    OPEN,
    cannot_be_taught,
    chance_of,
    smaller_weights,
    teaching_minutes,
    trial_minutes,
    tried,
)
from lepton_ai.plan.classroom import LEAST_TRIED
from lepton_ai.plan.graphs import LEAST_ROUNDED_STEPS, ROUNDED_RATES
from lepton_ai.plan.recipe import Recipe

#: What was rounded has not far to go; the fewest steps, and the minutes a search gives at least.
_STEPS = LEAST_ROUNDED_STEPS + len(ROUNDED_RATES) * LEAST_TRIED
_LEAST_MINUTES = 0.5
_CHANCE = 0.5


class Int8Taught(Method):
    """As fast as the int8 that is taught, where the network can be trained."""

    name = "int8-taught"
    what = "static int8, taught by the original with its rounding in place"

    def covers(self, recipe: Recipe) -> bool:
        """Int8 that was taught, of the original."""
        return recipe.taught and not recipe.student

    def estimate(self, facts: Facts) -> Estimate:
        """What the harmed trial takes, for minutes of teaching."""
        harmed = tried(facts, Int8StaticOrt())
        if not harmed:
            return self.refused("static int8 was not tried, so there is nothing to teach")
        fastest = min(harmed, key=lambda trial: trial.slowness)
        if chance_of(fastest, facts) > OPEN:
            return self.refused(f"{fastest.name} keeps the budget untaught")
        if fastest.slowness >= 1:
            return self.refused(f"{fastest.name} is not faster, so teaching it is of no use")
        why_not = cannot_be_taught(facts)
        if why_not is not None:
            return self.refused(why_not)
        minutes = max(_LEAST_MINUTES, teaching_minutes(facts, samples=_STEPS * FEWEST))
        return Estimate(
            method=self.name,
            ratio=fastest.slowness,
            bytes_ratio=smaller_weights(facts, WEIGHT_SHARE),
            minutes=minutes + trial_minutes(facts, 1),
            chance=_CHANCE,
            basis=DERIVED,
            reasons=(
                f"{fastest.name} {fastest.why}",
                f"teaching takes {minutes:.1f} minutes by a measured step, with "
                f"{facts.samples.teach} samples",
            ),
        )
