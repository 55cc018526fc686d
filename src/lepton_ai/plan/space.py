"""Which recipes are worth trying, cheap before dear."""

from collections.abc import Iterable, Sequence

from lepton_ai.compress.compressor import compressors
from lepton_ai.engines.engine import Engine, EnginePlan, engines
from lepton_ai.errors import MissingExtraError
from lepton_ai.graph.rewrite import rewrites
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import Trial

_BASE_REWRITE = "clean"
_THREAD_VARIANTS = 3


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


def lower_precision(threads: int, base: tuple[str, ...]) -> list[Recipe]:
    """Arithmetic below fp32, where an engine computes it on this machine."""
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


def compressed(threads: int, base: tuple[str, ...]) -> list[Recipe]:
    """Every compressor in every engine and precision."""
    return [
        Recipe(
            rewrites=base,
            compressor=name,
            engine=engine.name,
            plan=EnginePlan(threads=threads, precision=precision),
        )
        for name in compressors.names()
        for engine in shipping_engines()
        for precision in engine.precisions()
    ]


def base_of(trials: Iterable[Trial]) -> tuple[str, ...]:
    """The rewrites to build on: the clean-up, if the gate found it equal; otherwise none."""
    equal = any(trial.equal and trial.recipe.rewrites == (_BASE_REWRITE,) for trial in trials)
    return (_BASE_REWRITE,) if equal else ()


def one_thread(best: Sequence[Trial]) -> list[Recipe]:
    """The fastest few once more on a single thread, which small networks prefer."""
    return [
        Recipe(
            rewrites=trial.recipe.rewrites,
            compressor=trial.recipe.compressor,
            engine=trial.recipe.engine,
            plan=EnginePlan(threads=1, precision=trial.recipe.plan.precision),
        )
        for trial in best[:_THREAD_VARIANTS]
        if trial.recipe.plan.threads > 1
    ]
