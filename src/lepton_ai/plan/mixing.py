"""Int8 that was fast and harmed the model, with the fewest nodes back in floating point.

The nodes that suffer are put back first: one, two, four and so on until the model is unharmed, and
then fewer again, between what harmed last and what mended first.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from lepton_ai.compress.compressor import alternatives_to, storages
from lepton_ai.engines.engine import engines
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import FAILED, Trial

#: A share of the nodes that are quantised; with more of them back, little of int8 is left.
_MOST_SHARE = 0.5
#: How exactly the fewest are looked for, as a share of their number.
_EXACT = 0.15
#: The share of floating point's time that int8 is expected to stay below.
_WORTH_IT = 0.75
#: Nodes that are named where a graph is said to suffer.
_MOST_NAMED = 3

#: What came of a recipe: it answers well, or harms the model, or there is no use going on.
Outcome = Callable[[Recipe], bool | None]


def harmed(trials: Sequence[Trial], best: Trial | None, max_drop: float) -> list[Recipe]:
    """The fastest graph of each compressor, if it lost more than ``max_drop``.

    Those are left out that are slower than ``best``, the fastest in hand that keeps the budget.
    """
    fastest: dict[str, Trial] = {}
    for trial in trials:
        name = trial.recipe.compressor
        if name is None or name in storages.names() or trial.recipe.kept:
            continue
        unharmed = trial.likely_bound is not None and trial.likely_bound <= max_drop
        if trial.verdict == FAILED or unharmed or not _is_faster(trial, best):
            continue
        if name not in fastest or trial.slowness < fastest[name].slowness:
            fastest[name] = trial
    return [trial.recipe for trial in sorted(fastest.values(), key=lambda each: each.slowness)]


def with_other_ranges(recipe: Recipe) -> list[Recipe]:
    """``recipe`` by each compressor that takes its ranges otherwise."""
    return [replace(recipe, compressor=each) for each in alternatives_to(recipe.compressor or "")]


def least_harmed(recipes: Sequence[Recipe], trials: Sequence[Trial]) -> Recipe:
    """Of ``recipes``, the first first, the one whose trial lost least of the metric."""
    lost = {
        trial.recipe: trial.measurement.drop
        for trial in trials
        if trial.measurement is not None and trial.measurement.drop is not None
    }
    return min(recipes, key=lambda recipe: lost.get(recipe, math.inf))


def in_int8(trials: Sequence[Trial]) -> list[Recipe]:
    """The fastest graph in int8 of each engine that tells its times, whether it harmed or not."""
    fastest: dict[str, Trial] = {}
    for trial in sorted(trials, key=lambda each: each.slowness):
        recipe = trial.recipe
        plain = recipe.compressor is None or recipe.compressor in storages.names()
        if plain or recipe.kept or trial.verdict == FAILED or trial.ratio is None:
            continue
        if engines.get(recipe.engine)().tells_times:
            fastest.setdefault(recipe.engine, trial)
    return [trial.recipe for trial in fastest.values()]


def disappoints(recipe: Recipe, trials: Sequence[Trial]) -> bool:
    """Whether ``recipe``, in int8, is hardly faster than floating point in its engine."""
    same = [trial for trial in trials if trial.recipe.engine == recipe.engine]
    mine = min((t.slowness for t in same if t.recipe == recipe), default=math.inf)
    exact = (t.slowness for t in same if t.recipe.compressor is None and not t.recipe.student)
    return mine > _WORTH_IT * min(exact, default=math.inf)


def without_slower(recipe: Recipe, nodes: Sequence[str]) -> list[Recipe]:
    """``recipe`` with ``nodes``, which int8 slows down, kept: all, and the worse half of them."""
    if not nodes or recipe.plan.precision != "fp32":
        return []
    halves = dict.fromkeys((tuple(nodes), tuple(nodes[: (len(nodes) + 1) // 2])))
    return [replace(recipe, kept=kept) for kept in halves]


def mixed(base: Recipe, nodes: Sequence[str], outcome: Outcome) -> Iterator[Recipe]:
    """``base`` with the first of ``nodes`` kept, more and more of them until it is unharmed.

    ``nodes`` come with the one that suffers most first; ``outcome`` tells of each recipe after it
    was tried.
    """
    most = max(1, _MOST_SHARE * len(nodes)) if nodes else 0
    harms, mends = 0, 0
    while count := _next_count(harms, mends, most):
        recipe = replace(base, kept=tuple(nodes[:count]))
        yield recipe
        found = outcome(recipe)
        if found is None:
            return
        if found:
            mends = count
        else:
            harms = count


def _next_count(harms: int, mends: int, most: float) -> int:
    """How many to keep next, where ``harms`` were too few and ``mends`` enough; 0 ends it."""
    if not mends:
        doubled = max(1, 2 * harms)
        return doubled if doubled <= most else 0
    return (harms + mends) // 2 if mends - harms > max(1, _EXACT * mends) else 0


def in_words(noise: Sequence[tuple[str, float]]) -> str:
    """The nodes that int8 disturbs most, with the ratio of signal to noise that each leaves."""
    named = [f"{name!r} ({decibels(each)})" for name, each in noise[:_MOST_NAMED]]
    return f"int8 disturbs {' and '.join(named)} most"


def decibels(noise: float) -> str:
    """A noise, as a share of the signal's energy, as the ratio of signal to noise."""
    if noise <= 0:
        return "no noise"
    return f"{-10 * math.log10(noise):.0f} dB" if math.isfinite(noise) else "not finite"


def _is_faster(trial: Trial, best: Trial | None) -> bool:
    if trial.ratio is None:
        return False
    return best is None or trial.slowness < best.slowness
