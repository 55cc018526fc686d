"""Weights stored in fewer bytes, arithmetic as before."""

from typing import ClassVar

from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import DERIVED, Estimate, Method
from lepton_ai.plan.advising.predicting import KEPT, smaller_weights, trial_minutes
from lepton_ai.plan.recipe import Recipe


class StoredWeights(Method):
    """A storage: ``share`` is what a weight shrinks to, ``chance`` how often networks bear it."""

    share: ClassVar[float]
    chance: ClassVar[float]

    def covers(self, recipe: Recipe) -> bool:
        """This storage."""
        return recipe.compressor == self.name and not recipe.student

    def estimate(self, facts: Facts) -> Estimate:
        """By the share of weights in the bytes; a call takes what it took."""
        graph = facts.graph
        if graph is None or not graph.float_bytes:
            return self.refused("no weights in floating point were found")
        bounded = facts.budget.bounds_bytes
        tables = graph.table_bytes / graph.float_bytes
        return Estimate(
            method=self.name,
            bytes_ratio=smaller_weights(facts, self.share),
            minutes=trial_minutes(facts, max(1, len(facts.precisions))),
            chance=self.chance,
            basis=DERIVED,
            reasons=(
                f"{graph.float_bytes / graph.bytes:.0%} of the {graph.bytes / 1e6:.1f} MB are "
                f"weights, {tables:.0%} of these in tables",
                "a call takes what it took"
                + ("" if bounded else ", so a search asks it with a bound on the bytes alone"),
            ),
        )


class Fp16Weights(StoredWeights):
    """Half the bytes."""

    name = "fp16-weights"
    what = "weights stored in half precision; bytes alone"
    share = 0.5
    chance = KEPT


class Int8Weights(StoredWeights):
    """A quarter of the bytes."""

    name = "int8-weights"
    what = "weights stored in int8; bytes alone"
    share = 0.26
    chance = 0.9


class Int4Weights(StoredWeights):
    """A seventh of the bytes."""

    name = "int4-weights"
    what = "weights stored in 4 bits; bytes alone"
    share = 0.145
    chance = 0.5
