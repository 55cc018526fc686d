"""What stands around the drawing of a graph: its facts above it, and what was found beside it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lepton_ai.report.picture.marks import SHADES, Kernel, Marks, large
from lepton_ai.report.picture.svg import FAMILIES, OTHERS
from lepton_ai.report.quantities import count, megabytes, milliseconds, percent, shown, times
from lepton_ai.report.reading import Record, number, part, parts, text, texts

#: More rows than this of one kind are counted rather than listed.
MOST_LISTED = 300
#: The slowest kernels that are listed.
SLOWEST = 12
#: The branches of one group that are named.
MOST_CHAINS = 4
#: A row of a list: the key of its nodes, what it says, and a small line.
Row = tuple[str, str, str]


def header(report: Record, outline: Mapping[str, Any]) -> str:
    """The name and the facts in one line."""
    facts = [
        ("nodes", count(number(report, "nodes") or len(outline["nodes"]))),
        ("parameters", large(number(report, "parameters"))),
        ("multiply-accumulates", large(number(report, "macs"))),
        ("on disk", megabytes(number(report, "bytes"))),
        ("findings", count(len(parts(report, "findings")))),
    ]
    ratio = number(report, "parallelism", "ratio")
    if ratio is not None:
        facts.append(("work over span", times(ratio)))
    if part(report, "profile"):
        threads = count(number(report, "profile", "threads"))
        engine = text(report, "profile", "engine")
        word = f"one call in {engine}, {threads} thread{'' if threads == '1' else 's'}"
        facts.append((word, milliseconds(number(report, "profile", "milliseconds"))))
    told = "".join(f"<div><dd>{fact}</dd><dt>{shown(word)}</dt></div>" for word, fact in facts)
    name = text(report, "name") or str(outline["name"]) or "graph"
    return f'<header><h1>{shown(name)}</h1><dl class="line">{told}</dl></header>'


def legend(report: Record, total: float) -> str:
    """What the colours mean."""
    shades = ""
    if total:
        bounds = [percent(share) for share in SHADES]
        words = [f"under {bounds[0]}", *(f"from {bound}" for bound in bounds)]
        engine = shown(text(report, "profile", "engine") or "the engine")
        shades = f"<p>fill: share of the time in {engine}</p>" + "".join(
            _swatch(f"t{at}", word) for at, word in enumerate(words)
        )
    unknown = "engine does not tell" if total else "time not measured"
    families = [*((key, word) for key, (word, _) in FAMILIES.items()), OTHERS]
    return (
        f'<details class="legend" open><summary>Legend</summary>{shades}'
        f"{_swatch('tu', unknown)}<p>border: kind of operator</p>"
        + "".join(_swatch(f"tu {key}", word) for key, word in families)
        + '<p><b class="mark">2</b> findings &nbsp; <b class="mark x">×</b> refused by an engine'
        "</p></details>"
    )


def _swatch(style: str, word: str) -> str:
    return (
        f'<span><svg width="20" height="14"><g class="n {style}"><rect x="1" y="1" width="18" '
        f'height="12"/></g></svg>{word}</span>'
    )


def panel(report: Record, marks: Marks) -> str:
    """The lists beside the drawing; a row shows its nodes in it."""
    kernels = [
        (f"k{at}", _kernel(kernel), marks.told(kernel.milliseconds))
        for at, kernel in slowest(marks)
    ]
    branches = [
        (f"p{at}", _beside(group.chains), f"{count(len(group.nodes))} nodes")
        for at, group in enumerate(marks.branches)
    ]
    notes = "".join(f"<p>{shown(note)}</p>" for note in texts(report, "notes"))
    return (
        _findings(report)
        + _engines(report, marks)
        + _section("Slowest kernels", len(kernels), _list(kernels))
        + _section("Can run side by side", len(branches), _list(branches))
        + (_section("Notes", None, notes) if notes else "")
    )


def slowest(marks: Marks) -> list[tuple[int, Kernel]]:
    """The kernels that take the most time, with their places in the profile."""
    ranked = sorted(enumerate(marks.kernels), key=lambda one: -one[1].milliseconds)
    return [(at, kernel) for at, kernel in ranked[:SLOWEST] if kernel.milliseconds > 0]


def _kernel(kernel: Kernel) -> str:
    return f"{kernel.operator} {kernel.name}" if kernel.operator else kernel.name


def _beside(chains: Sequence[str]) -> str:
    more = len(chains) - MOST_CHAINS
    return " ∥ ".join(chains[:MOST_CHAINS]) + (f" ∥ {more} more" if more > 0 else "")


def _findings(report: Record) -> str:
    kinds: dict[str, list[Row]] = {}
    every = parts(report, "findings")
    for at, finding in enumerate(every):
        row = f"f{at}", text(finding, "sentence"), ", ".join(_saved(finding))
        kinds.setdefault(text(finding, "kind"), []).append(row)
    told = "".join(
        f"<h3>{shown(kind)} <small>{len(rows):,}</small></h3>{_list(rows)}"
        for kind, rows in kinds.items()
    )
    return _section("Findings", len(every), told or "<p>Nothing redundant was found.</p>")


def _saved(finding: Record) -> Iterator[str]:
    """What the removal of a finding spares, in words."""
    nodes, macs = number(finding, "saved_nodes"), number(finding, "saved_macs")
    size = number(finding, "saved_bytes")
    if nodes:
        yield f"{count(nodes)} node{'' if nodes == 1 else 's'} fewer"
    if macs:
        yield f"{large(macs)} MACs fewer"
    if size:
        yield f"{large(size)}B less"


def _engines(report: Record, marks: Marks) -> str:
    told = ""
    for fit in parts(report, "fits"):
        engine, takes = text(fit, "engine"), bool(fit.get("takes"))
        why = f"<p>{shown(text(fit, 'why'))}</p>" if text(fit, "why") else ""
        word = "takes it" if takes else "refuses it"
        if not takes and fit.get("takes_rewritten"):
            word += ", and takes it rewritten"
        rows = [
            (f"r{at}", one.node, one.why)
            for at, one in enumerate(marks.refused)
            if one.engine == engine
        ]
        told += (
            f'<h3>{shown(engine)} <span class="badge {"met" if takes else "missed"}">{word}</span>'
            f"</h3>{why}{_list(rows)}"
        )
    return _section("Engines", None, told) if told else ""


def _section(title: str, size: int | None, content: str) -> str:
    if size == 0 and title != "Findings":
        return ""
    told = "" if size is None else f" <small>{size:,}</small>"
    return f"<details open><summary>{title}{told}</summary>{content}</details>"


def _list(rows: Sequence[Row]) -> str:
    listed = "".join(
        f'<li><button type="button" data-key="{key}">{shown(label) or "–"}'
        f"{f'<small>{shown(small)}</small>' if small else ''}</button></li>"
        for key, label, small in rows[:MOST_LISTED]
    )
    more = len(rows) - MOST_LISTED
    return f"<ul>{listed}</ul>" + (f"<p>and {more:,} more</p>" if more > 0 else "")
