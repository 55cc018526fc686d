"""Thinner networks, taught by the network that they were."""

from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import DERIVED, Estimate, Method
from lepton_ai.plan.advising.predicting import (
    best_ratio,
    cannot_be_taught,
    teaching_minutes,
    trial_minutes,
)
from lepton_ai.plan.recipe import Recipe

#: The share of the time that a search aims at first, and the least of the time that must be in
#: what can be removed for it to gain something.
_AIM, _LEAST_SHARE = 0.5, 0.1
#: Calls of a training step each to weigh channels, and trials' worth of profiles and races.
_WEIGHING_CALLS, _TRIALS = 128, 12
#: Whether the answers come back is known only after teaching; with few samples seldom.
_CHANCE, _CHANCE_WITH_FEW, _FEW = 0.5, 0.25, 500


class Slim(Method):
    """Half the time of what can be removed, for minutes of teaching; on top of what is fastest."""

    name = "slim"
    what = "channels, heads and blocks taken out, the rest taught by the original"

    def covers(self, recipe: Recipe) -> bool:
        """Whatever is made of a thinned network."""
        return bool(recipe.student)

    def estimate(self, facts: Facts) -> Estimate:
        """By the time in nodes whose channels or blocks can be removed."""
        share = sum(piece.share for piece in facts.pieces if piece.removable)
        if share < _LEAST_SHARE:
            return self.refused(
                f"{share:.0%} of the time is in nodes that channels or blocks can be taken out of"
            )
        why_not = cannot_be_taught(facts)
        if why_not is not None:
            return self.refused(why_not)
        weighing = teaching_minutes(facts, samples=_WEIGHING_CALLS)
        minutes = teaching_minutes(facts) + weighing + trial_minutes(facts, _TRIALS)
        left = 1 - share * (1 - _AIM)
        few = facts.samples.teach < _FEW
        return Estimate(
            method=self.name,
            ratio=best_ratio(facts) * left,
            bytes_ratio=left,
            minutes=minutes,
            chance=_CHANCE_WITH_FEW if few else _CHANCE,
            basis=DERIVED,
            reasons=(
                f"{share:.0%} of the time is in nodes that channels or blocks can be taken out "
                f"of; half of that leaves {left:.2f} of the time, on top of what is fastest",
                f"{minutes:.1f} minutes at the least, by a measured step of teaching, with "
                f"{facts.samples.teach} samples" + (", which is few" if few else ""),
            ),
        )
