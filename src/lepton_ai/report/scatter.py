"""Latency against drop: every measured recipe as a point, with the intervals that are known."""

import math
from dataclasses import dataclass

from lepton_ai.report.quantities import amount, milliseconds, shown
from lepton_ai.report.reading import Record, baseline_name, number, parts, text

WIDTH, HEIGHT = 760.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 78.0, 24.0, 24.0, 52.0
#: Recipes that lose more than this many times the budget are drawn at the edge, with an arrow.
FAR = 4.0
#: Beyond this ratio of slowest to fastest the time axis is logarithmic.
WIDE = 4.0
#: Beyond this one there is room for fewer marks per decade.
MANY = 30.0
#: Times (ms) and spans of drops that a plot can hold; beyond them a record is broken.
SLOWEST, LEAST = 1e9, 1e-9


@dataclass(frozen=True, kw_only=True)
class Point:
    """One recipe: times in milliseconds, drops in the metric's unit, ``bound`` where certified."""

    name: str
    kind: str
    time: float
    low: float
    high: float
    drop: float
    bound: float | None = None


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The plot's ranges, and where a value falls in it."""

    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool

    def across(self, time: float) -> float:
        """The abscissa of a time."""
        low, high, value = (*self.x, time)
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, 1e-9))
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(self, drop: float) -> float:
        """The ordinate of a drop, kept inside the plot."""
        low, high = self.y
        share = min(max((drop - low) / (high - low), 0.0), 1.0)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def section(record: Record) -> str:
    """The plot with its legend; empty where fewer than two recipes were measured."""
    points = _points(record)
    if len(points) < 2:
        return ""
    budget = number(record, "budget", "max_drop")
    frame = _frame(points, budget, number(record, "budget", "max_latency_ms"))
    drawing = "".join(
        (
            _axes(frame, text(record, "metric", "name") or "metric"),
            _budget(frame, budget, number(record, "budget", "max_latency_ms")),
            *(_draw(point, frame) for point in points),
        )
    )
    summary = f"{len(points)} recipes by latency and drop; the table below lists them"
    return (
        "<section><h2>Latency against drop</h2>"
        '<p class="legend"><span class="shipped">◆ shipped</span> '
        '<span class="front">● front</span> <span class="rejected">○ rejected</span> '
        '<span class="baseline">■ baseline</span> '
        "Left is faster, down is closer to the original. Bars across are the 95 % interval of the "
        "median; the bar up from what ships ends at its certified bound.</p>"
        f'<div class="wide"><svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-label="{shown(summary)}">{drawing}</svg></div></section>'
    )


def _points(record: Record) -> list[Point]:
    """Baseline first and what ships last, so that nothing covers it."""
    shipped = text(record, "best", "name")
    found = []
    for trial in parts(record, "tried"):
        if text(trial, "name") != shipped:
            found.append(_point(trial, text(trial, "name"), text(trial, "verdict")))
    found.insert(0, _point(record.get("baseline") or {}, baseline_name(record), "baseline"))
    bound = number(record, "certificate", "bound")
    found.append(_point(record.get("best") or {}, shipped, "shipped", bound))
    return [point for point in found if point is not None]


def _point(trial: Record, name: str, kind: str, bound: float | None = None) -> Point | None:
    time = number(trial, "measurement", "latency", "p50_ms")
    drop = number(trial, "measurement", "drop")
    if kind == "baseline":
        drop = 0.0
    if time is None or not 0 < time < SLOWEST or drop is None:
        return None
    low = number(trial, "measurement", "latency", "low_ms")
    high = number(trial, "measurement", "latency", "high_ms")
    return Point(
        name=name,
        kind=kind,
        time=time,
        low=time if low is None else max(min(low, time), time / 1e3),
        high=time if high is None else min(max(high, time), SLOWEST),
        drop=drop,
        bound=bound,
    )


def _frame(points: list[Point], budget: float | None, latency: float | None) -> Frame:
    fastest, slowest = min(p.low for p in points), max(p.high for p in points)
    if latency is not None and fastest / 3 < latency < slowest * 3:
        fastest, slowest = min(fastest, latency), max(slowest, latency)
    logarithmic = slowest / fastest > WIDE
    if logarithmic:
        across = fastest / 1.15, slowest * 1.15
    else:
        margin = 0.06 * (slowest - fastest) or 0.1 * slowest
        across = max(fastest - margin, 0.0), slowest + margin
    highest = max([p.drop for p in points] + [p.bound for p in points if p.bound is not None])
    allowed = budget if budget is not None and budget > LEAST else None
    if allowed:
        highest = min(max(highest, 1.4 * allowed), FAR * allowed)
    lowest = min(0.0, *(p.drop for p in points))
    if allowed:
        lowest = max(lowest, -FAR * allowed)
    room = highest - lowest if highest - lowest > LEAST else 1.0
    return Frame(x=across, y=(lowest - 0.08 * room, highest + 0.08 * room), logarithmic=logarithmic)


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round values within a range: a few per decade, or about five equal steps."""
    if logarithmic:
        digits = (1, 2, 3, 5, 7) if high / low < MANY else (1, 2, 5)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        marks = [m * 10.0**d for d in decades for m in digits]
        return [mark for mark in marks if low <= mark <= high]
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [index * step for index in range(first, last + 1)]


def _axes(frame: Frame, metric: str) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    out = []
    for mark in _ticks(*frame.x, frame.logarithmic):
        x, word = frame.across(mark), f"{mark:g}"
        out.append(
            f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>'
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{word}</text>'
        )
    for mark in _ticks(*frame.y, False):
        y = frame.down(mark)
        out.append(
            f'<line class="{"zero" if mark == 0 else "grid"}" x1="{LEFT}" y1="{y:.1f}" '
            f'x2="{right}" y2="{y:.1f}"/><text x="{LEFT - 8}" y="{y + 4:.1f}" '
            f'text-anchor="end">{f"{mark:g}".replace("-", "−")}</text>'
        )
    middle = (TOP + bottom) / 2
    scale = ", logarithmic" if frame.logarithmic else ""
    out.append(
        f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"median latency of one call, ms{scale}</text>"
        f'<text transform="translate(16 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"drop of {shown(metric)}</text>"
    )
    return "".join(out)


def _budget(frame: Frame, drop: float | None, latency: float | None) -> str:
    out = ""
    if drop is not None and frame.y[0] <= drop <= frame.y[1]:
        y, right = frame.down(drop), WIDTH - RIGHT
        out += (
            f'<line class="budget" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
            f'<text class="budget" x="{right - 4}" y="{y - 6:.1f}" text-anchor="end">'
            f"budget: {drop:g}</text>"
        )
    if latency is not None and frame.x[0] <= latency <= frame.x[1]:
        x, bottom = frame.across(latency), HEIGHT - BOTTOM
        out += (
            f'<line class="budget" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>'
            f'<text class="budget" x="{x + 5:.1f}" y="{bottom - 6}">budget: {latency:g} ms</text>'
        )
    return out


def _draw(point: Point, frame: Frame) -> str:
    x, y = frame.across(point.time), frame.down(point.drop)
    kind = point.kind if point.kind in _MARKS else "rejected"
    low, high = frame.across(point.low), frame.across(point.high)
    shape = f'<line class="bar" x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}"/>'
    if point.bound is not None and point.bound > point.drop:
        top = frame.down(point.bound)
        shape += (
            f'<line class="bar" x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{top:.1f}"/>'
            f'<line class="bar" x1="{x - 5:.1f}" y1="{top:.1f}" x2="{x + 5:.1f}" y2="{top:.1f}"/>'
        )
    beyond = point.drop > frame.y[1]
    shape += _ARROW.format(x=x, y=y) if beyond else _MARKS[kind].format(x=x, y=y)
    if kind in ("shipped", "baseline"):
        shape += _label(kind, x, y)
    told = f"{point.name}: {milliseconds(point.time)}, drop {amount(point.drop)}"
    return f'<g class="point {kind}"><title>{shown(told)}</title>{shape}</g>'


def _label(kind: str, x: float, y: float) -> str:
    """The word beside a mark, on the side that has room."""
    left = x > WIDTH - RIGHT - 90
    offset, anchor = (-11.0, "end") if left else (11.0, "start")
    return f'<text x="{x + offset:.1f}" y="{y - 9:.1f}" text-anchor="{anchor}">{kind}</text>'


_MARKS = {
    "baseline": '<path d="M{x:.1f} {y:.1f}m-5.5 -5.5h11v11h-11z"/>',
    "shipped": '<path d="M{x:.1f} {y:.1f}m0 -9l8 9l-8 9l-8 -9z"/>',
    "front": '<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>',
    "rejected": '<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>',
}
_ARROW = '<path d="M{x:.1f} {y:.1f}m-6 5l6 -10l6 10z"/>'
