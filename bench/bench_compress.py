"""Compression on real models and data, held to the bars of each case.

``make bench-compress`` writes ``results/compress.md`` from the rows in ``results/compress.json``;
where cases are named, the rows of the others stay. Each case prepares a trained model with its
data (kept in the cache), and ``lepton_ai.optimize`` searches. What ships is then raced in turns
with what it is compared with, one sample at a time on all cores: the fp32 original in ONNX Runtime,
the fastest artifact in int8 alone that kept the budget, and int8 as it comes.
"""

import argparse
import inspect
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lepton_ai as lepton
from compress_cases import NAMES, case
from compress_cases.case import Bar, Case
from compress_cases.rivals import (
    SCORED,
    Artifact,
    Loss,
    default_int8,
    fastest_int8,
    plain,
    winner,
)
from lepton_ai.data.bind import bind
from lepton_ai.data.choose import choose_metric
from lepton_ai.data.samples import Samples
from lepton_ai.data.source import read_data
from lepton_ai.errors import LeptonError
from lepton_ai.measure.latency import race
from lepton_ai.measure.machine import fingerprint
from lepton_ai.measure.measurement import Latency
from lepton_ai.measure.runner import Runner
from lepton_ai.model.signature import Arrays
from lepton_ai.pipeline.result import Result
from lepton_ai.plan.journal import cache_folder

RESULTS = Path(__file__).parent / "results" / "compress.md"
ROWS = RESULTS.with_suffix(".json")
#: Real samples that the race walks through.
FEEDS = 32
WINNER, PLAIN, FASTEST, DEFAULT = "winner", "fp32 ONNX Runtime", "fastest int8", "default int8"


def main() -> None:
    """Prepare the cases that were asked for; unless that is all, run them and write the page."""
    options = _options()
    home = options.prepare or cache_folder() / "bench-compress"
    for name in options.cases or NAMES:
        chosen = case(name)
        print(f"# preparing {name}", file=sys.stderr, flush=True)
        prepared = chosen.prepared(home / name)
        if options.prepare:
            print(json.dumps(prepared))
            continue
        row = _row(chosen, prepared, home / name, options)
        print(f"# {json.dumps(row)}", file=sys.stderr, flush=True)
        _keep(row)  # what was measured is kept, come what may


def _keep(row: dict[str, Any]) -> None:
    """Put ``row`` in the place of the last one of its case, and write the page anew."""
    rows = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else {}
    rows[row["case"]] = row
    ordered = {name: rows[name] for name in NAMES if name in rows}
    ROWS.parent.mkdir(exist_ok=True)
    _write(ROWS, json.dumps(ordered, indent=1))
    _write(RESULTS, "\n".join(_page(list(ordered.values()))))


def _write(path: Path, text: str) -> None:
    scratch = path.with_suffix(".partial")
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(path)


def _row(
    chosen: Case, prepared: dict[str, Any], folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """All numbers of a case: the search's own, and those of one race at its end."""
    arguments, machine = chosen.arguments(folder), fingerprint()
    result = lepton.optimize(
        arguments.pop("model"),
        arguments.pop("data"),
        budget=lepton.Budget(
            max_drop=chosen.max_drop,
            max_transfer_mb=chosen.max_transfer_mb,
            minutes=options.minutes,
        ),
        **arguments,
        **_teaching(folder / chosen.train),
    )
    with tempfile.TemporaryDirectory(prefix="bench-compress-") as scratch:
        rivals = _artifacts(chosen, result, folder, Path(scratch), options.seconds)
    return {
        "case": chosen.name,
        "fp32": prepared["fp32"],
        "status": result.status,
        "why": result.why,
        "certificate": result.certificate,
        "minutes": result.record["seconds"] / 60,
        "allowed": options.minutes,
        "machine": f"{machine.cpu}, {machine.cores} cores, with {', '.join(machine.isa)}",
        "artifacts": rivals,
    }


def _artifacts(
    chosen: Case, result: Result, folder: Path, scratch: Path, seconds: float
) -> dict[str, dict[str, Any]]:
    """What ships and its rivals, timed in one race; of default int8 the fastest."""
    samples, original = _samples(chosen, folder, result), plain(result)
    metric = choose_metric(chosen.arguments(folder)["metric"], samples.labels)
    loss = Loss(original, samples, metric, scratch / "log")
    found = {WINNER: winner(result), PLAIN: original}
    int8 = fastest_int8(result, loss, chosen.max_drop)
    if int8 is not None:
        found[FASTEST] = int8
    if any(bar.against == DEFAULT for bar in chosen.bars):
        found |= {
            f"{DEFAULT} {each.name}": each for each in default_int8(original, samples, scratch)
        }
    times = _raced(found, list(samples.calls(range(FEEDS))), scratch / "log", seconds)
    defaults = [role for role in times if role.startswith(DEFAULT)]
    kept = [role for role in times if role not in defaults]
    if defaults:
        kept.append(min(defaults, key=lambda role: times[role].p50_ms))
    return {
        DEFAULT if role in defaults else role: {
            "recipe": found[role].name,
            "p50_ms": times[role].p50_ms,
            "low_ms": times[role].low_ms,
            "high_ms": times[role].high_ms,
            "transfer": found[role].transfer,
            "drop": loss(found[role]),
        }
        for role in kept
    }


def _teaching(train: Path) -> dict[str, str]:
    """The samples to teach with, where ``optimize`` takes any."""
    takes = "train" in inspect.signature(lepton.optimize).parameters
    return {"train": str(train)} if takes else {}


def _samples(chosen: Case, folder: Path, result: Result) -> Samples:
    """The case's data as the winner takes it; it has the original's inputs."""
    with lepton.load(result.staged) as net:
        return bind(
            read_data(folder / chosen.data, **chosen.columns), net.signature, net.processing
        )


def _raced(
    artifacts: dict[str, Artifact], feeds: list[Arrays], log: Path, seconds: float
) -> dict[str, Latency]:
    """The time of each artifact that runs, in one race."""
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        for role, artifact in artifacts.items():
            try:
                runner = artifact.runner(log)
                stack.callback(runner.close)
                runner.answer(feeds[:1])
            except LeptonError:
                continue
            runners[role] = runner
        return race(runners, feeds, seconds=seconds)


def _figure(bar: Bar, row: dict[str, Any]) -> float | None:
    """What ``bar`` is about; ``None`` where there is nothing to compare with."""
    found = row["artifacts"]
    if bar.against == "fp32 bytes":
        return found[PLAIN]["transfer"] / found[WINNER]["transfer"]
    if bar.against not in found:
        return None
    return found[bar.against]["p50_ms"] / found[WINNER]["p50_ms"]


def _page(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "# Compression\n"
    for machine in dict.fromkeys(row["machine"] for row in rows):
        cases = [row["case"] for row in rows if row["machine"] == machine]
        yield f"`python bench/bench_compress.py {' '.join(cases)}` on {machine}."
    yield "Searches had the minutes in the last column of the last table."
    yield "What is compared in a case was timed in one race, one sample at a time on all cores.\n"
    yield "## Bars\n"
    yield "A bar is met where the figure reaches it and the budget is proven to be met.\n"
    yield "| model and data | against | figure | bar | met |"
    yield "|---" * 5 + "|"
    for row in rows:
        for bar in case(row["case"]).bars:
            yield _verdict(bar, row)
    yield from _artifact_table(rows)
    yield from _certificate_table(rows)


def _verdict(bar: Bar, row: dict[str, Any]) -> str:
    figure, least = _figure(bar, row), f"{bar.at_least:g}×"
    title = case(row["case"]).title
    if figure is None:
        return f"| {title} | {bar.against} | there is none | {least} | no |"
    met = "yes" if figure >= bar.at_least and row["status"] == "MET" else "no"
    return f"| {title} | {bar.against} | {figure:.2f}× | {least} | {met} |"


def _artifact_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "\n## Artifacts\n"
    yield "Medians with their 95 % intervals; bytes after DEFLATE; the drop on at most"
    yield f"{SCORED:,} of the samples that the search chose by.\n"
    yield "| case | artifact | recipe | p50 ms | to transfer MB | drop |"
    yield "|---" * 6 + "|"
    for row in rows:
        for role, held in row["artifacts"].items():
            yield (
                f"| {row['case']} | {role} | {held['recipe']} "
                f"| {held['p50_ms']:.3f} ({held['low_ms']:.3f} to {held['high_ms']:.3f}) "
                f"| {held['transfer'] / 1e6:.3f} | {held['drop']:.4f} |"
            )


def _certificate_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "\n## Certificates\n"
    yield "The drop of the winner on samples that the search never saw, and its upper bound.\n"
    yield "| case | fp32 | drop | bound | allowed | samples | status | search min (of) |"
    yield "|---" * 8 + "|"
    for row in rows:
        held = row["certificate"]
        yield (
            f"| {row['case']} | {row['fp32']:.4f} | {held['drop']:.4f} | {held['bound']:.4f} "
            f"({held['confidence']:.0%}) | {held['max_drop']:g} | {held['n']:,} "
            f"| {row['status']} | {row['minutes']:.1f} ({row['allowed']:g}) |"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER", help="prepare there, and stop")
    parser.add_argument("--minutes", type=float, default=30.0, help="the most for each search")
    parser.add_argument("--seconds", type=float, default=5.0, help="on the clock, each artifact")
    return parser.parse_args()


if __name__ == "__main__":
    main()
