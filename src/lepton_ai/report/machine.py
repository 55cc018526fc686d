"""Where everything was measured, and for how long."""

from collections.abc import Mapping
from typing import Any

from lepton_ai.report.quantities import memory, shown, significant
from lepton_ai.report.reading import Record, is_list, number, part, texts


def section(record: Record) -> str:
    """The machine's facts as they were recorded, and the owner's notes."""
    facts = {_label(key): _value(key, value) for key, value in part(record, "machine").items()}
    seconds = number(record, "seconds")
    if seconds is not None:
        facts["Search took"] = f"{significant(seconds)} s"
    rows = "".join(
        f"<div><dt>{shown(label)}</dt><dd>{shown(value)}</dd></div>"
        for label, value in facts.items()
        if value
    )
    notes = "".join(f"<li>{shown(note)}</li>" for note in texts(record, "notes"))
    kept = f"<section><h2>Notes</h2><ul>{notes}</ul></section>" if notes else ""
    if not rows:
        return kept
    return f'{kept}<section><h2>Machine</h2><dl class="facts">{rows}</dl></section>'


def _label(key: str) -> str:
    known = {"cpu": "Processor", "isa": "Instruction sets", "memory_bytes": "Memory"}
    return known.get(key, key.replace("_", " ").capitalize())


def _value(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key.endswith("_bytes") and isinstance(value, int | float):
        return memory(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    if is_list(value):
        return ", ".join(map(str, value))
    return str(value)
