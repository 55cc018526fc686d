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
    fired = texts(rewrite, "fired")
    # One that is slower is not even asked whether it is equal; the sentence beside it says which.
    badge, word = ("front", "equal") if equal else ("rejected", "not used")
    inner = "".join(f"<li>{shown(each)}</li>" for each in fired)
    detail = f"<ul>{inner}</ul>" if inner else '<p class="small">No rule fired.</p>'
    before, after = number(rewrite, "nodes_before"), number(rewrite, "nodes_after")
    nodes = "" if before is None or after is None else f"{count(before)} → {count(after)} nodes. "
    why = text(rewrite, "why")
    return (
        f"<li><strong>{shown(text(rewrite, 'name'))}</strong> "
        f'<span class="badge {badge}">{word}</span> {nodes}{shown(why)}{detail}</li>'
    )
