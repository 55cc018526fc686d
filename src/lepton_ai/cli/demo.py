"""``lepton demo``: the main job on real weights and real data, from download to an answer."""

import json
import tempfile
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer

_SENTENCES = (
    "This is the best thing that has happened to me all week!",
    "The battery died again and nobody answers my calls.",
)
_UNSEEN = 12_000
_MISSED = 3


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")] = Path(
        "sentiment.lepton"
    ),
    minutes: Annotated[float, typer.Option(help="How long the search may take.")] = 4.0,
    max_drop: Annotated[float, typer.Option(help="The loss of accuracy allowed.")] = 0.01,
) -> None:
    """Fine-tune a real encoder on real tweets, compress it within a budget, prove it, serve it.

    An earlier bundle at the output path is replaced. Exits with 0 when the budget is met, 3 when
    it is missed.
    """
    from rich.console import Console

    from lepton_ai.bundle.pack import check_target
    from lepton_ai.cli.progress import ProgressLine
    from lepton_ai.pipeline.optimize import optimize
    from lepton_ai.plan.budget import Budget

    check_target(output, True)
    budget = Budget(max_drop=max_drop, minutes=minutes)
    console = Console(highlight=False)
    with ProgressLine() as line, tempfile.TemporaryDirectory(prefix="lepton-demo-") as folder:
        model, data = _prepare(line, Path(folder))
        result = optimize(
            str(model), data, text="text", label="label", budget=budget, progress=line.show
        )
        bundle = result.save(output, overwrite=True)
    _ask(bundle, console)
    _show({**result.record, "bundle": str(bundle)}, console)
    if result.status != "MET":
        raise typer.Exit(_MISSED)


def _prepare(line: Any, folder: Path) -> tuple[Path, Path]:
    """The fine-tuned model, and a file of tweets that it has not seen."""
    from lepton_ai.demo.assets import MINILM, TWEETS, fetch
    from lepton_ai.demo.sentiment import Schedule, fine_tuned
    from lepton_ai.demo.tweets import read_tweets, write_csv
    from lepton_ai.measure.machine import fingerprint
    from lepton_ai.plan.job import Event
    from lepton_ai.train.fit import TrainStep

    def show(step: TrainStep) -> None:
        if step.step % 25 == 0 or step.step == step.steps:
            words = f"loss {step.loss:.3f}, {step.samples_per_second:.0f} tweets/s"
            line.show(Event(stage="fine-tune", text=words, done=step.step - 1, total=step.steps))

    line.show(Event(stage="fetch", text="MiniLM-L6 sentence encoder, 22.7 M parameters"))
    encoder = fetch(MINILM)
    line.show(Event(stage="fetch", text="tweets with three sentiments"))
    learn, unseen = read_tweets(fetch(TWEETS))
    model = fine_tuned(encoder, learn, Schedule.for_machine(fingerprint().isa), show)
    data = folder / "unseen.csv"
    write_csv(unseen[:_UNSEEN], data)
    return model, data


def _ask(bundle: Path, console: Any) -> None:
    """Serve the bundle on a free port, ask it two sentences over HTTP, and stop."""
    from lepton_ai.bundle.load import load
    from lepton_ai.serve.server import running

    with load(bundle) as net, running(net) as address:
        console.print(f"Serving {bundle} at {address}", markup=False)
        for sentence in _SENTENCES:
            request = urllib.request.Request(
                f"{address}/predict/{net.name}",
                data=json.dumps({"text": sentence}).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                answer = json.load(response)
            console.print(f"  {sentence!r} → {json.dumps(answer)}", markup=False)


def _show(record: dict[str, Any], console: Any) -> None:
    from lepton_ai.cli.before_after import before_after, in_words

    console.print(before_after(record))
    console.print(in_words(record), markup=False)
    console.print(f"{record['status']}: {record['why']}", markup=False)
    console.print(f"Bundle: {record['bundle']}", markup=False)
    console.print(f"Report: {Path(record['bundle']) / 'report.html'}", markup=False)
    console.print(f"Serve it: lepton serve {record['bundle']}", markup=False)
