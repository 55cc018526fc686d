"""A real CenterNet detector on the frames of a real video, without labels."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress_cases.boxes import SIDE
from compress_cases.case import Bar, Case
from compress_cases.downloads import VIDEO, fetch_deb

#: Handed to the project beside its checkout, since no package holds it as ONNX.
DETECTOR = Path(__file__).resolve().parents[3] / "shared" / "assets" / "centernet.onnx"
INPUT = "tower_0/images"
#: Frames that follow one another are all but the same: these many are let pass between two.
EVERY = 2


def prepare(folder: Path) -> Mapping[str, Any]:
    """Write every second frame to score by; of the others, every second one to teach with."""
    shutil.copyfile(DETECTOR, folder / "model.onnx")
    shutil.copyfile(Path(__file__).parent / "boxes.py", folder / "boxes.py")
    return {}


CASE = Case(
    name="centernet",
    title="CenterNet on video",
    prepare=prepare,
    sources=("centernet.py", "boxes.py"),
    bars=(Bar(against="fp32 ONNX Runtime", at_least=2.5),),
    metric="boxes.py:agreement",
    max_drop=0.03,
)
