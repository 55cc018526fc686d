"""``lepton optimize``: the fastest artifact that is proven to meet a budget."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from lepton_ai.cli.options import (
    AsJson,
    Confidence,
    Data,
    Engines,
    Label,
    MaxDrop,
    MaxLatency,
    MaxMemory,
    MaxSize,
    MaxTransfer,
    Metric,
    Minutes,
    ModelPath,
    Text,
    Train,
)

_MISSED = 3


def optimize(
    model: ModelPath,
    data: Data,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bundle to write; NAME.lepton.")
    ] = None,
    train: Train = None,
    metric: Metric = None,
    text: Text = None,
    label: Label = None,
    max_drop: MaxDrop = 0.01,
    max_latency_ms: MaxLatency = None,
    max_size_mb: MaxSize = None,
    max_transfer_mb: MaxTransfer = None,
    max_memory_mb: MaxMemory = None,
    engine: Engines = None,
    minutes: Minutes = 10.0,
    confidence: Confidence = 0.95,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing bundle.")] = False,
    as_json: AsJson = False,
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
        max_transfer_mb=max_transfer_mb,
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
