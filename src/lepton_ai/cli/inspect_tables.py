"""An inspection on a terminal: facts, operators, findings, parallelism and fit."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lepton_ai.cli.printable import printable
from lepton_ai.graph.graph_report import Finding, Fit, GraphReport, OperatorRow

#: Operators shown on a screen; ``--json`` has all.
MOST_ROWS = 16
#: Findings of one kind shown on a screen; ``--json`` has all.
MOST_OF_A_KIND = 3
#: Groups of branches, and branches of one group, shown on a screen.
MOST_GROUPS, MOST_BRANCHES = 3, 4
#: Refused nodes of one engine shown on a screen.
MOST_REFUSALS = 4
MILLION = 1e6
LEAST_SHOWN = 0.01

OWN = "+ kernels of the engine's own, fused from several operators or added between them"
#: A kind of finding, and what it would save: nodes, multiply-accumulates, bytes.
_FINDING = "{:<44}{:>10}{:>16}{:>12}"
KINDS = {
    "dead": "dead",
    "constant": "constant",
    "duplicate": "computed twice",
    "no-op": "changes nothing",
    "cancelling": "cancelling pairs",
    "foldable": "foldable into weights",
    "repeated-weights": "repeated weights",
    "unfused-quantisation": "unfused quantisation",
    "loop-invariant": "repeated in a loop",
    "siblings": "siblings that can be one",
}


def print_report(title: str, report: GraphReport, picture: Path | None = None) -> None:
    """Print ``report`` on the terminal, and where its picture is."""
    console = Console(highlight=False)
    console.print(Text(printable(title), style="bold"))
    console.print(Padding(_facts(report), (0, 0, 1, 2)))
    console.print(_operators(report))
    if report.profile is not None:
        console.print(Text(OWN, style="dim"))
    console.print()
    for line in (*_findings(report.findings), *_side_by_side(report), *_fits(report.fits)):
        indent = len(line.plain) - len(line.plain.lstrip())
        console.print(Padding(Text(line.plain.strip(), style=line.style), (0, 0, 0, indent)))
    for note in report.notes:
        console.print(f"note: {printable(note, newlines=True)}", markup=False, soft_wrap=True)
    if picture is not None:
        console.print(f"Picture: {picture}", markup=False, soft_wrap=True)


def _facts(report: GraphReport) -> Table:
    sizes = ", ".join(f"{name} = {size}" for name, size in report.sizes.items())
    at = f", at {sizes}" if sizes else ""
    at += f"; {report.uncounted} nodes not counted" if report.uncounted else ""
    opsets = ", ".join(f"{d or 'ai.onnx'} {v}" for d, v in report.opsets.items())
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for what, value in (
        ("inputs", "\n".join(report.inputs)),
        ("outputs", "\n".join(report.outputs)),
        ("opset", opsets),
        (
            "size",
            f"{report.nodes:,} nodes, {report.parameters:,} parameters, "
            f"{_amount(report.bytes / MILLION)} MB",
        ),
        ("work", f"{_amount(report.macs / MILLION)} million multiply-adds a call{at}"),
        ("parallelism", _ratio(report)),
    ):
        # as text: sizes in brackets are no markup
        table.add_row(what, Text(printable(value, newlines=True)))
    return table


def _ratio(report: GraphReport) -> str:
    side = report.parallelism
    chain = f"longest chain {side.longest_chain:,} of {side.nodes:,} nodes"
    return f"{chain}; work is {side.ratio:.2f} times the span"


def _operators(report: GraphReport) -> Table:
    shares = _shares(report)
    headings = ["nodes", "parameters", "million MACs", "MB moved", "FLOP/byte"]
    if report.profile is not None:
        headings.append(f"time in {report.profile.engine}")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("operator", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right")
    rows = sorted(report.operators, key=lambda row: -shares.get(_bare(row.operator), 0))
    for row in rows[:MOST_ROWS]:
        table.add_row(*_operator_cells(row, shares.pop(_bare(row.operator), None)))
    if len(rows) > MOST_ROWS:
        rest = sum(shares.pop(_bare(row.operator), 0) for row in rows[MOST_ROWS:])
        count = sum(row.count for row in rows[MOST_ROWS:])
        cells = ["", "", "", "", _percent(rest or None)]
        others = f"and {len(rows) - MOST_ROWS} more"
        table.add_row(others, f"{count:,}", *cells[: len(headings) - 1])
    for operator, share in sorted(shares.items(), key=lambda one: -one[1])[:MOST_OF_A_KIND]:
        label = Text(f"+ {printable(operator)}", style="dim")
        table.add_row(label, "", "", "", "", "", _percent(share))
    return table


def _operator_cells(row: OperatorRow, share: float | None) -> list[Text | str]:
    moved = None
    if row.bytes_read is not None and row.bytes_written is not None:
        moved = (row.bytes_read + row.bytes_written) / MILLION
    return [
        Text(printable(row.operator)),
        f"{row.count:,}",
        f"{row.parameters:,}" if row.parameters else "·",
        _amount(None if row.macs is None else row.macs / MILLION),
        _amount(moved),
        _amount(row.intensity),
        _percent(share),
    ]


def _shares(report: GraphReport) -> dict[str, float]:
    """The part of the time that each operator of the engine takes, by its name."""
    if report.profile is None:
        return {}
    whole = sum(kernel.milliseconds for kernel in report.profile.kernels)
    if not whole:  # every kernel took less than the engine's clock can tell
        return {}
    shares: dict[str, float] = {}
    for kernel in report.profile.kernels:
        shares[kernel.operator] = shares.get(kernel.operator, 0) + kernel.milliseconds / whole
    return shares


def _bare(operator: str) -> str:
    return operator.rpartition(".")[2]


def _amount(number: float | None) -> str:
    if number is None:
        return "?"
    if number == 0:
        return "·"
    if number < LEAST_SHOWN:
        return f"<{LEAST_SHOWN}"
    return f"{number:,.2f}" if number < 10 else f"{number:,.0f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _findings(findings: Sequence[Finding]) -> Iterator[Text]:
    """Each kind with what it would save, and the findings of it that save most."""
    if not findings:
        yield Text("nothing redundant was found")
        return
    yield Text(_FINDING.format("findings", "nodes", "million MACs", "MB saved"), style="dim")
    for kind in dict.fromkeys(finding.kind for finding in findings):
        group = [finding for finding in findings if finding.kind == kind]
        times = f" × {len(group)}" if len(group) > 1 else ""
        heading = f"{KINDS.get(kind, kind)}{times}"
        yield Text(_FINDING.format(heading, *_saved(group)).rstrip(), style="bold")
        worth = sorted(group, key=lambda one: (-one.saved_bytes, -one.saved_nodes))
        for finding in worth[:MOST_OF_A_KIND]:
            yield Text(f"  {printable(finding.sentence)}")
        if len(group) > MOST_OF_A_KIND:
            yield Text(f"  and {len(group) - MOST_OF_A_KIND} more", style="dim")


def _saved(group: Sequence[Finding]) -> tuple[str, str, str]:
    nodes = sum(finding.saved_nodes for finding in group)
    macs = sum(finding.saved_macs for finding in group) / MILLION
    moved = sum(finding.saved_bytes for finding in group) / MILLION
    return f"{nodes:,}" if nodes else "·", _amount(macs), _amount(moved)


def _side_by_side(report: GraphReport) -> Iterator[Text]:
    groups = report.parallelism.branches
    if not groups:
        return
    yield Text()
    gain = report.parallelism.ratio
    yield Text(f"can run side by side ({gain:.2f} times as fast at best, all of it)", style="bold")
    for group in groups[:MOST_GROUPS]:
        for place, branch in enumerate(group[:MOST_BRANCHES]):
            yield Text(f"  {'┌' if place == 0 else '│'} {printable(branch)}", overflow="ellipsis")
        if len(group) > MOST_BRANCHES:
            yield Text(f"  │ and {len(group) - MOST_BRANCHES} more", style="dim")
    if len(groups) > MOST_GROUPS:
        yield Text(f"  and {len(groups) - MOST_GROUPS} more groups; --json lists them", style="dim")


def _fits(fits: Sequence[Fit]) -> Iterator[Text]:
    if not fits:
        return
    yield Text()
    yield Text("fit", style="bold")
    for fit in fits:
        yield Text(f"  {printable(_verdict(fit))}")
        for refusal in fit.refusals[:MOST_REFUSALS]:
            unlocked = f"; unlocked by {refusal.unlocked_by}" if refusal.unlocked_by else ""
            named = printable(f"{refusal.operator} {refusal.node}: {refusal.reason}{unlocked}")
            yield Text(f"    {named}")
        if len(fit.refusals) > MOST_REFUSALS:
            yield Text(f"    and {len(fit.refusals) - MOST_REFUSALS} more", style="dim")


def _verdict(fit: Fit) -> str:
    """What an engine says; what it refuses is told node by node where it names nodes."""
    then = ""
    if not fit.takes and fit.takes_rewritten is not None:
        then = ", and takes it rewritten" if fit.takes_rewritten else ", rewritten too"
    named = any(refusal.node for refusal in fit.refusals)
    if fit.takes or not fit.why:
        return fit.why or f"{fit.engine} {'takes' if fit.takes else 'refuses'} the graph{then}"
    return f"{fit.why.partition(':')[0] if named else fit.why}{then}"
