"""`lepton doctor`: what this machine can run, what is missing, and the one command that adds it."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lepton_ai.errors import LeptonError

if TYPE_CHECKING:
    from rich.console import Console

#: Extras that are not for running Lepton: development, and the sum of the others.
_NOT_LISTED = ("all", "dev")
_REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+).*;\s*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"]")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what this machine can run, what is missing, and the one command that adds it."""
    findings = examine()
    if as_json:
        typer.echo(json.dumps(findings, indent=2))
        return
    from rich.console import Console

    _show(Console(), findings)


def examine() -> dict[str, Any]:
    """The findings that ``lepton doctor --json`` prints.

    ``isa`` gives for each instruction set extension found what it unlocks; ``engines`` and
    ``extras`` say for each whether it is there, and the command that adds it where it is not.
    """
    from lepton_ai import __version__
    from lepton_ai.measure.machine import ISA_MEANING, fingerprint

    machine = fingerprint()
    return {
        "version": __version__,
        "machine": {**machine.to_json(), "key": machine.key},
        "isa": {name: ISA_MEANING[name] for name in machine.isa},
        "engines": list(_engine_findings()),
        "extras": list(_extra_findings()),
    }


def _engine_findings() -> Iterator[dict[str, Any]]:
    from lepton_ai.engines.engine import engines

    for name in engines.names():
        try:
            engine = engines.get(name)()
            state = engine.available()
            precisions = list(engine.precisions()) if state.ok else []
        except LeptonError as failure:
            yield _engine(name, False, str(failure), "", [])
        else:
            yield _engine(name, state.ok, state.reason, state.remedy, precisions)


def _engine(name: str, ok: bool, reason: str, remedy: str, precisions: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "available": ok,
        "reason": reason,
        "remedy": remedy,
        "precisions": precisions,
    }


def _extra_findings() -> Iterator[dict[str, Any]]:
    from importlib.metadata import requires

    extras: dict[str, list[str]] = {}
    for line in requires("lepton-ai") or ():
        match = _REQUIREMENT.match(line)
        if match and match["extra"] not in _NOT_LISTED:
            extras.setdefault(match["extra"], []).append(match["name"])
    for extra, packages in extras.items():
        missing = [package for package in packages if not _installed(package)]
        yield {
            "name": extra,
            "installed": not missing,
            "missing": missing,
            "remedy": f"pip install 'lepton-ai[{extra}]'" if missing else "",
        }


def _installed(package: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _show(console: "Console", findings: dict[str, Any]) -> None:
    from rich.markup import escape

    machine = findings["machine"]
    console.print(f"[bold]Lepton {findings['version']}[/] on {escape(machine['cpu'])}")
    console.print(
        f"{machine['cores']} cores, {machine['memory_bytes'] / 1e9:.1f} GB of memory, "
        f"{machine['system']}, Python {machine['python']}, key {machine['key']}"
    )
    unlocked = findings["isa"].items() or [("none known", "plain arithmetic only")]
    _table(console, "Instruction sets", ("", "unlocks"), unlocked)
    _table(console, "Engines", ("", "", "precisions", "why"), map(_engine_row, findings["engines"]))
    _table(console, "Extras", ("", "", "missing"), map(_extra_row, findings["extras"]))
    remedies = [e["remedy"] for e in findings["engines"] + findings["extras"] if e["remedy"]]
    for remedy in dict.fromkeys(remedies):
        console.print(f"To add what is missing: [bold]{escape(remedy)}[/]", soft_wrap=True)
    if not remedies:
        console.print("Nothing is missing.")


def _engine_row(engine: dict[str, Any]) -> tuple[str, ...]:
    state = "ready" if engine["available"] else "missing"
    return engine["name"], state, ", ".join(engine["precisions"]), engine["reason"]


def _extra_row(extra: dict[str, Any]) -> tuple[str, ...]:
    state = "installed" if extra["installed"] else "missing"
    return extra["name"], state, ", ".join(extra["missing"])


def _table(console: "Console", title: str, columns: tuple[str, ...], rows: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print()
    console.print(table)
