"""The options that ``optimize`` shares with the commands that tell of a search."""

from pathlib import Path
from typing import Annotated

import typer

ModelPath = Annotated[str, typer.Argument(help="An ONNX file or a Hugging Face folder.")]
Data = Annotated[
    Path, typer.Option(help="Samples: .npz, .csv, .parquet, or a folder of images per class.")
]
Train = Annotated[
    Path | None,
    typer.Option(
        help="More samples, to teach thinner networks with.",
        show_default="those that calibrate",
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(help="accuracy, macro-f1, agreement, or path/to/file.py:function."),
]
Text = Annotated[str | None, typer.Option(help="The column that holds the text.")]
Label = Annotated[str | None, typer.Option(help="The column that holds the label.")]
MaxDrop = Annotated[float, typer.Option(help="The loss of the metric allowed.")]
MaxLatency = Annotated[
    float | None, typer.Option(help="The median of a call.", show_default="no bound")
]
MaxSize = Annotated[
    float | None, typer.Option(help="On disk, in units of 10^6 bytes.", show_default="no bound")
]
MaxTransfer = Annotated[
    float | None, typer.Option(help="The same, after DEFLATE.", show_default="no bound")
]
MaxMemory = Annotated[
    float | None, typer.Option(help="The peak of a process.", show_default="no bound")
]
Engines = Annotated[
    list[str] | None,
    typer.Option(
        help="Try this engine; may be given again.", show_default="those that are usually fast"
    ),
]
Minutes = Annotated[float, typer.Option(help="How long the search may take.")]
Confidence = Annotated[float, typer.Option(help="Of the certificate.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
