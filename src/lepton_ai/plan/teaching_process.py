"""What a child process runs to thin a graph and to teach what is left of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lepton_ai.compress.finish import finish as finish_for_engines
from lepton_ai.compress.rounded_training import closed, frozen, opened
from lepton_ai.compress.slimming.slim import Target, ready, slim
from lepton_ai.compress.sparsity import made_sparse
from lepton_ai.errors import DivergedError
from lepton_ai.graph.onnx_file import load_graph, save_graph
from lepton_ai.plan.calibration import CalibrationFolder
from lepton_ai.train.distilling import DistilConfig, Distilling
from lepton_ai.train.lessons import Lessons

_held: dict[str, Distilling] = {}


def thin(
    name: str,
    source: str,
    target: str,
    calibration: str,
    share: float,
    on: Mapping[str, Any],
    cache: str,
) -> dict[str, Any]:
    """Take out of ``source`` what is missed least, for a share of its time; what was taken out."""
    done = slim(
        Path(source),
        Path(target),
        CalibrationFolder(Path(calibration)),
        share=share,
        on=Target(**on),
        cache=Path(cache),
    )
    return {"name": name, **asdict(done)}


def sparsify(name: str, source: str, target: str, pattern: str) -> dict[str, Any]:
    """Put zeros in place of the smaller elements of the weights of ``source``."""
    model = ready(load_graph(Path(source)))
    weights = made_sparse(model, pattern)
    save_graph(model, Path(target))
    return {"name": name, "weights": len(weights)}


def open_up(name: str, source: str, target: str) -> dict[str, Any]:
    """Make of a quantised graph one that can be trained."""
    save_graph(opened(ready(load_graph(Path(source)))), Path(target))
    return {"name": name}


def step_seconds(teacher: str, student: str, lessons: str, config: Mapping[str, Any]) -> float:
    """How long a step takes, in the mean of as many as ``config`` says but for the first."""
    distilling = _begun(teacher, student, lessons, DistilConfig(**config))
    distilling.advance(1)
    begin = time.perf_counter()
    distilling.advance(config["steps"])
    return (time.perf_counter() - begin) / (int(config["steps"]) - 1)


def best_rate(
    teacher: str, student: str, lessons: str, config: Mapping[str, Any], rates: Sequence[float]
) -> float:
    """The learning rate that leaves the smallest loss after as many steps as ``config`` says.

    Raises:
        DivergedError: none leaves one that is a number.
    """
    losses = {}
    for rate in rates:
        given = DistilConfig(**{**config, "learning_rate": rate})
        distilling = _begun(teacher, student, lessons, given)
        try:
            distilling.advance(given.steps - given.steps // 3)
            losses[rate] = distilling.advance(given.steps)
        except DivergedError:
            continue
    if not losses:
        raise DivergedError(f"the loss is no number at any learning rate of {list(rates)}")
    return min(losses, key=lambda rate: losses[rate])


def begin(
    teacher: str,
    student: str,
    lessons: str,
    config: Mapping[str, Any],
    checkpoint: str,
    held_out: str,
) -> None:
    """Get ready to teach, from where a checkpoint left off if there is one."""
    distilling = _begun(teacher, student, lessons, DistilConfig(**config))
    distilling.watch(Lessons(Path(held_out)))
    if Path(checkpoint).exists():
        distilling.resume(Path(checkpoint))
    _held["it"] = distilling


def advance(seconds: float, checkpoint: str) -> dict[str, float]:
    """Teach for some seconds, and keep what it has come to."""
    distilling = _held["it"]
    end = time.perf_counter() + seconds
    losses = []
    while time.perf_counter() < end and distilling.step < distilling.steps:
        losses.append(distilling.advance(1))
    distilling.save(Path(checkpoint))
    loss = sum(losses) / max(1, len(losses))
    return {"step": distilling.step, "steps": distilling.steps, "loss": loss}


def end_after(steps: int) -> None:
    """End the schedule after ``steps`` more."""
    _held["it"].end_after(steps)


def finish(target: str, quantised: str | None) -> None:
    """Write the student that was taught; what was opened from a ``quantised`` graph, closed."""
    student = _held["it"].student()
    if quantised is not None:
        student = closed(student, ready(load_graph(Path(quantised))))
    save_graph(student, Path(target))
    if quantised is not None:
        finish_for_engines(Path(target))


def _begun(teacher: str, student: str, lessons: str, config: DistilConfig) -> Distilling:
    mine, other = (ready(load_graph(Path(path))) for path in (student, teacher))
    return Distilling(other, mine, Lessons(Path(lessons)), config, frozen=frozen(mine))
