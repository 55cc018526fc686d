"""``lepton rewrite``: the same answers from a smaller or faster graph."""

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lepton_ai.cli.printable import printable

if TYPE_CHECKING:
    from lepton_ai.pipeline.rewrite import RewriteReport, Step

#: Reasons of one step shown on a screen; ``--json`` has all.
MOST_REASONS = 12


def rewrite(
    model: Annotated[str, typer.Argument(help="An ONNX file or a Hugging Face folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")],
    engine: Annotated[
        str | None, typer.Option(help="Do what this engine's kernels want as well.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Samples to compare answers on.", show_default="generated inputs"),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The column that holds the text.")] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(help="NAME=SIZE: give a symbolic size a fixed value.")
    ] = None,
    opset: Annotated[int | None, typer.Option(help="Convert to this opset.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output.")
    ] = False,
) -> None:
    """Rewrite a graph, prove that it answers as before, and keep what is not slower."""
    from lepton_ai.pipeline.rewrite import rewrite as run

    report = run(
        model,
        output,
        engine=engine,
        data=data,
        text=text,
        freeze=sizes_of(freeze or []),
        opset=opset,
        overwrite=overwrite,
    )
    if json:
        typer.echo(json_text.dumps(report.to_json(), indent=2))
        return
    _print(report)


def sizes_of(pairs: list[str]) -> dict[str, int]:
    """``NAME=SIZE`` pairs as a dictionary.

    Raises:
        typer.BadParameter: a pair is not of that form, or names a size twice.
    """
    sizes: dict[str, int] = {}
    for pair in pairs:
        name, equals, size = pair.partition("=")
        if not name or not equals or not size.strip().isdecimal():
            raise typer.BadParameter(f"--freeze wants NAME=SIZE, such as batch=1, and got {pair!r}")
        if name in sizes:
            raise typer.BadParameter(f"--freeze gives {name!r} twice")
        sizes[name] = int(size)
    return sizes


def _print(report: "RewriteReport") -> None:
    lines = [line for step in report.steps for line in _lines(step)]
    compared = "generated" if report.generated else "real"
    lines.append(
        f"{report.nodes_before:,} → {report.nodes_after:,} nodes, "
        f"{report.bytes_before / 1e6:,.1f} → {report.bytes_after / 1e6:,.1f} MB, "
        f"equal on {report.calls} {compared} calls"
    )
    lines.append(f"Written: {report.output}")
    typer.echo("\n".join(map(printable, lines)))


def _lines(step: "Step") -> list[str]:
    """A step in words: its verdict, what fired, what was undone."""
    verdict = "kept" if step.kept else "dropped"
    lines = [f"{step.name}: {verdict}, {step.why}"]
    reasons = step.rewriting.in_words()
    lines += [f"  {words}" for words in reasons[:MOST_REASONS]]
    more = len(reasons) - MOST_REASONS
    lines += [f"  and {more} more; --json lists all"] if more > 0 else []
    lines += [
        f"  rolled back: {one.firing.rule} at {', '.join(one.firing.nodes)}: {one.why}"
        for one in step.rewriting.rolled_back
    ]
    lines += [f"  left out: {failed}" for failed in step.rewriting.failed]
    missed = len(step.rewriting.near_misses)
    lines += (
        [f"  left alone: {missed} place{'s' * (missed > 1)}; --json tells why"] if missed else []
    )
    return lines
