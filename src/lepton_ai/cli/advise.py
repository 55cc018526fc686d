"""``lepton advise``: which method fits a model, its data and this machine."""

import json
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from lepton_ai.plan.advising.advice import Advice


def advise(
    model: ModelPath,
    data: Data,
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
    as_json: AsJson = False,
) -> None:
    """Measure for about a minute, and rank the methods that optimize would try, with reasons.

    The options are those of the search to follow, which does not try again what was tried.
    Exits with 2 when the input cannot be used.
    """
    from lepton_ai.cli.progress import ProgressLine
    from lepton_ai.pipeline.advise import advise as run
    from lepton_ai.plan.budget import Budget

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
        advice = run(
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
    if as_json:
        sys.stdout.write(json.dumps(advice.to_json(), indent=2, allow_nan=False) + "\n")
    else:
        _show(advice)


def _show(advice: "Advice") -> None:
    from rich.console import Console

    from lepton_ai.cli.advise_table import facts_in_words, table

    console = Console(highlight=False)
    for line in facts_in_words(advice):
        console.print(line, markup=False, soft_wrap=True)
    console.print(table(advice))
    for note in advice.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)
