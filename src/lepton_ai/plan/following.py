"""A search follows advice: which compressors to try first, by what is known before they are tried.

The search makes no advice of its own. That takes a minute, and the order alone saves less: what is
tried is the same, and only the minutes that run out make a difference. Advice that was asked for
before costs nothing, so where the journal holds it, it is followed; else what the trials so far say
of the engines.
"""

import json
import math
from collections.abc import Mapping, Sequence

from lepton_ai.plan.budget import Budget
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import Trial

#: An engine that is so many times slower than the fastest in fp32 seldom wins in int8.
_MUCH_SLOWER = 2.0


def key_of(budget: Budget) -> str:
    """Under what the journal keeps what advice expects of each compressor."""
    return f"advice:{json.dumps(budget.to_json(), sort_keys=True)}"


def followed(
    recipes: Sequence[Recipe], advice: Mapping[str, float] | None, trials: Sequence[Trial]
) -> list[Recipe]:
    """``recipes`` with what is likely fast first, otherwise in the order that they came in.

    ``advice`` tells for compressors the ratio of time to expect. A compressor's recipes stay
    together, since its graph is made once; within it, engines that were far behind come last.
    """
    order = {name: place for place, name in enumerate(dict.fromkeys(r.compressor for r in recipes))}
    fastest: dict[str, float] = {}
    for trial in trials:
        engine = trial.recipe.engine
        fastest[engine] = min(trial.slowness, fastest.get(engine, math.inf))
    best = min(fastest.values(), default=math.inf)
    expected = advice or {}

    def place(recipe: Recipe) -> tuple[float, int, bool]:
        behind = fastest.get(recipe.engine, best) > _MUCH_SLOWER * best
        name = recipe.compressor
        return expected.get(name or "", 1.0 if expected else 0.0), order[name], behind

    return sorted(recipes, key=place)
