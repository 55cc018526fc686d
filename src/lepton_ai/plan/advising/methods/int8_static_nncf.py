"""Weights and activations in int8, by NNCF."""

from dataclasses import replace

from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import DERIVED, Estimate
from lepton_ai.plan.advising.methods.int8 import Int8
from lepton_ai.plan.advising.methods.int8_static_ort import Int8StaticOrt
from lepton_ai.plan.advising.predicting import KEPT, LOST, chance_of, trial_minutes, tried

#: NNCF takes several times as long as ONNX Runtime's quantiser, and at least as many seconds.
_TIMES_AS_LONG, _LEAST_MINUTES = 3.0, 0.25
#: It corrects biases and knows transformers: how often it keeps what the other loses.
_KEEPS_WHAT_IS_LOST = 0.4


class Int8StaticNncf(Int8):
    """Derived of the other static quantiser, whose kernels it uses; too slow to be tried here."""

    name = "int8-static-nncf"
    what = "weights and activations in int8, biases corrected"
    operators = Int8StaticOrt.operators
    chance = 0.75

    def predicted(self, facts: Facts) -> Estimate:
        """As fast as the other, and as harmful at the most."""
        estimate = super().predicted(facts)
        twins = tried(facts, Int8StaticOrt())
        making = facts.seconds.get("making int8-static-ort", 0.0) / 60 * _TIMES_AS_LONG
        trials = trial_minutes(facts, 2 * max(1, len(facts.precisions)))
        minutes = max(_LEAST_MINUTES, making) + trials
        if not twins:
            return replace(estimate, minutes=minutes)
        twin = min(twins, key=lambda trial: trial.slowness)
        chance = chance_of(twin, facts)
        return replace(
            estimate,
            ratio=twin.slowness,
            minutes=minutes,
            chance=max(chance, _KEEPS_WHAT_IS_LOST) if chance <= LOST else min(KEPT, chance),
            basis=DERIVED,
            reasons=(
                f"it has the kernels of {twin.recipe.compressor}, which took {twin.slowness:.2f} "
                f"of the time in {twin.recipe.engine}",
                "it corrects biases, and knows transformers",
            ),
        )
