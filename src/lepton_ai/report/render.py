"""The document that ``lepton optimize --json`` prints, as one self-contained HTML page."""

from collections.abc import Callable

from lepton_ai.report import (
    comparison,
    machine,
    proof,
    reproduce,
    rewrites,
    scatter,
    summary,
    tried,
)
from lepton_ai.report.quantities import shown
from lepton_ai.report.reading import Record, text
from lepton_ai.report.style import CSS

#: The page from top to bottom.
SECTIONS: tuple[Callable[[Record], str], ...] = (
    summary.section,
    comparison.section,
    proof.section,
    scatter.section,
    tried.section,
    rewrites.section,
    machine.section,
    reproduce.section,
)


def render(record: Record) -> str:
    """One HTML page for a search's record; the same record always gives the same page.

    It needs no script and fetches nothing. What the record lacks is left out; all text is escaped.
    """
    title = f"{text(record, 'name') or 'model'} · Lepton report"
    body = "\n".join(filter(None, (section(record) for section in SECTIONS)))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # A report is data: even if something slipped through, no browser would run or fetch it.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{shown(title)}</title><style>{CSS}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )
