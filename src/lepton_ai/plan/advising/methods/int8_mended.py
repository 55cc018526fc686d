"""Int8 with the nodes that suffer back in floating point."""

import math

from lepton_ai.plan.advising.facts import Facts, Noise
from lepton_ai.plan.advising.method import DERIVED, Estimate, Method
from lepton_ai.plan.advising.methods.int8 import WEIGHT_SHARE, as_it_comes
from lepton_ai.plan.advising.methods.int8_static_ort import Int8StaticOrt
from lepton_ai.plan.advising.predicting import (
    OPEN,
    chance_of,
    smaller_weights,
    trial_minutes,
    tried,
)
from lepton_ai.plan.mixing import decibels, in_words
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import Trial

#: The noise that metrics bear where nothing else is known of it: 20 dB.
_BORNE = 0.01
#: With more than this share of the nodes back, little of int8 is left; a search stops there too.
_MOST_SHARE = 0.5
#: What mending takes: a search for the nodes, and a trial for each count of them.
_TRIALS, _MINUTES_OF_SEARCH = 6, 0.5
_CHANCE, _SMALL_CHANCE = 0.75, 0.3


class Int8Mended(Method):
    """As few nodes in floating point as bring the noise down to what the metric bears.

    Noises of nodes add up as those of independent sources do. How much is borne is taken from the
    harmed trial: what a metric loses grows with the root of the noise's energy.
    """

    name = "int8-mended"
    what = "static int8 with the nodes that suffer in floating point"

    def covers(self, recipe: Recipe) -> bool:
        """Int8 that something was done for, short of teaching it."""
        mended = recipe.compressor is not None and not as_it_comes(recipe)
        return mended and not (recipe.taught or recipe.student)

    def estimate(self, facts: Facts) -> Estimate:
        """What is left of the speed of int8 with those nodes back."""
        harmed = tried(facts, Int8StaticOrt())
        if not harmed:
            return self.refused("static int8 was not tried, so there is nothing to mend")
        fastest = min(harmed, key=lambda trial: trial.slowness)
        if chance_of(fastest, facts) > OPEN:
            return self.refused(f"{fastest.name} needs no mending")
        if fastest.slowness >= 1:
            return self.refused(f"{fastest.name} is not faster, so mending it is of no use")
        if facts.noise is None or not facts.noise.nodes:
            return self.refused("which nodes suffer from int8 is not known")
        borne = _borne(facts.noise, fastest, facts.budget.max_drop)
        kept = _fewest(facts.noise, borne)
        return self._with(facts, facts.noise, fastest, kept, borne)

    def _with(
        self, facts: Facts, noise: Noise, fastest: Trial, kept: int, borne: float
    ) -> Estimate:
        names = {name for name, _ in noise.nodes[:kept]}
        back = _share_of_nodes(facts, names, kept / len(noise.nodes))
        shrunk = smaller_weights(facts, WEIGHT_SHARE)
        few = kept <= _MOST_SHARE * len(noise.nodes)
        return Estimate(
            method=self.name,
            ratio=fastest.slowness + back * max(0.0, 1 - fastest.slowness),
            bytes_ratio=shrunk + (1 - shrunk) * back,
            minutes=_MINUTES_OF_SEARCH + trial_minutes(facts, _TRIALS),
            chance=_CHANCE if few else _SMALL_CHANCE,
            basis=DERIVED,
            reasons=(
                f"{in_words(noise.nodes)}; with {kept} of {len(noise.nodes)} nodes in floating "
                f"point, {back:.0%} of the time, the rest is at {decibels(borne)} by their sum",
                f"{fastest.name} {fastest.why}",
            ),
        )


def _share_of_nodes(facts: Facts, names: set[str], part: float) -> float:
    """The part of the time in the nodes ``names``; where none is known by its name, ``part``."""
    every = {name for piece in facts.pieces for name in piece.nodes}
    if not names & every:
        return part
    return sum(piece.share for piece in facts.pieces if names.intersection(piece.nodes))


def _borne(noise: Noise, harmed: Trial, max_drop: float) -> float:
    """The noise that keeps the budget, by what that of a harmed trial lost."""
    drop = harmed.measurement.drop if harmed.measurement else None
    if drop is None or drop <= 0 or not math.isfinite(noise.whole):
        return _BORNE
    return max(_BORNE / 10, noise.whole * (max_drop / drop) ** 2)


def _fewest(noise: Noise, borne: float) -> int:
    """How many of the noisiest nodes leave no more than ``borne`` with the others."""
    left = sum(each for _, each in noise.nodes)
    if not math.isfinite(left):
        return sum(not math.isfinite(each) for _, each in noise.nodes)
    for kept, (_, each) in enumerate(noise.nodes):
        if left <= borne:
            return max(1, kept)
        left -= each
    return len(noise.nodes)
