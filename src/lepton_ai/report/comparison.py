"""Before and after, side by side."""

from collections.abc import Callable

from lepton_ai.report.quantities import (
    ABSENT,
    amount,
    count,
    megabytes,
    milliseconds,
    shown,
    significant,
    times,
)
from lepton_ai.report.reading import Record, baseline_name, best_name, number, part, parts, text

Row = tuple[str, Callable[[float | None], str], tuple[str, ...], bool]


def _memory(value: float | None) -> str:
    return ABSENT if value is None else f"{significant(value)} MB"


def _seconds(value: float | None) -> str:
    return ABSENT if value is None else f"{significant(value)} s"


def _rate(value: float | None) -> str:
    return ABSENT if value is None else f"{significant(value)} /s"


#: What is shown, how, where it is in a measurement, and whether smaller is better.
ROWS: tuple[Row, ...] = (
    ("Latency, median", milliseconds, ("latency", "p50_ms"), True),
    ("Latency, 90th percentile", milliseconds, ("latency", "p90_ms"), True),
    ("Latency, 99th percentile", milliseconds, ("latency", "p99_ms"), True),
    ("Throughput, samples", _rate, ("throughput",), False),
    ("Size on disk", megabytes, ("bytes_on_disk",), True),
    ("Size to transfer", megabytes, ("bytes_to_transfer",), True),
    ("Peak memory of a process", _memory, ("peak_memory_mb",), True),
    ("Time to load", _seconds, ("load_seconds",), True),
)


def section(record: Record) -> str:
    """A table of the two measurements; empty where there is no baseline."""
    before, after = part(record, "baseline", "measurement"), part(record, "best", "measurement")
    if not before:
        return ""
    rows = "".join(_row(row, before, after) for row in ROWS)
    return (
        '<section><h2>Before and after</h2><div class="wide"><table><thead><tr>'
        '<th scope="col"></th>'
        f'<th scope="col" class="n">Before<span class="small">{shown(baseline_name(record))}</span>'
        f'</th><th scope="col" class="n">After<span class="small">{shown(best_name(record))}</span>'
        f'</th><th scope="col" class="n">Change</th></tr></thead><tbody>{rows}'
        f"{_score(record, before, after)}</tbody></table></div>"
        f"{_runs(before, after)}{_plain(record, after)}</section>"
    )


def _row(row: Row, before: Record, after: Record) -> str:
    label, show, path, smaller = row
    old, new = number(before, *path), number(after, *path)
    if old is None and new is None:
        return ""
    change = ABSENT
    if old and new:
        better = old / new if smaller else new / old
        word = "better" if better >= 1 else "worse"
        # A ratio within half a percent is what two runs of the same thing differ by.
        same = abs(better - 1) < 0.005
        change = "same" if same else f"{times(better if better >= 1 else 1 / better)} {word}"
    return (
        f'<tr><th scope="row">{label}</th><td class="n">{show(old)}</td>'
        f'<td class="n"><strong>{show(new)}</strong></td><td class="n">{change}</td></tr>'
    )


def _score(record: Record, before: Record, after: Record) -> str:
    old, new = number(before, "score"), number(after, "score")
    if old is None and new is None:
        return ""
    drop = number(after, "drop")
    change = ABSENT if drop is None else f"drop {amount(drop)}"
    name = shown(text(record, "metric", "name") or "Metric")
    return (
        f'<tr><th scope="row">{name}</th><td class="n">{amount(old)}</td>'
        f'<td class="n"><strong>{amount(new)}</strong></td><td class="n">{change}</td></tr>'
    )


def _runs(before: Record, after: Record) -> str:
    runs = [number(each, "latency", "runs") for each in (before, after)]
    if None in runs:
        return ""
    return (
        f'<p class="small">Latency is of one call on real samples, timed in turns with the others: '
        f"{count(runs[0])} calls before, {count(runs[1])} after.</p>"
    )


def _plain(record: Record, after: Record) -> str:
    """How the untouched graph did in each engine, in the same race."""
    mine = number(after, "latency", "p50_ms")
    lines = []
    for standing in parts(record, "plain"):
        theirs = number(standing, "latency", "p50_ms")
        if theirs is None or text(standing, "name") in (best_name(record), baseline_name(record)):
            continue
        ratio = "" if not mine else f": what ships is {times(theirs / mine)} as fast"
        lines.append(f"<li>{shown(text(standing, 'name'))}, {milliseconds(theirs)}{ratio}</li>")
    if not lines:
        return ""
    return f"<p>The untouched graph in the same race:</p><ul>{''.join(lines)}</ul>"
