"""From facts to predictions: what was tried, Amdahl's law over a profile, minutes of teaching.

Where a thing was measured the measurement counts; the rules of thumb below stand in for what was
not, and every estimate says which of the two it is.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from lepton_ai.plan.advising.facts import Facts, Piece
from lepton_ai.plan.advising.method import MEASURED, Estimate, Method
from lepton_ai.plan.classroom import BATCHES, LEAST_TRIED
from lepton_ai.plan.graphs import LEAST_STEPS, RATES
from lepton_ai.plan.trial import FAILED, Trial

#: How many times as fast products are in int8, and in bf16, by what the processor has; measured of
#: whole networks on such machines, so less than the instructions promise. The first that fits.
INT8_GAINS = {
    "amx_int8": 3.0,
    "i8mm": 2.5,
    "avx512_vnni": 2.5,
    "avx_vnni": 2.0,
    "dotprod": 2.0,
}
BF16_GAINS = {"amx_bf16": 3.0, "avx512_bf16": 1.5, "bf16": 1.6}
#: Without such instructions products gain little, and a conversion on each side costs as much.
NO_GAIN = 1.1
#: Below this many operations per byte a product waits for memory, and gains what its bytes shrink
#: by: a core of these years does tens of operations in the time of a byte from memory.
MEMORY_BOUND = 8.0

#: Chances of keeping the budget: what did so on the tune split, what may, and what did not.
KEPT, OPEN, LOST = 0.95, 0.5, 0.05
#: Steps on which a search tries learning rates before it teaches.
STEPS_OF_RATES = len(RATES) * LEAST_TRIED
#: The fewest samples of a step.
FEWEST = BATCHES[-1]


def tried(facts: Facts, method: Method) -> list[Trial]:
    """The trials of ``method`` that were timed, those that keep the budget first, then by time."""
    timed = [t for t in facts.trials if method.covers(t.recipe) and t.ratio is not None]
    return sorted(timed, key=lambda trial: (chance_of(trial, facts) < OPEN, trial.slowness))


def failure(facts: Facts, method: Method) -> str | None:
    """Why ``method`` failed here, if it was tried and never ran."""
    found = [trial for trial in facts.trials if method.covers(trial.recipe)]
    if found and all(trial.verdict == FAILED for trial in found):
        return found[0].why
    return None


def chance_of(trial: Trial, facts: Facts) -> float:
    """How likely a trial keeps the budget, by what the tune split says of it."""
    if trial.equal:
        return 1.0
    if trial.likely_bound is None:
        return LOST
    return KEPT if trial.likely_bound <= facts.budget.max_drop else OPEN


def as_tried(facts: Facts, method: Method, trials: Sequence[Trial]) -> Estimate:
    """The estimate that ``trials`` of ``method``, the best first, give by themselves."""
    best = trials[0]
    measured = best.measurement
    size = facts.graph.bytes if facts.graph else None
    ratio = measured.bytes_on_disk / size if measured is not None and size else 1.0
    reasons = [f"{best.name} took {best.slowness:.2f} of the time: {best.why}"]
    return Estimate(
        method=method.name,
        ratio=best.slowness,
        bytes_ratio=ratio,
        minutes=trial_minutes(facts, len(trials)),
        chance=chance_of(best, facts),
        equal=best.equal,
        basis=MEASURED,
        reasons=tuple(reasons),
    )


def trial_minutes(facts: Facts, count: int) -> float:
    """The minutes that ``count`` trials take, as those did that were made."""
    return count * facts.seconds.get("a trial", 5.0) / 60


def amdahl(pieces: Iterable[Piece], gains: Mapping[str, float]) -> float:
    """The ratio of time where each operator in ``gains`` takes as many times less of it.

    Amdahl's law; ``pieces`` are all there are.
    """
    pieces = tuple(pieces)
    whole = sum(piece.share for piece in pieces)
    if not whole:
        return 1.0
    return sum(piece.share / gains.get(piece.operator, 1.0) for piece in pieces) / whole


def gain(isa: Collection[str], gains: Mapping[str, float]) -> float:
    """How many times as fast products are with the best of ``gains`` that ``isa`` has."""
    return next((times for name, times in gains.items() if name in isa), NO_GAIN)


def with_fewer_bits(facts: Facts, operators: Collection[str], times: float, bytes_: float) -> float:
    """The ratio of time with ``operators`` in fewer bits: ``times`` as fast where they compute.

    Where they wait for memory, they gain what the bytes shrink by, ``bytes_``.
    """
    whole = sum(piece.share for piece in facts.pieces)
    if not whole:
        return 1.0
    left = 0.0
    for piece in facts.pieces:
        waits = piece.intensity is not None and piece.intensity < MEMORY_BOUND
        factor = (min(times, bytes_) if waits else times) if piece.operator in operators else 1.0
        left += piece.share / factor
    return left / whole


def share_of(pieces: Sequence[Piece], operators: Collection[str]) -> float:
    """The part of the time that is spent in ``operators``."""
    return sum(piece.share for piece in pieces if piece.operator in operators)


def where(facts: Facts, operators: Collection[str]) -> str:
    """How much of the time is in ``operators``, in words; which of them, and how they compute."""
    used = sorted({piece.operator for piece in facts.pieces if piece.operator in operators})
    share = share_of(facts.pieces, operators)
    if not used:
        return f"no time is spent in {' or '.join(sorted(operators))}"
    found = [p for p in facts.pieces if p.operator in operators and p.intensity is not None]
    weight = sum(piece.share for piece in found)
    words = f"{share:.0%} of the time is in {' and '.join(used)}"
    if weight:
        mean = sum(piece.share * (piece.intensity or 0.0) for piece in found) / weight
        bound = "waits for memory" if mean < MEMORY_BOUND else "computes"
        words += f", which {bound} ({mean:.0f} operations per byte)"
    return words


def smaller_weights(facts: Facts, share: float, of: int | None = None) -> float:
    """The ratio of bytes where those ``of`` weights in floating point take ``share`` of theirs."""
    if facts.graph is None or not facts.graph.bytes:
        return 1.0
    shrunk = facts.graph.float_bytes if of is None else of
    return 1 - (1 - share) * min(shrunk, facts.graph.bytes) / facts.graph.bytes


def teaching_minutes(facts: Facts, samples: int = (LEAST_STEPS + STEPS_OF_RATES) * FEWEST) -> float:
    """The minutes to teach with ``samples``; by default the fewest steps that are of use."""
    seconds = facts.teachable.seconds_per_sample if facts.teachable else None
    return samples * (seconds or 0.0) / 60


def cannot_be_taught(facts: Facts) -> str | None:
    """Why the network cannot be trained; ``None`` if it can."""
    if facts.teachable is None:
        return "whether it can be trained is not known"
    if facts.teachable.seconds_per_sample is None:
        return f"it cannot be trained: {facts.teachable.why_not}"
    return None


def plain_ratio(facts: Facts, names: Collection[str]) -> float:
    """The least time of the plain graph in one of the engines ``names``; 1 if none was timed.

    In the original's engine it is 1 by itself.
    """
    timed = [
        trial.slowness
        for trial in facts.trials
        if trial.recipe.engine in names
        and trial.recipe.compressor is None
        and trial.recipe.plan.precision == "fp32"
    ]
    itself = [1.0] if facts.engine in names else []
    return min([*itself, *(each for each in timed if math.isfinite(each))], default=1.0)


def best_ratio(facts: Facts) -> float:
    """The least time over the original's of what was tried and likely keeps the budget."""
    kept = [t.slowness for t in facts.trials if chance_of(t, facts) > OPEN]
    return min([1.0, *kept])
