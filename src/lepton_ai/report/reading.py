"""Reading a record that came from a file: what is missing or of another kind is absent."""

import math
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]


def find(record: Record, *path: str) -> Any:
    """The value under nested keys; ``None`` where any of them is missing."""
    value: Any = record
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def number(record: Record, *path: str) -> float | None:
    """The finite number under nested keys, or ``None``."""
    value = find(record, *path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def text(record: Record, *path: str) -> str:
    """The text under nested keys; empty where there is none."""
    value = find(record, *path)
    return "" if value is None or isinstance(value, Mapping | list | tuple) else str(value)


def part(record: Record, *path: str) -> Record:
    """The record under nested keys; empty where there is none."""
    value = find(record, *path)
    return value if isinstance(value, Mapping) else {}


def parts(record: Record, *path: str) -> list[Record]:
    """The records in the list under nested keys."""
    value = find(record, *path)
    return [each for each in value if isinstance(each, Mapping)] if is_list(value) else []


def texts(record: Record, *path: str) -> list[str]:
    """The texts in the list under nested keys."""
    value = find(record, *path)
    return [str(each) for each in value if each is not None] if is_list(value) else []


def is_list(value: Any) -> bool:
    """Whether ``value`` is a sequence other than text."""
    return isinstance(value, list | tuple)


def baseline_name(record: Record) -> str:
    """What the baseline is called: by its name, or by its recipe."""
    return text(record, "baseline", "name") or text(record, "baseline", "recipe") or "baseline"


def best_name(record: Record) -> str:
    """What ships, in words; empty where nothing does."""
    return text(record, "best", "name")


def speedup(record: Record) -> float | None:
    """How many times faster the best is than the baseline, by their medians."""
    given = number(record, "best", "speedup")
    if given is not None:
        return given
    before = number(record, "baseline", "measurement", "latency", "p50_ms")
    after = number(record, "best", "measurement", "latency", "p50_ms")
    return before / after if before and after else None
