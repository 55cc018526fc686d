"""Which recipes are worth trying, cheap before dear."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lepton_ai.compress.compressor import compressors, storages
from lepton_ai.engines.engine import Engine, EnginePlan, default_engines, engines
from lepton_ai.errors import UnknownNameError
from lepton_ai.graph.rewrite import STANDARD
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, FAILED, Trial

#: What two trials of the same thing may differ by: 5 % was seen between quiet minutes.
_NOISE = 1.05
_PLANNED_ANEW = 3
#: How many forms of a student are tried, and how much slower than the fastest they may be.
_OF_A_STUDENT, _MUCH_SLOWER = 6, 2.0
#: How many recipes are made smaller.
_SMALLER = 6
#: Rewrites that a student was made from.
_MADE_ALREADY = frozenset({STANDARD})


def shipping_engines() -> list[Engine]:
    """The engines that run here, may go into a bundle and are asked without being named."""
    return [engine for engine in default_engines() if engine.ships and engine.available().ok]


def asked_engines(names: Sequence[str] | None) -> tuple[str, ...]:
    """The engines that a search tries: those ``names``, or all that are asked unnamed.

    Raises:
        UnknownNameError: none is called so, it takes no graphs, cannot run here, or may not go into
            a bundle.
    """
    if names is None:
        return tuple(engine.name for engine in shipping_engines())
    if isinstance(names, str) or not names:
        raise UnknownNameError(f"engines wants a list of names, and {names!r} came")
    found = [named_engine(name) for name in names]
    for engine in found:
        if not engine.ships:
            raise UnknownNameError(f"{engine.name} is for checking, and goes into no bundle")
    return tuple(dict.fromkeys(engine.name for engine in found))


def named_engine(name: str) -> Engine:
    """The engine ``name``, which need not be one of those that are asked unnamed.

    Raises:
        UnknownNameError: none is called so, it does not take graphs, or it cannot run here.
    """
    engine = engines.get(name)()
    if engine.form != "graph":
        raise UnknownNameError(f"{name} takes no graph but a {engine.form} folder")
    found = engine.available()
    if not found.ok:
        raise UnknownNameError(f"{name} cannot run here: {found.reason}; {found.remedy}")
    return engine


def plain(names: Sequence[str], threads: int) -> list[Recipe]:
    """The untouched graph in each of these engines, fp32."""
    plan = EnginePlan(threads=threads)
    return [Recipe(engine=name, plan=plan) for name in names]


def standard(names: Sequence[str], threads: int) -> list[Recipe]:
    """The rewritten graph in each of these engines, fp32."""
    plan = EnginePlan(threads=threads)
    return [Recipe(rewrites=(STANDARD,), engine=name, plan=plan) for name in names]


def for_one_engine(
    best: Sequence[Trial], wanted: Callable[[Recipe], Sequence[str]]
) -> list[Recipe]:
    """The rewrites that only an engine or two want, one at a time, on top of what is fastest there.

    On top of the fastest of ``best``, which is in order, and of the fastest equal one. ``wanted``
    tells which rewrites a recipe's engine wants, and which of them would fire on its graph. Nodes
    that are kept in floating point, and what was taught, are of one graph, and would be others in
    the next.
    """
    recipes = []
    for trial in _leaders([each for each in best if not (each.recipe.kept or each.recipe.taught)]):
        recipe = trial.recipe
        found = wanted(recipe.uncompressed)
        recipes += [replace(recipe, rewrites=(*recipe.rewrites, name)) for name in found]
    return recipes


def combined(trials: Sequence[Trial]) -> list[Recipe]:
    """What :func:`for_one_engine` proposed and was faster one at a time, all together."""
    held = {trial.recipe: trial for trial in trials if trial.verdict == CANDIDATE}
    faster: dict[Recipe, list[str]] = {}
    for recipe, trial in held.items():
        without = replace(recipe, rewrites=recipe.rewrites[:-1])
        if recipe.rewrites in ((), (STANDARD,)) or without not in held:
            continue
        if trial.slowness < held[without].slowness:
            faster.setdefault(without, []).append(recipe.rewrites[-1])
    return [
        replace(recipe, rewrites=(*recipe.rewrites, *names))
        for recipe, names in faster.items()
        if len(names) > 1
    ]


def _leaders(best: Sequence[Trial]) -> list[Trial]:
    """The fastest, and the fastest equal one where that is another."""
    equal = [trial for trial in best if trial.equal][:1]
    return [*best[:1], *(trial for trial in equal if trial not in best[:1])]


def lower_precision(names: Sequence[str], threads: int, trials: Sequence[Trial]) -> list[Recipe]:
    """Arithmetic below fp32, where an engine computes it on this machine."""
    return [
        Recipe(
            rewrites=base_of(trials, name),
            engine=name,
            plan=EnginePlan(threads=threads, precision=precision),
        )
        for name in names
        for precision in engines.get(name)().precisions()
        if precision != "fp32"
    ]


def compressed(
    names: Sequence[str], threads: int, trials: Sequence[Trial], *, for_size: bool = False
) -> list[Recipe]:
    """Every compressor in every engine and precision, on the rewritten graph.

    With those that save bytes alone, where the size counts, ``for_size``.
    """
    return [
        Recipe(
            rewrites=base_of(trials, name),
            compressor=compressor,
            engine=name,
            plan=EnginePlan(threads=threads, precision=precision),
        )
        for compressor in (*(storages.names() if for_size else ()), *compressors.names())
        for name in names
        for precision in engines.get(name)().precisions()
    ]


def with_small_tables(too_large: Sequence[Trial]) -> list[Recipe]:
    """The first of what is too large, with its tables stored smaller."""
    recipes = [trial.recipe for trial in too_large]
    larger = [each for each in recipes if each.compressor not in storages.names()]
    return [replace(recipe, small_tables=True) for recipe in larger[:_SMALLER]]


def of_student(student: tuple[int | str, ...], trials: Sequence[Trial]) -> list[Recipe]:
    """What was fastest with the original, each form in each engine once, made of a student.

    Whether it harmed the original does not count: the student may bear it, or be mended.
    """
    fastest: dict[tuple[str, str | None, str], Trial] = {}
    for trial in sorted(trials, key=lambda each: each.slowness):
        recipe = trial.recipe
        altered = recipe.student or recipe.kept or recipe.taught
        if trial.verdict == FAILED or trial.ratio is None or altered:
            continue
        if recipe.compressor not in storages.names():
            key = (recipe.engine, recipe.compressor, recipe.plan.precision)
            fastest.setdefault(key, trial)
    chosen = [
        trial
        for trial in fastest.values()
        if trial.slowness < _MUCH_SLOWER * next(iter(fastest.values())).slowness
    ][:_OF_A_STUDENT]
    return [
        Recipe(
            student=student,
            rewrites=tuple(name for name in trial.recipe.rewrites if name not in _MADE_ALREADY),
            compressor=trial.recipe.compressor,
            engine=trial.recipe.engine,
            plan=EnginePlan(
                threads=trial.recipe.plan.threads, precision=trial.recipe.plan.precision
            ),
        )
        for trial in chosen
    ]


def base_of(trials: Sequence[Trial], engine: str) -> tuple[str, ...]:
    """The rewrites to build on in ``engine``: the standard ones, unless they harm or slow it."""
    equal = any(trial.equal and trial.recipe.rewrites == (STANDARD,) for trial in trials)
    plain, rewritten = (_trial_of(trials, engine, names) for names in ((), (STANDARD,)))
    if not equal or rewritten is None:
        return ()
    if plain is not None and plain.slowness < math.inf:
        slower = rewritten.slowness > plain.slowness * _NOISE
        return () if slower else (STANDARD,)
    return (STANDARD,)


def _trial_of(trials: Iterable[Trial], engine: str, names: tuple[str, ...]) -> Trial | None:
    """The fp32 trial of some rewrites in ``engine``, as planned first."""
    return next(
        (
            trial
            for trial in trials
            if trial.recipe.engine == engine
            and trial.recipe.rewrites == names
            and not trial.recipe.student
            and trial.recipe.compressor is None
            and trial.recipe.plan.precision == "fp32"
        ),
        None,
    )


def planned_anew(best: Sequence[Trial], path: Callable[[Recipe], Path]) -> list[Recipe]:
    """The fastest few, and the fastest equal one, under the other plans that their engine has.

    One of each compressor, and one of those that it mixes: what is next to the fastest is often its
    twin, and a noisy moment may have cost the one that another plan would have brought to the
    front.
    """
    of_each: dict[tuple[bool, str | None, bool], Trial] = {}
    for trial in best:
        recipe = trial.recipe
        of_each.setdefault((bool(recipe.student), recipe.compressor, bool(recipe.kept)), trial)
    fastest = list(of_each.values())[:_PLANNED_ANEW]
    equal = [trial for trial in best if trial.equal][:1]
    recipes = []
    for trial in fastest + [trial for trial in equal if trial not in fastest]:
        engine = engines.get(trial.recipe.engine)()
        plans = engine.plans(path(trial.recipe), trial.recipe.plan)
        recipes += [replace(trial.recipe, plan=plan) for plan in plans]
    return recipes


def not_worth_it(recipe: Recipe, trials: Iterable[Trial]) -> str | None:
    """Why a compressed graph in lower precision need not be tried: it failed in fp32 already."""
    if recipe.compressor is None or recipe.plan.precision == "fp32":
        return None
    in_fp32 = replace(recipe, plan=replace(recipe.plan, precision="fp32"))
    for trial in trials:
        if trial.recipe == in_fp32 and trial.verdict != CANDIDATE:
            ended = "failed" if trial.verdict == FAILED else "was rejected"
            return f"not tried: the same with the rest in fp32 {ended} ({trial.why})"
    return None
