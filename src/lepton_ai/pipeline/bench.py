"""Models, bundles and engines timed beside one another, on the same calls, in turns.

Each runs in a process of its own. What is timed first in a hot minute would lose to what is timed
in a cool one; so all take turns, and what one takes is told as a ratio to the first, between bounds
that a noisy machine moves apart.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lepton_ai.bundle.layout import ARTIFACT, MANIFEST
from lepton_ai.bundle.load import rebuild_processing
from lepton_ai.bundle.verify import verify_files
from lepton_ai.data.bind import bind
from lepton_ai.data.source import read_data
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.processor import usable_cores
from lepton_ai.errors import DataError, LeptonError, ModelError
from lepton_ai.formats.read import read
from lepton_ai.graph.feeding.feeds import generate
from lepton_ai.graph.onnx_file import bytes_with_weights, load_graph
from lepton_ai.measure.latency import race
from lepton_ai.measure.measurement import Latency
from lepton_ai.measure.runner import ProcessRunner, Runner
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Arrays, Signature
from lepton_ai.pipeline.rewrite import SAME
from lepton_ai.plan.space import asked_engines

SECONDS = 3.0
#: Real samples that all walk through.
_FEEDS = 32
#: Races between new processes: the layout in memory that one happens to get costs more than noise.
_ROUNDS = 3
_DEADLINE = 300.0


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One contender: what it took, and that over what the base took.

    ``ratio`` is to the base, the first that runs, in the middle one of several races between new
    processes; ``low`` and ``high`` are the least and the most that the 95 % intervals of all of
    them leave open. All are ``None`` where it did not run; ``why`` then says what hindered.
    """

    name: str
    engine: str
    plan: dict[str, Any]
    bytes_on_disk: int
    latency: Latency | None = None
    load_seconds: float | None = None
    peak_memory_mb: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    why: str | None = None
    is_base: bool = False

    @property
    def verdict(self) -> str:
        """``faster`` or ``slower`` than the base, where the bounds leave no doubt."""
        if self.is_base:
            return "base"
        if self.low is None or self.high is None:
            return "does not run"
        if self.high < 1:
            return "faster"
        return "slower" if self.low > 1 else "no difference shown"

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        return {**asdict(self), "verdict": self.verdict}


@dataclass(frozen=True, kw_only=True)
class _Contender:
    name: str
    path: Path
    engine: str
    plan: EnginePlan
    signature: Signature
    processing: Processing | None


def bench(
    models: Sequence[str | Path],
    data: Any = None,
    *,
    text: str | None = None,
    label: str | None = None,
    engines: Sequence[str] | None = None,
    threads: int | None = None,
    seconds: float = SECONDS,
) -> tuple[Timed, ...]:
    """Time ``models`` in turns, for ``seconds`` each, on samples of ``data`` or on made-up calls.

    A model is a bundle, which runs by its own plan, or an ONNX file or Hugging Face folder, which
    runs in each of ``engines`` (by default those that are usually fast), on ``threads`` (by default
    all cores).

    Raises:
        UserError: a model or the data cannot be used, models take other inputs than the first, or
            none runs.
    """
    if not models:
        raise ModelError("a model to time was wanted, and none came")
    if not 0 < seconds < float("inf"):
        raise DataError(f"seconds wants a number above 0, and {seconds} came")
    cores = usable_cores()
    if threads is not None and not 1 <= threads <= cores:
        raise DataError(f"threads wants 1 to {cores}, the cores that there are; {threads} came")
    names = asked_engines(engines)
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as folder:
        found = _numbered(
            [
                contender
                for number, model in enumerate(models)
                for contender in _contenders(model, Path(folder) / str(number), names, threads)
            ]
        )
        _check_inputs(found)
        feeds = _feeds(found[0], data, text, label)
        log, share = Path(folder) / "log.txt", seconds / _ROUNDS
        rounds = [_round(found, feeds, log, share) for _ in range(_ROUNDS)]
        ran = [one.name for one in found if all(one.name in each.latency for each in rounds)]
        if not ran:
            raise ModelError("; ".join(f"{name}: {why}" for name, why in rounds[0].why.items()))
        return tuple(_timed(one, rounds, ran[0] if one.name in ran else None) for one in found)


@dataclass(frozen=True, kw_only=True)
class _Round:
    """One race between new processes: by name what each took, or why it does not run."""

    latency: dict[str, Latency]
    load_seconds: dict[str, float]
    peak_memory_mb: dict[str, float | None]
    why: dict[str, str]


def _round(
    found: Sequence[_Contender], feeds: Sequence[Arrays], log: Path, seconds: float
) -> _Round:
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        why: dict[str, str] = {}
        for one in found:
            try:
                runners[one.name] = stack.enter_context(_running(one, log, feeds))
            except LeptonError as failure:
                why[one.name] = str(failure)
        return _Round(
            latency=race(runners, feeds, seconds=seconds) if runners else {},
            load_seconds={name: runner.load_seconds for name, runner in runners.items()},
            peak_memory_mb={name: runner.peak_memory_mb() for name, runner in runners.items()},
            why=why,
        )


@contextmanager
def _running(one: _Contender, log: Path, feeds: Sequence[Arrays]) -> Iterator[Runner]:
    """A contender in a process of its own that has answered once, while this lasts."""
    runner = ProcessRunner(one.engine, one.path, one.plan, log, deadline=_DEADLINE)
    try:
        runner.answer(feeds[:1])
        yield runner
    finally:
        runner.close()


def _contenders(
    model: str | Path, folder: Path, engines: Sequence[str], threads: int | None
) -> Iterator[_Contender]:
    """A bundle as it was planned, and any other model once in each engine."""
    path = Path(model)
    if (path / MANIFEST).exists():
        manifest = verify_files(path)
        plan = manifest.plan if threads is None else replace(manifest.plan, threads=threads)
        plan = plan.within(usable_cores())
        yield _Contender(
            name=str(model),
            path=path / ARTIFACT,
            engine=manifest.engine,
            plan=plan,
            signature=manifest.signature,
            processing=rebuild_processing(path, manifest),
        )
        return
    folder.mkdir()
    known = read(model, folder)
    for engine in engines:
        yield _Contender(
            name=str(model),
            path=known.path,
            engine=engine,
            plan=EnginePlan(threads=threads or usable_cores()),
            signature=known.signature,
            processing=known.processing,
        )


def _numbered(found: Sequence[_Contender]) -> list[_Contender]:
    """Each by a name of its own: file, engine and plan, and a number where that is not enough."""
    named: list[_Contender] = []
    sources = {(Path(one.name).name, one.name) for one in found}
    shared = Counter(short for short, _ in sources)
    for one in found:
        short = Path(one.name).name
        words = " · ".join((short if shared[short] == 1 else one.name, one.engine, *one.plan.words))
        same = sum(each.name == words or each.name.startswith(f"{words} #") for each in named)
        named.append(replace(one, name=f"{words} #{same + 1}" if same else words))
    return named


def _check_inputs(found: Sequence[_Contender]) -> None:
    wanted = found[0].signature.input_names
    for one in found:
        if set(one.signature.input_names) != set(wanted):
            raise ModelError(
                f"{one.name} takes the inputs {list(one.signature.input_names)}, and "
                f"{found[0].name} takes {list(wanted)}: what is compared has to take the same calls"
            )


def _feeds(first: _Contender, data: Any, text: str | None, label: str | None) -> list[Arrays]:
    if data is None:
        return generate(load_graph(first.path))
    raw = read_data(data, text=text, label=label)
    samples = bind(raw, first.signature, first.processing)
    count = min(_FEEDS, len(samples) // samples.per_call)
    if not count:
        raise DataError(f"{raw.name} holds too few samples for one call")
    return list(samples.calls(range(count * samples.per_call)))


def _timed(one: _Contender, rounds: Sequence[_Round], base: str | None) -> Timed:
    """Of the rounds the middle one, between the bounds of all."""
    known = Timed(
        name=one.name,
        engine=one.engine,
        plan=one.plan.to_json(),
        bytes_on_disk=bytes_with_weights(load_graph(one.path), one.path),
    )
    if base is None:
        return replace(known, why=next(r.why[one.name] for r in rounds if one.name in r.why))
    pairs = [(each.latency[one.name], each.latency[base], each) for each in rounds]
    ratios = [mine.p50_ms / other.p50_ms for mine, other, _ in pairs]
    middle = sorted(range(len(ratios)), key=ratios.__getitem__)[len(ratios) // 2]
    latency, _, in_it = pairs[middle]
    is_base = one.name == base
    low = min(mine.low_ms / other.high_ms for mine, other, _ in pairs) * (1 - SAME)
    high = max(mine.high_ms / other.low_ms for mine, other, _ in pairs) * (1 + SAME)
    return replace(
        known,
        latency=latency,
        load_seconds=in_it.load_seconds[one.name],
        peak_memory_mb=in_it.peak_memory_mb[one.name],
        ratio=ratios[middle],
        low=1.0 if is_base else low,
        high=1.0 if is_base else high,
        is_base=is_base,
    )
