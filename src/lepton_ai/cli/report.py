"""``lepton report``: what a search found, in a few lines and as a page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lepton_ai.cli.page_file import write_page
from lepton_ai.cli.printable import printable
from lepton_ai.errors import BundleError, DataError, OutputError

if TYPE_CHECKING:
    from lepton_ai.bundle.manifest import Manifest

#: The schema of a search's record that this version reads.
_SCHEMA = 1


def report(
    source: Annotated[
        Path, typer.Argument(help="A bundle, or a file saved from lepton optimize --json.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write the page; for a file, NAME.html."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing page.")] = False,
) -> None:
    """Show what a search found, and point at its page or write it.

    A bundle carries its page, and its hashes are checked first; from a saved record the page is
    made anew.
    """
    carried: Path | None = None
    if source.is_dir():
        record, page, carried = _from_bundle(source)
        if output is not None and source.resolve() in output.resolve().parents:
            raise OutputError(f"a bundle must not change, and {output} is in it; write elsewhere")
    else:
        record, page = _from_record(source)
    target = output or carried or source.with_suffix(".html")
    if target != carried:
        _write(page, target, overwrite)
    _print(record, target)


def _from_bundle(bundle: Path) -> tuple[dict[str, Any], str, Path]:
    """A record as far as the bundle holds one, the bundle's page, and where that is."""
    from lepton_ai.bundle.layout import CERTIFICATE, REPORT
    from lepton_ai.bundle.verify import verify_files

    manifest = verify_files(bundle)
    page = bundle / REPORT
    if not page.is_file():
        raise BundleError(f"{bundle} carries no {REPORT}; make the bundle anew for one")
    proof = bundle / CERTIFICATE
    record = {
        "name": manifest.name,
        "status": manifest.status,
        "metric": manifest.metric,
        "baseline": {"measurement": manifest.measurements.get("baseline")},
        "best": {"name": _made(manifest), "measurement": manifest.measurements.get("best")},
        "certificate": json.loads(proof.read_bytes()) if proof.is_file() else None,
    }
    return record, page.read_text("utf-8"), page


def _made(manifest: "Manifest") -> str:
    """How the artifact was made, in words; only its engine where the recipe was kept in part."""
    from lepton_ai.plan.recipe import Recipe

    try:
        return Recipe.from_json(manifest.recipe).name
    except (KeyError, TypeError):
        return manifest.engine


def _from_record(file: Path) -> tuple[dict[str, Any], str]:
    from lepton_ai.report.render import render

    wanted = "a bundle or a file saved from lepton optimize --json"
    try:
        record = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise DataError(f"report wants {wanted}, and nothing is at {file}") from None
    except OSError as failure:
        raise DataError(f"{file} cannot be read: {failure.strerror}") from None
    except (ValueError, RecursionError):
        raise DataError(f"report wants {wanted}, and {file} is not JSON") from None
    if not isinstance(record, dict) or "status" not in record or "tried" not in record:
        raise DataError(f"report wants {wanted}, and {file} holds other JSON")
    if record.get("schema") != _SCHEMA:
        raise DataError(
            f"{file} has schema {record.get('schema')!r}, and this version reads {_SCHEMA}; "
            "use the version of lepton that wrote it"
        )
    return record, render(record)


def _write(page: str, target: Path, overwrite: bool) -> None:
    if target.exists() and not target.is_dir() and not overwrite:
        raise OutputError(f"{target} exists; name another file with -o, or pass --overwrite")
    write_page(page, target)


def _print(record: Mapping[str, Any], page: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lepton_ai.report.quantities import amount, megabytes, milliseconds, times
    from lepton_ai.report.reading import best_name, number, speedup, text

    table = Table(box=None, pad_edge=False)
    for heading in ("", "before", "after"):
        table.add_column(heading, justify="right" if heading else "left")
    rows = (
        ("median of one call", milliseconds, ("latency", "p50_ms")),
        ("size on disk", megabytes, ("bytes_on_disk",)),
        (printable(text(record, "metric", "name") or "metric"), amount, ("score",)),
    )
    for label, show, path in rows:
        before, after = (
            number(record, side, "measurement", *path) for side in ("baseline", "best")
        )
        if before is not None or after is not None:
            table.add_row(Text(label), show(before), show(after))
    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(printable(line), markup=False, soft_wrap=True)

    say(f"{text(record, 'name')}: {text(record, 'status')}")
    if best_name(record):
        say(f"{best_name(record)}, {times(speedup(record))} as fast as the baseline")
    if table.row_count:
        console.print(table)
    say(text(record, "certificate", "claim") or text(record, "why"))
    say(f"Report: {page}")
