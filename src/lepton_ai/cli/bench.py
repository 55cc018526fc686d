"""``lepton bench``: models, bundles and engines timed beside one another."""

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lepton_ai.cli.options import AsJson, Engines, Label, Text
from lepton_ai.cli.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

    from lepton_ai.pipeline.bench import Timed


def bench(
    models: Annotated[
        list[str], typer.Argument(help="Bundles, ONNX files or Hugging Face folders.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="Samples to call with.", show_default="made-up calls")
    ] = None,
    text: Text = None,
    label: Label = None,
    engine: Engines = None,
    threads: Annotated[
        int | None, typer.Option(help="For each.", show_default="all cores; a bundle's own plan")
    ] = None,
    seconds: Annotated[float, typer.Option(help="On the clock, for each.")] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Time models in turns, each in a process of its own, beside the first that runs, the base.

    Exits with 2 when the input cannot be used.
    """
    from lepton_ai.pipeline.bench import bench as run

    timed = run(
        models,
        data,
        text=text,
        label=label,
        engines=engine or None,
        threads=threads,
        seconds=seconds,
    )
    if as_json:
        typer.echo(json_text.dumps([one.to_json() for one in timed], indent=2, allow_nan=False))
        return
    from rich.console import Console

    Console().print(_table(timed))


def _table(timed: "tuple[Timed, ...]") -> "Table":
    from rich.table import Table
    from rich.text import Text as Words

    table = Table()
    table.add_column("what", overflow="fold")
    for heading in ("p50 ms", "p99 ms", "× base", "load s", "memory MB", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for one in timed:
        size = f"{one.bytes_on_disk / 1e6:.1f}"
        name = Words(printable(one.name))
        if one.latency is None or one.ratio is None:
            table.add_row(name, *[""] * 5, size, Words(printable(one.why or "")))
            continue
        memory = "" if one.peak_memory_mb is None else f"{one.peak_memory_mb:.0f}"
        table.add_row(
            name,
            f"{one.latency.p50_ms:.3f}",
            f"{one.latency.p99_ms:.3f}",
            f"{one.ratio:.2f} ({one.low:.2f}–{one.high:.2f})",
            f"{one.load_seconds:.2f}",
            memory,
            size,
            one.verdict,
        )
    return table
