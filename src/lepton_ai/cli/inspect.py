"""``lepton inspect``: what a network computes, what in it is redundant, what can run together."""

import json as json_text
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from lepton_ai.graph.inspect import GraphReport

#: Operators shown on a screen; ``--json`` has all.
MOST_ROWS = 20
#: Findings of one kind shown on a screen; ``--json`` has all.
MOST_OF_A_KIND = 3


def inspect(
    model: Annotated[Path, typer.Argument(help="An ONNX file or a Hugging Face folder.")],
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output.")
    ] = False,
) -> None:
    """Say what a network computes, what in it is redundant, and what can run in parallel."""
    # Imported here so that listing the commands loads no heavy library.
    from lepton_ai.formats.read import read
    from lepton_ai.graph.inspect import inspect_graph

    with TemporaryDirectory(prefix="lepton-inspect-") as folder:
        known = read(model, Path(folder))
        report = inspect_graph(known.path)
    if json:
        record = {**report.to_json(), "model": str(model), "notes": list(known.notes)}
        typer.echo(json_text.dumps(record, indent=2))
        return
    _print(str(model), report, known.notes)


def _print(title: str, report: "GraphReport", notes: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(title=Text(title), title_justify="left", show_header=False)
    table.add_column("what", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    for what, value in _facts(report):
        table.add_row(what, Text(value))  # as text: sizes in brackets are no markup
    console.print(table)
    _print_operators(console, report)
    _print_findings(console, report)
    for note in notes:
        console.print(f"note: {note}", markup=False)


def _facts(report: "GraphReport") -> list[tuple[str, str]]:
    sizes = ", ".join(f"{name} = {size}" for name, size in report.sizes.items())
    at = f", at {sizes}" if sizes else ""
    at += f"; {report.uncounted} nodes of unknown shape not counted" if report.uncounted else ""
    return [
        ("inputs", "\n".join(report.inputs)),
        ("outputs", "\n".join(report.outputs)),
        ("opset", ", ".join(f"{d or 'ai.onnx'} {v}" for d, v in report.opsets.items())),
        ("nodes", f"{report.nodes:,}"),
        ("parameters", f"{report.parameters:,}"),
        ("size", f"{report.bytes / 1e6:,.1f} MB"),
        ("multiply-adds", f"{report.macs / 1e6:,.1f} million{at}"),
        ("longest chain", f"{report.critical_path:,} nodes; {report.parallelism:.2f} side by side"),
    ]


def _print_operators(console: "Console", report: "GraphReport") -> None:
    from rich.table import Table

    table = Table(title="operators", title_justify="left")
    table.add_column("operator")
    for heading in ("nodes", "parameters", "multiply-adds (million)"):
        table.add_column(heading, justify="right")
    for row in report.operators[:MOST_ROWS]:
        macs = "shape not known" if row.macs is None else f"{row.macs / 1e6:,.1f}"
        table.add_row(row.operator, f"{row.count:,}", f"{row.parameters:,}", macs)
    if len(report.operators) > MOST_ROWS:
        table.add_row(f"and {len(report.operators) - MOST_ROWS} more", "", "", "")
    console.print(table)


def _print_findings(console: "Console", report: "GraphReport") -> None:
    if not report.findings:
        console.print("nothing redundant was found")
    shown: dict[str, int] = {}
    for finding in report.findings:
        shown[finding.kind] = shown.get(finding.kind, 0) + 1
        if shown[finding.kind] <= MOST_OF_A_KIND:
            console.print(f"{finding.kind}: {finding.sentence}", markup=False, soft_wrap=True)
    for kind, count in shown.items():
        if count > MOST_OF_A_KIND:
            console.print(f"{kind}: and {count - MOST_OF_A_KIND} more; --json lists all")
