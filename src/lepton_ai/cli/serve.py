"""``lepton serve``: a bundle behind an address."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lepton_ai.bundle.net import Net

_MEGABYTE = 10**6
_METADATA = "curl {address}/v2/models/{name}"
#: A first request to try, by the kind of processing.
_EXAMPLES = {
    "text-classification": 'curl {address}/predict/{name} -d \'{{"text": "What a lovely day"}}\'',
    "image-classification": (
        "curl {address}/predict/{name} -H 'content-type: image/jpeg' --data-binary @photo.jpg"
    ),
}


def serve(
    bundles: Annotated[list[Path], typer.Argument(help="One or more bundles.", metavar="BUNDLE…")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    threads: Annotated[
        int | None, typer.Option(help="Cores per model.", show_default="as measured")
    ] = None,
    allow_public: Annotated[
        bool, typer.Option("--allow-public", help="Listen where other machines can reach.")
    ] = False,
    max_body_mb: Annotated[int, typer.Option(help="Largest request body, MB.", min=1)] = 64,
) -> None:
    """Serve bundles over HTTP: Open Inference Protocol v2, and /predict for people."""
    from lepton_ai.serve.server import serve as serve_bundles

    serve_bundles(
        bundles,
        host,
        port,
        threads=threads,
        allow_public=allow_public,
        body_limit=max_body_mb * _MEGABYTE,
        on_start=_announce,
    )


def _announce(address: str, nets: "list[Net]") -> None:
    from urllib.parse import quote

    for net in nets:
        typer.echo(
            f"serving {net.name} in {net.engine}, {net.plan.threads} thread(s), at {address}"
        )
        for note in net.notes:
            typer.echo(f"  note: {note}")
        name = quote(net.name, safe="")
        kind = net.processing.kind if net.processing else ""
        typer.echo("  try: " + _EXAMPLES.get(kind, _METADATA).format(address=address, name=name))
