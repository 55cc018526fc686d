"""``lepton optimize``: the fastest artifact that is proven to meet a budget."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

_MISSED = 3

Bound = Annotated[float | None, typer.Option(show_default="no bound")]


def optimize(
    model: Annotated[str, typer.Argument(help="An ONNX file or a Hugging Face folder.")],
    data: Annotated[
        Path, typer.Option(help="Samples: .npz, .csv, .parquet, or a folder of images per class.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bundle to write; NAME.lepton.")
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            help="More samples, to teach thinner networks with.",
            show_default="those that calibrate",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="accuracy, macro-f1, agreement, or path/to/file.py:function."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The column that holds the text.")] = None,
    label: Annotated[str | None, typer.Option(help="The column that holds the label.")] = None,
    max_drop: Annotated[float, typer.Option(help="The loss of the metric allowed.")] = 0.01,
    max_latency_ms: Bound = None,
    max_size_mb: Bound = None,
    max_memory_mb: Bound = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Try this engine; may be given again.", show_default="those that are usually fast"
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(help="How long the search may take.")] = 10.0,
    confidence: Annotated[float, typer.Option(help="Of the certificate.")] = 0.95,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing bundle.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout.")
    ] = False,
) -> None:
    """Find the fastest artifact that is proven to meet the budget; write it as a bundle.

    Exits with 0 when the budget is met, 3 when it is missed (the closest artifact is written all
    the same), 2 when the input cannot be used.
    """
    from lepton_ai.bundle.pack import check_target
    from lepton_ai.cli.progress import ProgressLine
    from lepton_ai.pipeline.optimize import optimize as run
    from lepton_ai.plan.budget import Budget

    target = output or Path(f"{Path(model.rstrip('/')).stem or 'model'}.lepton")
    check_target(target, overwrite)
    budget = Budget(
        max_drop=max_drop,
        max_latency_ms=max_latency_ms,
        max_size_mb=max_size_mb,
        max_memory_mb=max_memory_mb,
        minutes=minutes,
        confidence=confidence,
    )
    # what a metric or a module prints is not part of the document on stdout
    with ProgressLine() as line, redirect_stdout(sys.stderr):
        result = run(
            model,
            data,
            metric=metric,
            budget=budget,
            text=text,
            label=label,
            engines=engine or None,
            train=train,
            progress=line.show,
        )
    record = {**result.record, "bundle": str(result.save(target, overwrite=overwrite))}
    if as_json:
        sys.stdout.write(json.dumps(record, indent=2, allow_nan=False) + "\n")
    else:
        _show(record)
    if result.status != "MET":
        raise typer.Exit(_MISSED)


def _show(record: dict[str, Any]) -> None:
    from rich.console import Console

    from lepton_ai.cli.before_after import before_after, in_words, lost

    console = Console(highlight=False)
    console.print(before_after(record))
    console.print(lost(record))
    console.print(in_words(record), markup=False)
    console.print(f"{record['status']}: {record['why']}", markup=False)
    for note in record["notes"]:
        console.print(f"Note: {note}", markup=False)
    console.print(f"Bundle: {record['bundle']}", markup=False)
