"""Models, bundles and engines timed beside one another, on the same calls, in turns.

Each runs in a process of its own. What is timed first in a hot minute would lose to what is timed
in a cool one; so all take turns, and what one takes is told as a ratio to the first, between bounds
that a noisy machine moves apart.
"""

import tempfile
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
from lepton_ai.plan.space import asked_engines

SECONDS = 3.0
#: Real samples that all walk through.
_FEEDS = 32
#: Two processes of the same graph differ by so much in their medians.
_SAME = 0.02
_DEADLINE = 300.0


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One contender: what it took, and that over what the base took.

    ``ratio`` is to the ``base``, the first that runs. It lies between ``low`` and ``high`` at 95 %,
    which allow for the layout in memory that a process happens to get. All are ``None`` where it
    did not run; ``why`` then says what hindered.
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
    """Time ``models`` in turns for ``seconds`` each, on samples of ``data`` or on made-up calls.

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
    with tempfile.TemporaryDirectory(prefix="lepton-bench-") as folder, ExitStack() as stack:
        found = _numbered(
            [
                contender
                for number, model in enumerate(models)
                for contender in _contenders(model, Path(folder) / str(number), names, threads)
            ]
        )
        _check_inputs(found)
        feeds = _feeds(found[0], data, text, label)
        runners: dict[str, Runner] = {}
        refused: dict[str, str] = {}
        for one in found:
            try:
                runners[one.name] = stack.enter_context(_running(one, Path(folder), feeds))
            except LeptonError as failure:
                refused[one.name] = str(failure)
        first = next((one.name for one in found if one.name in runners), None)
        if first is None:
            raise ModelError("; ".join(f"{name}: {why}" for name, why in refused.items()))
        times = race(runners, feeds, seconds=seconds)
        return tuple(_timed(one, runners, times, first, refused) for one in found)


@contextmanager
def _running(one: _Contender, folder: Path, feeds: Sequence[Arrays]) -> Iterator[Runner]:
    """A contender in a process of its own that has answered once, while this lasts."""
    log = folder / "log.txt"
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
            name=path.name,
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
            name=path.name,
            path=known.path,
            engine=engine,
            plan=EnginePlan(threads=threads or usable_cores()),
            signature=known.signature,
            processing=known.processing,
        )


def _numbered(found: Sequence[_Contender]) -> list[_Contender]:
    """Each by a name of its own: file, engine and plan, and a number where that is not enough."""
    named: list[_Contender] = []
    for one in found:
        words = " · ".join((one.name, one.engine, *one.plan.words))
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


def _timed(
    one: _Contender,
    runners: dict[str, Runner],
    times: dict[str, Latency],
    first: str,
    refused: dict[str, str],
) -> Timed:
    size = bytes_with_weights(load_graph(one.path), one.path)
    if one.name not in runners:
        return Timed(
            name=one.name,
            engine=one.engine,
            plan=one.plan.to_json(),
            bytes_on_disk=size,
            why=refused[one.name],
        )
    mine, base = times[one.name], times[first]
    low, high = mine.low_ms / base.high_ms, mine.high_ms / base.low_ms
    base_itself = one.name == first
    return Timed(
        name=one.name,
        engine=one.engine,
        plan=one.plan.to_json(),
        bytes_on_disk=size,
        latency=mine,
        load_seconds=runners[one.name].load_seconds,
        peak_memory_mb=runners[one.name].peak_memory_mb(),
        ratio=mine.p50_ms / base.p50_ms,
        low=1.0 if base_itself else low * (1 - _SAME),
        high=1.0 if base_itself else high * (1 + _SAME),
        is_base=base_itself,
    )
