"""The head of the page: what came out, in one sentence and four numbers."""

from lepton_ai.report.quantities import (
    ABSENT,
    limit,
    megabytes,
    milliseconds,
    percent,
    shown,
    significant,
    times,
)
from lepton_ai.report.reading import Record, best_name, number, speedup, text


def section(record: Record) -> str:
    """The verdict, why, and the numbers that people ask for first."""
    met = text(record, "status") == "MET"
    badge = "met" if met else "missed"
    label = "Budget met" if met else "Budget missed"
    name = shown(text(record, "name") or "model")
    ships = best_name(record)
    what = f'<p class="recipe">{shown(ships)}</p>' if ships else ""
    why = text(record, "why")
    return (
        f'<header><p class="kicker">Lepton optimisation report</p><h1>{name}</h1>'
        f'<p><span class="badge {badge}">{label}</span></p>{what}'
        f'<p class="why">{shown(why)}</p>{_tiles(record)}</header>'
    )


def _tiles(record: Record) -> str:
    before = number(record, "baseline", "measurement", "latency", "p50_ms")
    after = number(record, "best", "measurement", "latency", "p50_ms")
    old = number(record, "baseline", "measurement", "bytes_on_disk")
    new = number(record, "best", "measurement", "bytes_on_disk")
    share = f"{significant(100 * new / old, 2)} %" if old and new else ABSENT
    tiles = (
        (times(speedup(record)), "faster", "median of one call"),
        (milliseconds(after), "per call", f"was {milliseconds(before)}"),
        (share, "of the bytes", f"{megabytes(new)}, was {megabytes(old)}"),
        _certified(record),
    )
    cells = "".join(
        f"<div><dt>{shown(label)}</dt><dd>{shown(value)}</dd>"
        f'<dd class="small">{shown(note)}</dd></div>'
        for value, label, note in tiles
        if value != ABSENT
    )
    return f'<dl class="tiles">{cells}</dl>' if cells else ""


def _certified(record: Record) -> tuple[str, str, str]:
    bound = number(record, "certificate", "bound")
    metric = text(record, "certificate", "metric") or text(record, "metric", "name")
    if bound is None:
        return ABSENT, "", ""
    if record["certificate"].get("equal"):
        return "equal", f"to the original in {metric}", "by the equivalence gate"
    confidence = number(record, "certificate", "confidence")
    sure = "" if confidence is None else f"with {percent(confidence)} confidence"
    return f"≤ {limit(bound)}", f"drop of {metric}", sure
