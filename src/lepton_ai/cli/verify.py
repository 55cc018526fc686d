"""``lepton verify``: is a bundle whole, and does it answer here as it did where it was made?"""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lepton_ai.bundle.net import Net


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle to check.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output.")
    ] = False,
) -> None:
    """Check every hash of a bundle, and replay its golden calls on this machine."""
    from lepton_ai.bundle.load import load

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notes say the same
        net = load(bundle)
    with net:
        record = _describe(bundle, net)
    if as_json:
        typer.echo(json.dumps(record))
    else:
        _print(record)


def _describe(bundle: Path, net: "Net") -> dict[str, Any]:
    manifest, found = net.manifest, net.replay
    return {
        "bundle": str(bundle),
        "name": net.name,
        "version": manifest.version,
        "status": manifest.status,
        "created": manifest.created,
        "files": len(manifest.files),
        "bytes": sum(entry.size for entry in manifest.files.values()),
        "engine": net.engine,
        "plan": net.plan.to_json(),
        "replayed": found.calls if found else 0,
        "difference": found.difference if found else None,
        "tolerance": manifest.golden["tolerance"],
        "notes": list(net.notes),
    }


def _print(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    plan = record["plan"]
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "bundle": f"{record['name']}, version {record['version']}, made {record['created']}",
        "status": record["status"],
        "files": f"{record['files']} files, {record['bytes'] / 1e6:.1f} MB, every hash right",
        "engine": f"{record['engine']} in {plan['precision']}, {plan['threads']} thread(s)",
        "replay": f"{record['replayed']} golden calls answered as recorded; largest difference "
        f"{record['difference']:.1e} of the scale, {record['tolerance']:.0e} allowed",
    }
    for name, text in rows.items():
        table.add_row(Text(name, style="bold"), Text(text))
    console = Console()
    console.print(table)
    for note in record["notes"]:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
