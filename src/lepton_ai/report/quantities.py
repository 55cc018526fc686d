"""Quantities as people read them; a dash for what was not measured."""

import math
from html import escape

ABSENT = "–"


def significant(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else ABSENT
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, 6)}f}"


def milliseconds(value: float | None) -> str:
    """A time given in milliseconds."""
    return ABSENT if value is None else f"{significant(value)} ms"


def megabytes(count: float | None) -> str:
    """A number of bytes, in megabytes of 10^6 bytes."""
    return ABSENT if count is None else f"{significant(count / 1e6)} MB"


def memory(count: float) -> str:
    """A number of bytes of memory, in gigabytes of 10^9 bytes."""
    return f"{significant(count / 1e9)} GB"


def amount(value: float | None) -> str:
    """A score in the metric's own unit."""
    return ABSENT if value is None else f"{value:.4f}".replace("-", "−")


def limit(value: float | None) -> str:
    """A bound in the metric's own unit, rounded up so that it claims no more than was shown."""
    return amount(None if value is None else math.ceil(value * 1e4 - 1e-6) / 1e4)


def percent(share: float) -> str:
    """A share of one, such as a confidence."""
    return f"{100 * share:.4g} %"


def times(value: float | None) -> str:
    """A ratio."""
    return ABSENT if value is None else f"{significant(value)}×"


def count(value: float | None) -> str:
    """A whole number."""
    return ABSENT if value is None else f"{round(value):,}"


def shown(value: str) -> str:
    """Text that is safe inside HTML, in an element or in a quoted attribute."""
    return escape(value, quote=True)
