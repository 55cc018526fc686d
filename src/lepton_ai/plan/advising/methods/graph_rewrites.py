"""The same answers from fewer nodes."""

from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import GUESSED, Estimate, Method
from lepton_ai.plan.advising.predicting import as_tried, trial_minutes, tried
from lepton_ai.plan.recipe import Recipe

#: Engines rewrite graphs themselves; of what an inspection finds they leave about so much.
_LEFT_TO_GAIN = 0.3


class GraphRewrites(Method):
    """What the rewritten graph was seen to take; else by the time in what an inspection found."""

    name = "graph-rewrites"
    what = "the same answers from fewer nodes, proven"

    def covers(self, recipe: Recipe) -> bool:
        """A rewritten graph in fp32."""
        only = not (recipe.compressor or recipe.student) and recipe.plan.precision == "fp32"
        return bool(recipe.rewrites) and only

    def estimate(self, facts: Facts) -> Estimate:
        """By trial, or by the share of the time in nodes that are of no use."""
        found = tried(facts, self)
        if found:
            return as_tried(facts, self, found)
        idle = [t for t in facts.trials if self.covers(t.recipe)]
        if idle:
            return self.refused(idle[0].why)
        share = sum(piece.share for piece in facts.pieces if piece.redundant)
        count = facts.graph.findings if facts.graph else 0
        if not count:
            return self.refused("nothing redundant was found in the graph")
        return Estimate(
            method=self.name,
            ratio=1 - share * _LEFT_TO_GAIN,  # in the original's engine: a guess leads no ranking
            minutes=trial_minutes(facts, 2),
            chance=1.0,
            equal=True,
            basis=GUESSED,
            reasons=(
                f"{count} findings of what is redundant, in nodes that take {share:.0%} of the "
                "time; engines remove most of it themselves",
            ),
        )
