"""Every recipe that was tried, with its numbers and the reason for its verdict."""

from lepton_ai.report.quantities import amount, megabytes, milliseconds, shown
from lepton_ai.report.reading import Record, number, parts, text

#: Verdicts in the order in which they are listed.
VERDICTS = ("shipped", "front", "candidate", "rejected", "failed")


def section(record: Record) -> str:
    """The table of recipes; empty where none was tried."""
    tried = sorted(parts(record, "tried"), key=_place)
    if not tried:
        return ""
    rows = "".join(_row(trial) for trial in tried)
    return (
        f"<section><h2>What was tried</h2><p>{len(tried)} recipe{'' if len(tried) == 1 else 's'}. "
        "<em>Front</em> marks those that no other beats in time, size and drop at once.</p>"
        '<div class="wide"><table class="tried"><thead><tr><th scope="col">Recipe</th>'
        '<th scope="col">Verdict</th><th scope="col" class="n">Median</th>'
        '<th scope="col" class="n">Size</th><th scope="col" class="n">Drop</th>'
        f'<th scope="col">Why</th></tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _place(trial: Record) -> tuple[int, float]:
    verdict = text(trial, "verdict")
    rank = VERDICTS.index(verdict) if verdict in VERDICTS else len(VERDICTS)
    time = number(trial, "measurement", "latency", "p50_ms")
    return rank, float("inf") if time is None else time


def _row(trial: Record) -> str:
    verdict = text(trial, "verdict")
    style = verdict if verdict in VERDICTS else "rejected"
    return (
        f'<tr class="{style}"><th scope="row">{shown(text(trial, "name"))}</th>'
        f'<td><span class="badge {style}">{shown(verdict)}</span></td>'
        f'<td class="n">{milliseconds(number(trial, "measurement", "latency", "p50_ms"))}</td>'
        f'<td class="n">{megabytes(number(trial, "measurement", "bytes_on_disk"))}</td>'
        f'<td class="n">{amount(number(trial, "measurement", "drop"))}</td>'
        f"<td>{shown(text(trial, 'why'))}</td></tr>"
    )
