"""A model's graph rewritten, proven equal, and timed: what does not pay is not kept."""

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lepton_ai.data.bind import bind
from lepton_ai.data.source import read_data
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.errors import EngineError, ModelError, OutputError, WorkerError
from lepton_ai.formats.read import read
from lepton_ai.graph.feeding.feeds import generate
from lepton_ai.graph.freeze import freeze as freeze_sizes
from lepton_ai.graph.onnx_file import (
    bytes_with_weights,
    load_graph,
    operator_counts,
    save_graph,
    weights_beside,
)
from lepton_ai.graph.opset import convert_opset
from lepton_ai.graph.rewrite import STANDARD
from lepton_ai.graph.rewriting import Rewriting
from lepton_ai.measure.latency import race
from lepton_ai.measure.machine import fingerprint
from lepton_ai.measure.measurement import Latency
from lepton_ai.measure.runner import ProcessRunner, Runner
from lepton_ai.model.model import Model
from lepton_ai.model.signature import Arrays
from lepton_ai.plan.rewriting import rewrite_file, would_fire
from lepton_ai.plan.space import named_engine, shipping_engines

#: Real calls that the gate compares after each rule.
_CALLS = 16
#: On the clock for each graph in each engine: hundreds of calls of most networks.
_RACE_SECONDS = 1.0
#: Two processes of the same graph differ by this much in their medians, whatever their intervals
#: say: each has its own layout in memory (seen on a quiet machine, of 2 cores).
SAME = 0.02
#: And by this much where a call is so short that what surrounds it shows.
SAME_MS = 0.005
#: Seconds after which a call that has not come back is given up.
_DEADLINE = 300.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One rewrite: what it did, what each engine took before and after it, and whether it stays.

    ``before`` and ``after`` hold latencies by engine; an engine that refuses a graph is missing
    there.
    """

    name: str
    kept: bool
    why: str
    rewriting: Rewriting
    before: Mapping[str, Latency]
    after: Mapping[str, Latency]


@dataclass(frozen=True, kw_only=True)
class RewriteReport:
    """What :func:`rewrite` did. ``calls`` were compared; ``generated`` where no data was given."""

    output: Path
    nodes_before: int
    nodes_after: int
    bytes_before: int
    bytes_after: int
    calls: int
    generated: bool
    steps: tuple[Step, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        steps = [
            {
                "name": step.name,
                "kept": step.kept,
                "why": step.why,
                "before": {name: asdict(latency) for name, latency in step.before.items()},
                "after": {name: asdict(latency) for name, latency in step.after.items()},
                **step.rewriting.to_json(),
            }
            for step in self.steps
        ]
        return {**vars(self), "output": str(self.output), "steps": steps}


def rewrite(
    model: Any,
    output: str | Path,
    *,
    engine: str | None = None,
    data: Any = None,
    text: str | None = None,
    freeze: Mapping[str, int] | None = None,
    opset: int | None = None,
    overwrite: bool = False,
) -> RewriteReport:
    """Write to ``output`` a graph that answers as ``model`` does, and is smaller or faster.

    Without ``engine`` only what suits every engine is done; with one, what that engine's kernels
    want is tried as well, one rewrite at a time, and kept where it is faster. Answers are compared
    on calls from ``data``, or on generated ones. ``freeze`` gives symbolic sizes a fixed value by
    name; ``opset`` converts the graph to another version of the standard.

    Raises:
        UserError: the model, the data, a size, the opset or the output cannot be used.
    """
    started = time.monotonic()
    _check_kinds(output, freeze, opset)
    target = _checked(Path(output), overwrite)
    racers = _racers(engine)
    with tempfile.TemporaryDirectory(prefix="lepton-rewrite-") as scratch:
        folder = Path(scratch)
        known = read(model, folder, None)
        start = _prepared(known.path, folder, freeze or {}, opset)
        calls = _calls(known, start, data, text)
        work = _Work(known.path, start, calls, racers, folder)
        work.step(STANDARD)
        work.check_taken()
        if engine is not None:
            for name in would_fire(str(work.best), engine):
                work.step(name)
        _write(work.best, target)
    return RewriteReport(
        output=target,
        nodes_before=work.nodes_before,
        nodes_after=work.nodes,
        bytes_before=work.bytes_before,
        bytes_after=_bytes(target),
        calls=len(calls),
        generated=data is None,
        steps=tuple(work.steps),
        seconds=round(time.monotonic() - started, 1),
    )


class _Work:
    """The best graph so far, and the steps that led to it."""

    def __init__(
        self,
        original: Path,
        start: Path,
        calls: Sequence[Arrays],
        racers: Sequence[str],
        folder: Path,
    ) -> None:
        self.best = start
        self.steps: list[Step] = []
        self.nodes_before = self.nodes = operator_counts(load_graph(original)).total()
        self.bytes_before = _bytes(original)
        self._refused: dict[str, str] = {}
        self._original = original
        self._calls = calls
        self._racers = racers
        self._folder = folder
        self._threads = fingerprint().cores

    def step(self, name: str) -> None:
        """Try one rewrite on the best graph so far, and take its result if that pays."""
        home = self._folder / f"{len(self.steps)}-{name}"
        home.mkdir()
        made = home / "model.onnx"
        rewriting = rewrite_file(name, self.best, made, original=self._original, calls=self._calls)
        before: dict[str, Latency] = {}
        after: dict[str, Latency] = {}
        if rewriting.fired:
            for racer in self._racers:
                times = self._race(racer, {"before": self.best, "after": made})
                before |= {racer: times["before"]} if "before" in times else {}
                after |= {racer: times["after"]} if "after" in times else {}
        kept, why = judge(name, rewriting, before, after)
        if kept:
            self.best = made
        if kept or not self.steps:
            self.nodes = rewriting.nodes_after if kept else rewriting.nodes_before
        self.steps.append(
            Step(name=name, kept=kept, why=why, rewriting=rewriting, before=before, after=after)
        )

    def _race(self, engine: str, graphs: Mapping[str, Path]) -> dict[str, Latency]:
        """Latencies of the graphs that ``engine`` takes, in turns on the first call."""
        plan = EnginePlan(threads=self._threads)
        runners: dict[str, Runner] = {}
        with ExitStack() as stack:
            for name, path in graphs.items():
                try:
                    runner = ProcessRunner(
                        engine, path, plan, self._folder / "log.txt", deadline=_DEADLINE
                    )
                except (EngineError, WorkerError) as failure:
                    self._refused[engine] = str(failure)
                    continue
                stack.callback(runner.close)
                runners[name] = runner
            try:
                return race(runners, self._calls[:1], seconds=_RACE_SECONDS) if runners else {}
            except (EngineError, WorkerError) as failure:
                self._refused[engine] = str(failure)
                return {}

    def check_taken(self) -> None:
        """Raise :class:`ModelError` where the one engine that was asked for takes neither graph."""
        step = self.steps[0]
        if len(self._racers) == 1 and step.rewriting.fired and not step.before and not step.after:
            reason = self._refused.get(self._racers[0], "")
            raise ModelError(f"the graph is not taken, as it is or rewritten: {reason}")


def judge(
    name: str, rewriting: Rewriting, before: Mapping[str, Latency], after: Mapping[str, Latency]
) -> tuple[bool, str]:
    """Whether a rewrite stays, and why.

    The standard one stays unless it is slower in every engine that was timed, others only if they
    are faster in one; none stays that an engine no longer takes. Slower and faster are told from
    noise by the 95 % intervals of the medians, which must be apart by more than :data:`SAME`.
    """
    if not rewriting.fired:
        return False, "nothing to rewrite"
    lost = [engine for engine in before if engine not in after]
    if lost:
        return False, f"{', '.join(lost)} no longer takes the graph"
    won = [engine for engine in after if engine not in before]
    both = [engine for engine in after if engine in before]
    slower = [each for each in both if _apart(before[each].high_ms, after[each].low_ms)]
    faster = [each for each in both if _apart(after[each].high_ms, before[each].low_ms)]
    words = [f"{each}: {before[each].p50_ms:.2f} → {after[each].p50_ms:.2f} ms" for each in both]
    words += [f"{each} takes the graph now, {after[each].p50_ms:.2f} ms" for each in won]
    told = "; ".join(words)
    if name != STANDARD and not faster and not won:
        return False, f"not faster: {told}"
    if slower and not won and len(slower) == len(both):
        return False, f"slower: {told}"
    return True, told or "no engine here takes the graph, so nothing was timed"


def _apart(high_ms: float, low_ms: float) -> bool:
    return low_ms > high_ms * (1 + SAME) + SAME_MS


def _racers(engine: str | None) -> list[str]:
    if engine is None:
        return [each.name for each in shipping_engines()]
    return [named_engine(engine).name]


def _prepared(path: Path, folder: Path, sizes: Mapping[str, int], opset: int | None) -> Path:
    """The graph with what was asked for done to it, before any rule."""
    if not sizes and opset is None:
        return path
    model = load_graph(path)
    if opset is not None:
        convert_opset(model, opset)
    if sizes:
        freeze_sizes(model, sizes)
    home = folder / "prepared"
    home.mkdir()
    save_graph(model, home / "model.onnx")
    return home / "model.onnx"


def _calls(known: Model, start: Path, data: Any, text: str | None) -> list[Arrays]:
    """Real calls where there is data, generated ones otherwise."""
    if data is None:
        try:
            return generate(load_graph(start))
        except MemoryError as failure:
            raise ModelError("inputs of the graph's own sizes do not fit the memory") from failure
    samples = bind(read_data(data, text=text, label=None), known.signature, known.processing)
    count = min(len(samples), _CALLS * samples.per_call)
    calls: Iterable[Arrays] = samples.calls(list(range(count)))
    return list(islice(calls, _CALLS))


def _check_kinds(output: Any, freeze: Any, opset: Any) -> None:
    """Raise :class:`UserError` for what is no path, no sizes by name or no version."""
    if not isinstance(output, str | Path):
        raise OutputError(f"the output is the path of a file, and {output!r} came")
    if freeze is not None and not isinstance(freeze, Mapping):
        raise ModelError(f"freeze wants sizes by name, {{'batch': 1}}, and {freeze!r} came")
    if opset is not None and (isinstance(opset, bool) or not isinstance(opset, int)):
        raise ModelError(f"opset wants a whole number, and {opset!r} came")


def _checked(target: Path, overwrite: bool) -> Path:
    if target.suffix != ".onnx":
        raise OutputError(f"the output is an ONNX file, NAME.onnx, and not {target}")
    try:
        files = (target, weights_beside(target))
        taken = [file for file in files if file.is_dir() or (file.exists() and not overwrite)]
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise OutputError(f"{target} cannot be written: {reason}") from failure
    if taken:
        raise OutputError(f"{taken[0]} exists; choose another path, or ask to overwrite it")
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent} is no folder; make it first, or choose another path")
    return target


def _write(source: Path, target: Path) -> None:
    """The graph at ``target``, with its weights' file beside it where it has one."""
    try:
        save_graph(load_graph(source), target)
    except OSError as failure:
        raise OutputError(f"{target} cannot be written: {failure.strerror or failure}") from failure


def _bytes(path: Path) -> int:
    return bytes_with_weights(load_graph(path), path)
