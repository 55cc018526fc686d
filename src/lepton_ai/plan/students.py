"""Which students to make: thinner networks, taught by the network that they were.

A student is named by the shares of the time that were aimed at, in percent, one after the other:
``(50,)`` is the original at half its time, ``(50, 65)`` is that one thinned once more. One that
was taught once more has a word for it, ``(50, "longer")``; one with zeros in its weights ends with
their pattern, ``(50, "2:4")``.
"""

from collections.abc import Sequence
from dataclasses import replace

from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import Trial

#: Shares of the time, in percent: the first to aim at, that after one which kept the budget, and
#: those that are tried where these were too little.
_FIRST, _FURTHER = 50, 65
_MILDER = {_FIRST: 75, _FURTHER: 85}
#: The shares of the time left for teaching that the first student gets, and that each of those made
#: of it gets, which have more to learn; the fewest seconds.
_FIRST_SHARE, _NEXT_SHARE, LEAST_SECONDS = 0.3, 0.5, 45.0

#: A student that is taught once more, as it is.
LONGER = "longer"
#: Zeros in the smaller half of each weight, and in the smaller two of each four.
PATTERNS = ("half", "2:4")

Student = tuple[int | str, ...]


def following(tried: Sequence[tuple[Student, bool]]) -> Student | None:
    """The student to make after those ``tried``, which answered well or did not."""
    if not tried:
        return (_FIRST,)
    last, kept = tried[-1]
    if kept:
        return (*last, _FURTHER)
    if last[-1] != LONGER:
        return (*last, LONGER)
    *before, share, _ = last
    milder = _MILDER.get(int(share))
    return None if milder is None else (*before, milder)


def sparser(too_large: Sequence[Trial], megabytes: float) -> list[Student]:
    """Students with zeros of each pattern, of what takes least of what is too much to transfer."""
    found = [
        (trial.measurement.bytes_to_transfer, trial.recipe.student)
        for trial in too_large
        if trial.measurement is not None and not _is_sparse(trial)
    ]
    over = [(size, student) for size, student in found if size > megabytes * 1e6]
    if not over:
        return []
    _, least = min(over, key=lambda pair: pair[0])
    return [(*least, pattern) for pattern in PATTERNS]


def _is_sparse(trial: Trial) -> bool:
    return any(each in PATTERNS for each in trial.recipe.student)


def seconds_for(student: Student, left: float) -> float | None:
    """How much of the seconds that are left for teaching ``student`` gets, if it is enough."""
    if left < LEAST_SECONDS:
        return None
    return max(LEAST_SECONDS, left * (_FIRST_SHARE if student == (_FIRST,) else _NEXT_SHARE))


def plain(student: Student, like: Recipe) -> Recipe:
    """A student in floating point, in the engine that it was made for: what it has learnt."""
    return Recipe(engine=like.engine, plan=EnginePlan(threads=like.plan.threads), student=student)


def like(best: Sequence[Trial], trials: Sequence[Trial]) -> Recipe | None:
    """How what is to be fast is made: as the fastest in hand, in an engine that tells its times.

    ``best`` keep the budget, fastest first; ``trials`` are all that there are.
    """
    for trial in (*best, *sorted(trials, key=lambda each: each.slowness)):
        recipe = trial.recipe
        tells = engines.get(recipe.engine)().tells_times
        if tells and not recipe.student and trial.ratio is not None:
            return replace(recipe, plan=EnginePlan(threads=recipe.plan.threads), kept=())
    return None
