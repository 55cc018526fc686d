"""A real CenterNet detector on the frames of a real video, without labels."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compress_cases.boxes import SIDE, SURE, detections
from compress_cases.case import Bar, Case
from compress_cases.downloads import VIDEO, DownloadError, fetch_deb

#: Handed to the project beside its checkout, since no package holds it as ONNX.
DETECTOR = Path(__file__).resolve().parents[3] / "shared" / "assets" / "centernet.onnx"
INPUT = "tower_0/images"
#: Every second frame of the start of the video is scored: those between are all but the same.
SCORED_UP_TO, EVERY = 600, 2
#: All frames of its end are taught with, from a second (of ten frames) later on.
TAUGHT_FROM = 610


def prepare(folder: Path) -> Mapping[str, Any]:
    """Write frames of the first three quarters to score by, and those after them to teach with."""
    if not DETECTOR.exists():
        raise DownloadError(f"no package holds the detector as ONNX; put it at {DETECTOR}")
    shutil.copyfile(DETECTOR, folder / "model.onnx")
    shutil.copyfile(Path(__file__).parent / "boxes.py", folder / "boxes.py")
    frames = np.stack(list(_frames(fetch_deb(VIDEO) / "vtest.avi")))
    scored = frames[:SCORED_UP_TO:EVERY].astype(np.float32)
    np.savez(folder / "data.npz", **{INPUT: scored})
    np.savez(folder / "train.npz", **{INPUT: frames[TAUGHT_FROM:].astype(np.float32)})
    return {"fp32": 1.0, "boxes per frame": _boxes_per_frame(folder / "model.onnx", scored)}


def _frames(video: Path) -> Iterator[np.ndarray]:
    """Each frame as the detector takes it: RGB from 0 to 255, stretched to a square."""
    import av

    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.reformat(width=SIDE, height=SIDE, format="rgb24").to_ndarray()


def _boxes_per_frame(model: Path, frames: np.ndarray) -> float:
    """How many boxes the original is sure of: a metric on frames without any would say nothing."""
    import onnxruntime as runtime

    session = runtime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    counts = []
    for frame in frames[::10]:
        answers = dict(zip(names, session.run(None, {INPUT: frame[None]}), strict=True))
        counts.append(int((detections(answers)[0][:, 1] >= SURE).sum()))
    return float(np.mean(counts))


CASE = Case(
    name="centernet",
    title="CenterNet on video",
    prepare=prepare,
    sources=("centernet.py", "boxes.py"),
    bars=(Bar(against="fp32 ONNX Runtime", at_least=2.5),),
    metric="boxes.py:agreement",
    max_drop=0.03,
)
