"""The graph as it is in another engine, in fp32."""

from dataclasses import replace

from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import Estimate, Method
from lepton_ai.plan.advising.predicting import as_tried, failure, tried
from lepton_ai.plan.recipe import Recipe


class AnotherEngine(Method):
    """What a short race of the engines says; it changes no answer, so nothing has to be shown."""

    name = "another-engine"
    what = "the graph as it is, in fp32, in another engine"

    def covers(self, recipe: Recipe) -> bool:
        """The plain graph in fp32, in whichever engine."""
        plain = not (recipe.rewrites or recipe.compressor or recipe.student)
        return plain and recipe.plan.precision == "fp32"

    def estimate(self, facts: Facts) -> Estimate:
        """The fastest engine that answers as the original does."""
        found = [t for t in tried(facts, self) if t.equal]
        others = [trial for trial in found if trial.recipe.engine != facts.engine]
        if not others:
            why = failure(facts, self) or "no other engine that was asked runs it here"
            return self.refused(why)
        fastest = min(others, key=lambda trial: trial.slowness)
        return replace(as_tried(facts, self, [fastest]), bytes_ratio=1.0)
