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

    ``isa`` gives for each instruction set extension found what it unlocks, ``isa_missing`` the same
    for those that other processors of this kind have; ``engines`` and ``extras`` say for each
    whether it is there, and the command that adds it where it is not.
    """
    from lepton_ai import __version__
    from lepton_ai.engines.processor import (
        ISA_MEANING,
        isa_of_this_kind,
        logical_cpus,
        numa_nodes,
    )
    from lepton_ai.measure.accelerators import accelerators
    from lepton_ai.measure.machine import fingerprint

    machine = fingerprint()
    missing = [name for name in isa_of_this_kind() if name not in machine.isa]
    return {
        "version": __version__,
        "machine": {**machine.to_json(), "key": machine.key},
        "topology": {
            "cores": machine.cores,
            "threads": logical_cpus(),
            "numa_nodes": numa_nodes(),
        },
        "isa": {name: ISA_MEANING[name] for name in machine.isa},
        "isa_missing": {name: ISA_MEANING[name] for name in missing},
        "accelerators": [device.to_json() for device in accelerators()],
        "engines": list(_engine_findings()),
        "extras": list(_extra_findings()),
    }


def _engine_findings() -> Iterator[dict[str, Any]]:
    from lepton_ai.engines.engine import engines

    for name in engines.names():
        found: dict[str, Any] = {
            "name": name,
            "available": False,
            "version": "",
            "reason": "",
            "remedy": "",
            "devices": [],
            "precisions": [],
            "ships": False,
            "by_default": False,
            "unlocks": "",
        }
        try:
            engine = engines.get(name)()
            state = engine.available()
            found |= {
                "available": state.ok,
                "reason": state.reason,
                "remedy": state.remedy,
                "ships": engine.ships,
                "by_default": engine.by_default,
                "unlocks": engine.unlocks,
            }
            if state.ok:
                found["version"] = engine.version()
                found["devices"] = list(engine.devices())
                found["precisions"] = list(engine.precisions())
        except LeptonError as failure:
            found |= {"available": False, "reason": str(failure)}
        yield found


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

    machine, topology = findings["machine"], findings["topology"]
    console.print(f"[bold]Lepton {findings['version']}[/] on {escape(machine['cpu'])}")
    console.print(
        f"{_count(topology['cores'], 'core')} with {_count(topology['threads'], 'thread')}, "
        f"{_count(topology['numa_nodes'], 'NUMA node')}, {machine['memory_bytes'] / 1e9:.1f} GB of "
        f"memory, {machine['system']}, Python {machine['python']}, key {machine['key']}"
    )
    unlocked = findings["isa"].items() or [("none known", "plain arithmetic only")]
    _table(console, "Instruction sets", ("", "unlocks"), unlocked)
    if findings["isa_missing"]:
        console.print(f"  not here: {', '.join(findings['isa_missing'])}")
    found = [_accelerator_row(device) for device in findings["accelerators"]]
    _table(console, "Accelerators", ("", "", "memory"), found or [("none found", "", "")])
    columns = ("", "", "version", "on", "precisions")
    _table(console, "Engines", columns, map(_engine_row, findings["engines"]))
    _table(console, "What they add", ("", ""), map(_unlocks_row, findings["engines"]))
    _table(console, "Extras", ("", "", "missing"), map(_extra_row, findings["extras"]))
    remedies = [e["remedy"] for e in findings["engines"] + findings["extras"] if e["remedy"]]
    for remedy in dict.fromkeys(remedies):
        console.print(f"To add what is missing: [bold]{escape(remedy)}[/]", soft_wrap=True)
    if not remedies:
        console.print("Nothing is missing.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _accelerator_row(device: dict[str, Any]) -> tuple[str, ...]:
    memory = device["memory_bytes"]
    return device["kind"], device["name"], "" if memory is None else f"{memory / 1e9:.0f} GB"


def _engine_row(engine: dict[str, Any]) -> tuple[str, ...]:
    if not engine["available"]:
        state = "missing"
    elif not engine["ships"]:
        state = "for checking"
    else:
        state = "ready" if engine["by_default"] else "when named"
    on, precisions = (", ".join(engine[name]) for name in ("devices", "precisions"))
    return engine["name"], state, engine["version"], on, precisions


def _unlocks_row(engine: dict[str, Any]) -> tuple[str, ...]:
    missing = "" if engine["available"] else f"missing: {engine['reason']}"
    return engine["name"], "; ".join(part for part in (engine["unlocks"], missing) if part)


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
