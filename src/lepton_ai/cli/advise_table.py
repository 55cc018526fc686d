"""Advice on a terminal: what was measured in a few lines, and the methods ranked."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from lepton_ai.cli.printable import printable
from lepton_ai.plan.advising.advice import Advice
from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import Estimate

_MILLION = 1e6
#: Operators that are named with their share of the time.
_MOST_OPERATORS = 4


def facts_in_words(advice: Advice) -> Iterator[str]:
    """The facts that the ranking stands on."""
    facts, samples = advice.facts, advice.facts.samples
    yield printable(f"{advice.model}: {facts.milliseconds:.2f} ms a call in {facts.engine}")
    if facts.graph is not None:
        graph = facts.graph
        tables = graph.table_bytes / max(1, graph.float_bytes)
        intensity = "" if graph.intensity is None else f", {graph.intensity:.1f} FLOP per byte"
        yield (
            f"graph: {graph.nodes:,} nodes, {graph.bytes / _MILLION:.1f} MB ({tables:.0%} of the "
            f"weights in tables), {graph.macs / _MILLION:,.0f} million multiply-adds{intensity}"
        )
    yield f"time: {_times(facts)}"
    yield f"processor: {', '.join(facts.isa) or 'none of the extensions that matter'}"
    yield (
        f"samples: {samples.calibrate} to calibrate, {samples.tune} to choose by, "
        f"{samples.certify} to certify on: a drop of {samples.certifiable:.4f} of "
        f"{advice.metric} at the least"
    )


def table(advice: Advice) -> Table:
    """The methods in the order in which they are worth trying, those that cannot be used last."""
    shown = Table(title=f"Advice, after {advice.seconds:.0f} s")
    shown.add_column("", justify="right")
    shown.add_column("method", no_wrap=True)
    for heading in ("speed", "size", "odds", "minutes"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("known", no_wrap=True)
    shown.add_column("why", overflow="fold")
    for place, one in enumerate(advice.ranked, start=1):
        shown.add_row(*_cells(place, one), style="dim" if one.against else None)
    return shown


def _cells(place: int, one: Estimate) -> list[Text | str]:
    if one.against:
        return ["·", one.method, "", "", "", "", "", Text(printable(one.against))]
    why = Text(printable("; ".join(one.reasons)))
    numbers = [f"{1 / one.ratio:.2f}×", f"{one.bytes_ratio:.0%}", f"{one.chance:.0%}"]
    return [str(place), one.method, *numbers, f"{one.minutes:.1f}", one.basis, why]


def _times(facts: Facts) -> str:
    if not facts.pieces:
        return "where it goes is not known"
    by_operator: dict[str, float] = {}
    for piece in facts.pieces:
        by_operator[piece.operator] = by_operator.get(piece.operator, 0.0) + piece.share
    most = sorted(by_operator.items(), key=lambda one: -one[1])[:_MOST_OPERATORS]
    source = f" (profile of {facts.profiled_in})" if facts.profiled_in else " (by their cost)"
    return ", ".join(f"{share:.0%} {printable(name)}" for name, share in most) + source
