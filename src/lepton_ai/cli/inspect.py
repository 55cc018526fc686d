"""``lepton inspect``: what a network computes, what in it is redundant, what can run together."""

import json as json_text
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from lepton_ai.errors import UserError

if TYPE_CHECKING:
    from lepton_ai.graph.graph_report import GraphReport


def inspect(
    model: Annotated[Path, typer.Argument(help="An ONNX file or a Hugging Face folder.")],
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Draw the graph, with what was found, as a page.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Whose times to show; by default the first engine's.")
    ] = None,
    no_engines: Annotated[
        bool, typer.Option("--no-engines", help="Look at the graph alone; run nothing.")
    ] = False,
) -> None:
    """Say what a network computes, what in it is redundant, and what can run in parallel."""
    # Imported here so that listing the commands loads no heavy library.
    from lepton_ai.cli.inspect_tables import print_report
    from lepton_ai.cli.page_file import check_page_file
    from lepton_ai.formats.read import read
    from lepton_ai.pipeline.inspect import inspect as inspect_model

    _check_engine(engine, no_engines)
    if html is not None:
        check_page_file(html)
    with TemporaryDirectory(prefix="lepton-inspect-") as folder:
        known = read(model, Path(folder))
        report = inspect_model(known.path, engines=() if no_engines else None, profile=engine)
        report = replace(report, notes=(*known.notes, *report.notes))
        if html is not None:
            _draw(report, known.path, html)
    if json:
        typer.echo(json_text.dumps({**report.to_json(), "model": str(model)}, indent=2))
        return
    print_report(str(model), report, html)


def _check_engine(engine: str | None, no_engines: bool) -> None:
    from lepton_ai.engines.engine import engines

    if engine is None:
        return
    if no_engines:
        raise UserError("--engine asks for times and --no-engines for none; give one of the two")
    engines.get(engine)


def _draw(report: "GraphReport", path: Path, target: Path) -> None:
    from lepton_ai.cli.page_file import write_page
    from lepton_ai.graph.inspection.outline import outline
    from lepton_ai.report.picture.page import graph_page

    write_page(graph_page(report.to_json(), outline(path).to_json()), target)
