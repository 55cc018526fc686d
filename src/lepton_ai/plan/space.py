"""Which recipes are worth trying, cheap before dear."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lepton_ai.compress.compressor import compressors
from lepton_ai.engines.engine import Engine, EnginePlan, engines
from lepton_ai.errors import MissingExtraError
from lepton_ai.graph.rewrite import rewrites
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, FAILED, Trial

_BASE_REWRITE = "clean"
_PLANNED_ANEW = 3


def shipping_engines() -> list[Engine]:
    """The engines that run here and may go into a bundle, in order of registration."""
    found = []
    for name in engines.names():
        try:
            engine = engines.get(name)()
        except MissingExtraError:
            continue
        if engine.ships and engine.available().ok:
            found.append(engine)
    return found


def plain(threads: int) -> list[Recipe]:
    """The untouched graph in every engine, fp32."""
    plan = EnginePlan(threads=threads)
    return [Recipe(engine=engine.name, plan=plan) for engine in shipping_engines()]


def rewritten(threads: int) -> list[Recipe]:
    """Every rewrite, after the clean-up, in every engine that can run its result."""
    recipes = []
    for name, kind in rewrites.items():
        chain = (name,) if name == _BASE_REWRITE else (_BASE_REWRITE, name)
        recipes += [
            Recipe(rewrites=chain, engine=engine.name, plan=EnginePlan(threads=threads))
            for engine in shipping_engines()
            if not kind.engines or engine.name in kind.engines
        ]
    return recipes


def lower_precision(threads: int, trials: Iterable[Trial]) -> list[Recipe]:
    """Arithmetic below fp32, where an engine computes it on this machine."""
    base = base_of(trials)
    return [
        Recipe(
            rewrites=base,
            engine=engine.name,
            plan=EnginePlan(threads=threads, precision=precision),
        )
        for engine in shipping_engines()
        for precision in engine.precisions()
        if precision != "fp32"
    ]


def compressed(threads: int, trials: Sequence[Trial]) -> list[Recipe]:
    """Every compressor in every engine and precision, and on each engine's own fused graph."""
    base = base_of(trials)
    recipes = []
    for name in compressors.names():
        for engine in shipping_engines():
            recipes += [
                Recipe(
                    rewrites=base,
                    compressor=name,
                    engine=engine.name,
                    plan=EnginePlan(threads=threads, precision=precision),
                )
                for precision in engine.precisions()
            ]
            recipes += [
                replace(trial.recipe, compressor=name)
                for trial in trials
                if trial.equal
                and trial.recipe.engine == engine.name
                and trial.recipe.rewrites not in ((), base)
            ]
    return recipes


def base_of(trials: Iterable[Trial]) -> tuple[str, ...]:
    """The rewrites to build on: the clean-up, if the gate found it equal; otherwise none."""
    equal = any(trial.equal and trial.recipe.rewrites == (_BASE_REWRITE,) for trial in trials)
    return (_BASE_REWRITE,) if equal else ()


def planned_anew(best: Sequence[Trial], path: Callable[[Recipe], Path]) -> list[Recipe]:
    """The fastest few, and the fastest equal one, under the other plans that their engine has.

    One of each compressor: what is next to the fastest is often its twin, and a noisy moment may
    have cost the one that another plan would have brought to the front.
    """
    of_each: dict[str | None, Trial] = {}
    for trial in best:
        of_each.setdefault(trial.recipe.compressor, trial)
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
