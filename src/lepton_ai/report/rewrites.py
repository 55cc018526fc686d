"""What was rewritten in the graph, and whether the gate let it through."""

from lepton_ai.report.quantities import count, shown
from lepton_ai.report.reading import Record, number, parts, text, texts


def section(record: Record) -> str:
    """One entry per rewrite; empty where none was applied."""
    rows = "".join(_entry(rewrite) for rewrite in parts(record, "rewrites"))
    if not rows:
        return ""
    return (
        "<section><h2>Graph rewrites</h2><p>A rewrite is used only if its graph gives the "
        f'original\'s answers.</p><ul class="rewrites">{rows}</ul></section>'
    )


def _entry(rewrite: Record) -> str:
    equal = rewrite.get("equal") is True
    # One that is slower is not even asked whether it is equal; the sentence beside it says which.
    badge, word = ("front", "equal") if equal else ("rejected", "not used")
    before, after = number(rewrite, "nodes_before"), number(rewrite, "nodes_after")
    nodes = "" if before is None or after is None else f"{count(before)} → {count(after)} nodes. "
    why = text(rewrite, "why")
    return (
        f"<li><strong>{shown(text(rewrite, 'name'))}</strong> "
        f'<span class="badge {badge}">{word}</span> {nodes}{shown(why)}'
        f"{_fired(rewrite)}{_undone(rewrite)}{_left_alone(rewrite)}</li>"
    )


def _fired(rewrite: Record) -> str:
    inner = "".join(f"<li>{shown(each)}</li>" for each in texts(rewrite, "fired"))
    return f"<ul>{inner}</ul>" if inner else '<p class="small">No rule fired.</p>'


def _undone(rewrite: Record) -> str:
    """What changed an answer and was rolled back, and the rules that failed."""
    rows = [
        f"rolled back: {text(one, 'rule')} at {', '.join(texts(one, 'nodes'))}: {text(one, 'why')}"
        for one in parts(rewrite, "rolled_back")
    ]
    rows += [f"left out: {failed}" for failed in texts(rewrite, "failed")]
    inner = "".join(f"<li>{shown(row)}</li>" for row in rows)
    return f"<p>Undone:</p><ul>{inner}</ul>" if inner else ""


def _left_alone(rewrite: Record) -> str:
    """Patterns that were found and left as they are, folded away: there may be many."""
    misses = parts(rewrite, "near_misses")
    rows = "".join(
        f"<li>{shown(text(one, 'rule'))}: {shown(text(one, 'why'))} "
        f"({count(number(one, 'count') or 0)} nodes, {shown(', '.join(texts(one, 'nodes')))})</li>"
        for one in misses
    )
    if not rows:
        return ""
    return f"<details><summary>Found and left alone, and why</summary><ul>{rows}</ul></details>"
