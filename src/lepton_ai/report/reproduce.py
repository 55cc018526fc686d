"""The commands that make this again, check it, and serve it."""

import shlex

from lepton_ai.plan.budget import BOUNDS
from lepton_ai.report.quantities import shown
from lepton_ai.report.reading import Record, find, is_list, number, text

#: Options of ``lepton optimize`` that a budget sets.
BUDGET_OPTIONS = ("max_drop", *BOUNDS, "minutes")


def section(record: Record) -> str:
    """The search as a command, then what can be done with its bundle."""
    commands = [_search(record)]
    bundle = text(record, "bundle")
    if bundle:
        commands += [f"lepton {verb} {shlex.quote(bundle)}" for verb in ("verify", "serve")]
    lines = "\n".join(f"$ {shown(command)}" for command in commands)
    return f"<section><h2>Reproduce</h2><pre><code>{lines}</code></pre></section>"


def _search(record: Record) -> str:
    given = find(record, "command")
    if is_list(given):
        return shlex.join(map(str, given))
    if given:
        return str(given)
    words = ["lepton", "optimize", text(record, "name") or "MODEL", "--data", "DATA"]
    metric = text(record, "metric", "name")
    if metric:
        words += ["--metric", metric]
    for key in (*BUDGET_OPTIONS, "confidence"):
        value = number(record, "budget", key)
        if value is not None:
            words += [f"--{key.replace('_', '-')}", f"{value:g}"]
    bundle = text(record, "bundle")
    if bundle:
        words += ["--output", bundle]
    return shlex.join(words)
