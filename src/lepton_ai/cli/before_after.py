"""The tables at the end of a search: before and after, and why the others lost."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table


def before_after(record: Mapping[str, Any]) -> Table:
    """The baseline, the plain engines in fp32, and what ships, side by side."""
    table = Table(title=f"{escape(record['name'])}: before and after")
    table.add_column("")
    for heading in ("size", "p50", "throughput", record["metric"]["name"], "speed-up"):
        table.add_column(heading, justify="right")
    baseline, best = record["baseline"], record["best"]
    _add(table, f"before: {baseline['name']}", baseline["measurement"], 1.0)
    base_p50 = baseline["measurement"]["latency"]["p50_ms"]
    for plain in record["plain"]:
        if plain["name"] not in (baseline["name"], best["name"]):
            p50 = plain["latency"]["p50_ms"]
            speed = base_p50 / p50
            table.add_row(
                escape(f"plain: {plain['name']}"), "", f"{p50:.2f} ms", "", "", f"{speed:.1f}×"
            )
    _add(table, f"after: {best['name']}", best["measurement"], best["speedup"], bold=True)
    return table


def in_words(record: Mapping[str, Any]) -> str:
    """How much faster and smaller what ships is, against the baseline and each plain engine."""
    best = record["best"]
    faster = [f"{best['speedup']:.2f}× as fast as {record['baseline']['name']}"]
    faster += [
        f"{times:.2f}× as fast as {name}"
        for name, times in best["speedup_over_plain"].items()
        if name not in (record["baseline"]["name"], best["name"])
    ]
    return f"{', '.join(faster)}; {best['bytes_of_baseline']:.0%} of the bytes."


def lost(record: Mapping[str, Any]) -> Table:
    """Every recipe that was tried and does not ship, with why."""
    table = Table(title="Tried")
    table.add_column("recipe")
    table.add_column("p50", justify="right")
    table.add_column("verdict")
    table.add_column("why", overflow="fold")
    for trial in record["tried"]:
        measured = trial["measurement"]
        p50 = f"{measured['latency']['p50_ms']:.2f} ms" if measured else ""
        table.add_row(escape(trial["name"]), p50, trial["verdict"], escape(trial["why"]))
    return table


def _add(
    table: Table, name: str, measured: Mapping[str, Any], speedup: float, *, bold: bool = False
) -> None:
    score = "" if measured["score"] is None else f"{measured['score']:.4f}"
    table.add_row(
        escape(name),
        f"{measured['bytes_on_disk'] / 1e6:.1f} MB",
        f"{measured['latency']['p50_ms']:.2f} ms",
        f"{measured['throughput']:.0f}/s",
        score,
        f"{speedup:.1f}×",
        style="bold" if bold else None,
    )
