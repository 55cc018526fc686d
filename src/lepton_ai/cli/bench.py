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

#: Columns of a terminal that all of the table takes.
_WIDE = 110


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

    console = Console()
    console.print(_table(timed, wide=console.width >= _WIDE))


def _table(timed: "tuple[Timed, ...]", *, wide: bool) -> "Table":
    """What each took; on a narrow terminal without what can be spared."""
    from rich.table import Table
    from rich.text import Text as Words

    table = Table()
    table.add_column("what", overflow="fold", min_width=20)
    for heading in ("p50 ms", "× base"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold", min_width=12)
    for heading in ("p99 ms", "load s", "memory MB", "MB") if wide else ():
        table.add_column(heading, justify="right", no_wrap=True)
    for one in timed:
        name, size = Words(printable(one.name)), f"{one.bytes_on_disk / 1e6:.1f}"
        if one.latency is None or one.ratio is None:
            more = ["", "", "", size] if wide else []
            table.add_row(name, "", "", Words(printable(f"{one.verdict}: {one.why}")), *more)
            continue
        memory = "" if one.peak_memory_mb is None else f"{one.peak_memory_mb:.0f}"
        more = [f"{one.latency.p99_ms:.3f}", f"{one.load_seconds:.2f}", memory, size]
        ratio = f"{one.ratio:.2f} ({one.low:.2f}–{one.high:.2f})"
        cells = [f"{one.latency.p50_ms:.3f}", ratio, one.verdict]
        table.add_row(name, *cells, *(more if wide else []))
    return table
