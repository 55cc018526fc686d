"""Engines beside one another: precision by precision, their loads, their plans, and our overhead.

``make bench-engines`` writes ``results/engines.md``. What is compared runs in turns, in processes
of its own, on the same generated calls; what Lepton adds to a call is timed against the engine's
own call on the very same compiled graph, since two compilations of one graph can differ by more.
"""

import argparse
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.compress.compressor import compressors
from lepton_ai.engines.engine import Engine, EnginePlan, engines
from lepton_ai.errors import LeptonError
from lepton_ai.graph.feeding.feeds import generate
from lepton_ai.graph.onnx_file import load_graph
from lepton_ai.measure.latency import race
from lepton_ai.measure.machine import fingerprint
from lepton_ai.measure.runner import ProcessRunner, Runner
from lepton_ai.plan.rewriting import rewrite_file
from raw import (
    DEFAULTS,
    HAVE_OWN_CALLS,
    TAKES_CALLS,
    DefaultRunner,
    own_call,
    seconds_to_load,
)
from zoo import export

RESULTS = Path(__file__).parent / "results" / "engines.md"
NETWORKS = (
    *("resnet18", "mobilenet_v2", "efficientnet_b0", "convnext", "dcgan"),
    *("bert", "distilbert", "tcn", "dlrm", "lstm"),
)
#: For int8, the compressor that each engine's own makers would use.
INT8 = {"onnxruntime": "int8-static-ort", "openvino": "int8-static-nncf"}
ROUNDS = 5
LOADS = 3
#: Seconds from which on a compilation is timed once.
SLOW_TO_COMPILE = 3.0
#: Of the first plan's latency: by less than that another is not taken for faster.
WORTH_CHANGING = 0.98
DEADLINE = 300.0
SECONDS_TO_A_BLOCK = 0.05
MOST_OVERHEAD_SHARE, MOST_OVERHEAD_US = 0.03, 15.0


def main() -> None:
    """Measure what was asked for, and write the page."""
    options = _options()
    names = options.engines or [name for name in engines.names() if _runs(engines.get(name)())]
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as folder:
        rows = []
        for network in options.networks or NETWORKS:
            bench = Bench(network, Path(folder), seconds=options.seconds, small=options.small)
            row = bench.row(names)
            rows.append(row)
            print(f"# {json.dumps(row)}", file=sys.stderr, flush=True)
            if not (options.networks or options.small):  # what was measured is kept, come what may
                _write("\n".join(_page(rows)))
    if options.networks or options.small:
        print("\n".join(_page(rows)))


def _write(page: str) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    scratch = RESULTS.with_suffix(".partial")
    scratch.write_text(page + "\n", encoding="utf-8")
    scratch.replace(RESULTS)


def _runs(engine: Engine) -> bool:
    return engine.ships and engine.form == "graph" and engine.available().ok


class Bench:
    """One network: its graph, rewritten so that every engine takes it, and one call of it."""

    def __init__(self, network: str, folder: Path, *, seconds: float, small: bool) -> None:
        self.network = network
        self._folder = folder / network
        self._folder.mkdir()
        self._seconds = seconds
        exported = export(network, folder, small=small)
        self._graph = self._folder / "fp32.onnx"
        self._feeds = generate(load_graph(exported))[:1]
        rewrite_file("standard", exported, self._graph, original=exported, calls=self._feeds)
        self._cores = fingerprint().cores
        self._cache = self._folder / "cache"

    def row(self, names: Sequence[str]) -> dict[str, Any]:
        """All numbers of this network."""
        kinds = list(self._kinds(names))
        return {
            "network": self.network,
            "parameters": _parameters(self._graph),
            "table": self._table(kinds),
            "overhead": {name: self._overhead(name) for name in names if name in HAVE_OWN_CALLS},
            "tuned": {name: self._tuned(name) for name in names if name in DEFAULTS},
        }

    def _kinds(self, names: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
        """Engine, precision and graph of each row of the table."""
        for name in names:
            for precision in engines.get(name)().precisions():
                yield name, precision, self._graph
            if name in INT8:
                target = self._folder / f"{INT8[name]}.onnx"
                try:
                    compressors.get(INT8[name])().compress(self._graph, target, self._feeds * 8)
                except LeptonError:
                    continue
                yield name, "int8", target

    def _plan(self, precision: str) -> EnginePlan:
        return EnginePlan(
            threads=self._cores, precision="fp32" if precision == "int8" else precision
        )

    def _table(self, kinds: Iterable[tuple[str, str, Path]]) -> dict[str, Any]:
        """Loads, latency, throughput and memory; a refusal in place of them."""
        found: dict[str, Any] = {}
        runners: dict[str, Runner] = {}
        with ExitStack() as stack:
            for name, precision, graph in kinds:
                key = f"{name} {precision}"
                plan = self._plan(precision)
                try:
                    loads = self._loads(name, graph, plan)
                    runner = self._runner(name, graph, plan, cached=True)
                    stack.callback(runner.close)
                    runner.answer(self._feeds)
                except LeptonError as failure:
                    found[key] = {"refused": str(failure)}
                    continue
                runners[key] = runner
                found[key] = {**loads, "memory_mb": runner.memory_mb()}
            for key, latency in race(runners, self._feeds, seconds=self._seconds).items():
                found[key]["p50_ms"] = latency.p50_ms
        for name, precision, graph in kinds:
            key = f"{name} {precision}"
            if key in runners:
                found[key]["samples_per_s"], _ = self._best_throughput(
                    name, graph, self._plan(precision), seconds=self._seconds
                )
        return found

    def _loads(self, name: str, graph: Path, plan: EnginePlan) -> dict[str, float]:
        """Medians of loads from nothing and of loads from what these kept, each in a process."""
        first: list[tuple[float, float]] = []
        again: list[tuple[float, float]] = []
        while not first or (len(first) < LOADS and first[0][1] < SLOW_TO_COMPILE):
            shutil.rmtree(self._cache, ignore_errors=True)
            for times in (first, again):
                log = self._folder / "log"
                times.append(seconds_to_load(name, graph, plan, self._cache, log, self._feeds[0]))
        return {
            "load_s": statistics.median(loaded for loaded, _ in first),
            "second_load_s": statistics.median(loaded for loaded, _ in again),
            "answer_s": statistics.median(answered for _, answered in first),
            "second_answer_s": statistics.median(answered for _, answered in again),
        }

    def _overhead(self, name: str) -> dict[str, float]:
        """The engine's own call and ours on one compiled graph, in turns; microseconds."""
        feed = self._feeds[0]
        try:
            executable = engines.get(name)().load(self._graph, self._plan("fp32"), self._cache)
            executable.run(feed)
        except LeptonError:
            return {}
        raw = own_call(name, executable, feed)
        turns = _in_turns(raw, executable.run, feed, self._seconds * 16)
        executable.close()
        return {
            "raw": statistics.median(own for own, _ in turns),
            "added": statistics.median(ours - own for own, ours in turns),
            "turns": len(turns),
        }

    def _tuned(self, name: str) -> dict[str, Any]:
        """The engine's own defaults against the best of the plans that it proposes."""
        base = self._plan("fp32")
        engine = engines.get(name)()
        plans = {str(i): plan for i, plan in enumerate([base, *engine.plans(self._graph, base)])}
        races = [self._race(plans, name, default=False) for _ in range(2)]
        # The worse of two races: one alone names a winner by chance.
        worst = {key: max(race[key] / race["0"] for race in races) for key in plans}
        best = min(worst, key=worst.__getitem__)
        chosen = plans[best] if worst[best] < WORTH_CHANGING else base
        rounds = [self._race({"tuned": chosen}, name, default=True) for _ in range(ROUNDS)]
        _, stacked = self._best_throughput(name, self._graph, base, seconds=self._seconds / 2)
        rates = [self._rates(name, stacked) for _ in range(ROUNDS)]
        return {
            "plan": ", ".join(chosen.words),
            "default_ms": statistics.median(each["default"] for each in rounds),
            "tuned_ms": statistics.median(each["tuned"] for each in rounds),
            "latency_ratios": sorted(each["tuned"] / each["default"] for each in rounds),
            "throughput_plan": ", ".join(stacked.words),
            "default_per_s": statistics.median(default for default, _ in rates),
            "tuned_per_s": statistics.median(tuned for _, tuned in rates),
            "rate_ratios": sorted(tuned / default for default, tuned in rates),
        }

    def _race(self, plans: dict[str, EnginePlan], name: str, *, default: bool) -> dict[str, float]:
        with ExitStack() as stack:
            runners: dict[str, Runner] = {
                key: self._runner(name, self._graph, plan) for key, plan in plans.items()
            }
            if default:
                runners["default"] = DefaultRunner(name, self._graph, self._folder / "log")
            for runner in runners.values():
                stack.callback(runner.close)
            times = race(runners, self._feeds, seconds=self._seconds)
        return {key: latency.p50_ms for key, latency in times.items()}

    def _rates(self, name: str, plan: EnginePlan) -> tuple[float, float]:
        """Samples in a second: by the defaults, from as many callers as suit them; by ``plan``."""
        runner = DefaultRunner(name, self._graph, self._folder / "log")
        try:
            default = max(
                runner.calls_per_second(self._feeds, callers=callers, seconds=self._seconds)
                for callers in {1, self._cores if name in TAKES_CALLS else 1}
            )
        finally:
            runner.close()
        return default, self._rate(name, self._graph, plan, self._seconds)

    def _best_throughput(
        self, name: str, graph: Path, base: EnginePlan, *, seconds: float
    ) -> tuple[float, EnginePlan]:
        """The most samples in a second, and the plan that gave them."""
        plans = [base]
        if name in DEFAULTS:  # the others compile for long, and have no plans besides
            plans += engines.get(name)().throughput_plans(graph, base)
        rates = {plan: self._rate(name, graph, plan, seconds) for plan in dict.fromkeys(plans)}
        best = max(rates, key=rates.__getitem__)
        return rates[best], best

    def _rate(self, name: str, graph: Path, plan: EnginePlan, seconds: float) -> float:
        runner = self._runner(name, graph, plan, cached=True)
        feeds = [_stacked(feed, plan.batch) for feed in self._feeds]
        try:
            runner.calls_per_second(feeds, callers=plan.streams, seconds=seconds / 4)
            calls = runner.calls_per_second(feeds, callers=plan.streams, seconds=seconds)
        except LeptonError:
            return 0.0
        finally:
            runner.close()
        return calls * plan.batch

    def _runner(
        self, name: str, graph: Path, plan: EnginePlan, *, cached: bool = False
    ) -> ProcessRunner:
        cache = self._cache if cached else None
        log = self._folder / "log"
        return ProcessRunner(name, graph, plan, log, deadline=DEADLINE, cache=cache)


def _in_turns(
    own: Callable[[Any], Any], ours: Callable[[Any], Any], feed: Any, seconds: float
) -> list[tuple[float, float]]:
    """Medians of short blocks of calls, two blocks side by side to a pair; microseconds.

    A machine's slow moments then fall on both of a pair, and which goes first changes.
    """
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        if len(pairs) % 2:
            late, early = _block(ours, feed), _block(own, feed)
        else:
            early, late = _block(own, feed), _block(ours, feed)
        pairs.append((early, late))
    return pairs


def _block(call: Callable[[Any], Any], feed: Any) -> float:
    """The median call of one after another, the first not counted; microseconds."""
    call(feed)
    times: list[float] = []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < SECONDS_TO_A_BLOCK:
        start = time.perf_counter_ns()
        call(feed)
        times.append((time.perf_counter_ns() - start) / 1e3)
    return statistics.median(times)


def _stacked(feed: dict[str, np.ndarray], batch: int) -> dict[str, np.ndarray]:
    if batch == 1:
        return feed
    return {name: np.concatenate([value] * batch) for name, value in feed.items()}


def _parameters(path: Path) -> int:
    graph = load_graph(path).graph
    held = (value.const_value for value in graph.initializers.values())
    return sum(int(tensor.size) for tensor in held if tensor is not None)


def _page(rows: list[dict[str, Any]]) -> Iterator[str]:
    machine = fingerprint()
    yield "# Engines\n"
    yield f"`make bench-engines` on {machine.cpu}, {machine.cores} cores, with"
    yield f"{', '.join(machine.isa)}. Batch 1, random weights, after the standard rewrite."
    missing = [name for name in NETWORKS if name not in [row["network"] for row in rows]]
    if missing:
        yield f"Not measured this time: {', '.join(missing)}."
    yield from _measured_in_part(rows)
    yield ""
    yield from _engine_table(rows)
    yield from _overhead_table(rows)
    yield from _load_table(rows)
    yield from _tuned_table(rows)


def _measured_in_part(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Which networks were not measured in every engine of the page, and in which they were."""
    of_each = {row["network"]: {key.split(" ")[0]: None for key in row["table"]} for row in rows}
    names = {name for held in of_each.values() for name in held}
    parts = [net for net, held in of_each.items() if len(held) < len(names)]
    for net in parts:
        yield f"{net} was measured in {' and '.join(of_each[net])} alone."


def _engine_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Engine, precision, network\n"
    yield "Latency: median of a call. Throughput: samples in a second, by the best of the plans for"
    yield "it in ONNX Runtime and OpenVINO, and one call after another in the others."
    yield "Load: from nothing, and again from what was kept, by an engine that is at work already."
    yield "Memory: of the whole process, after a call.\n"
    yield "| network | engine | precision | p50 ms | samples/s | load s | again s | memory MB |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        for key, held in row["table"].items():
            name, precision = key.split(" ")
            if "p50_ms" not in held:
                yield f"| {row['network']} | {name} | {precision} | refused | | | | |"
                continue
            yield (
                f"| {row['network']} | {name} | {precision} | {held['p50_ms']:.3f} "
                f"| {held['samples_per_s']:.0f} | {held['load_s']:.2f} "
                f"| {held['second_load_s']:.2f} | {held['memory_mb']:.0f} |"
            )


def _overhead_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "\n## What a call through Lepton adds\n"
    yield f"At most {MOST_OVERHEAD_SHARE:.0%} or {MOST_OVERHEAD_US:.0f} µs is wanted."
    yield "Medians of pairs of blocks, one of the engine's own calls and one of ours.\n"
    yield "| network | engine | the engine's own call, µs | added µs | |"
    yield "|---|---|---|---|---|"
    for row in rows:
        for name, held in row["overhead"].items():
            if not held:
                continue
            kept = held["added"] <= max(MOST_OVERHEAD_US, MOST_OVERHEAD_SHARE * held["raw"])
            yield (
                f"| {row['network']} | {name} | {held['raw']:.1f} | {held['added']:+.1f} "
                f"({held['added'] / held['raw']:+.1%}) | {'' if kept else 'too much'} |"
            )


def _load_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "\n## Loading again\n"
    yield "To the first answer: loading and the first call, in which some engines compile.\n"
    columns = ("first s", "again s", "share", "first answer s", "again s", "share")
    yield "| network | parameters | engine | precision | " + " | ".join(columns) + " |"
    yield "|---" * 10 + "|"
    for row in rows:
        for key, held in row["table"].items():
            if "load_s" in held:
                name, precision = key.split(" ")
                yield (
                    f"| {row['network']} | {row['parameters'] / 1e6:.2f} M | {name} | {precision} "
                    f"| {_with_share(held['load_s'], held['second_load_s'])} "
                    f"| {_with_share(held['answer_s'], held['second_answer_s'])} |"
                )


def _with_share(first: float, again: float) -> str:
    return f"{first:.3f} | {again:.3f} | {again / first:.0%}"


def _tuned_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "\n## Plans beside the engines' own defaults\n"
    yield f"Medians of {ROUNDS} rounds of new processes, with the least and the greatest ratio."
    yield "A plan that says no more than its threads is the default itself: its ratio is noise.\n"
    columns = ("default ms", "tuned ms", "ratio", "plan", "default/s", "tuned/s", "ratio", "plan")
    yield "| network | engine | " + " | ".join(columns) + " |"
    yield "|---" * 10 + "|"
    faster, more = [], []
    for row in rows:
        for name, held in row["tuned"].items():
            latency = statistics.median(held["latency_ratios"])
            rate = statistics.median(held["rate_ratios"])
            faster.append(math.log(latency))
            more.append(math.log(rate))
            yield (
                f"| {row['network']} | {name} | {held['default_ms']:.3f} | {held['tuned_ms']:.3f} "
                f"| {_with_range(held['latency_ratios'])} | {held['plan']} "
                f"| {held['default_per_s']:.1f} | {held['tuned_per_s']:.1f} "
                f"| {_with_range(held['rate_ratios'])} | {held['throughput_plan']} |"
            )
    if faster:
        yield (
            f"\nGeometric means: {math.exp(statistics.mean(faster)):.3f} of the defaults' latency, "
            f"{math.exp(statistics.mean(more)):.3f} of their throughput."
        )


def _with_range(ratios: list[float]) -> str:
    """The median of sorted ratios, with the least and the greatest."""
    return f"{statistics.median(ratios):.3f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help="networks of the zoo; ten of them by default")
    parser.add_argument("--engines", nargs="*", help="engines; all that run here by default")
    parser.add_argument("--seconds", type=float, default=0.5, help="on the clock, each figure")
    parser.add_argument("--small", action="store_true", help="the sizes that tests use")
    return parser.parse_args()


if __name__ == "__main__":
    main()
