"""What a winner is compared with: the artifacts of the search that made it, read from its record.

A search keeps the graph of every recipe beside its journal; the bundles lie there too.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_ai.bundle.layout import ARTIFACT
from lepton_ai.compress.compressor import compressors, storages
from lepton_ai.compress.finish import finished
from lepton_ai.data.metric import Metric
from lepton_ai.data.samples import Samples
from lepton_ai.data.split import split
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.errors import LeptonError
from lepton_ai.measure.runner import ProcessRunner
from lepton_ai.measure.size import bytes_to_transfer
from lepton_ai.model.signature import Arrays
from lepton_ai.pipeline.result import Result
from lepton_ai.plan.recipe import Recipe

#: Int8 as it comes: what a user of either library gets from its static quantisation.
DEFAULTS = ("int8-static-ort", "int8-static-nncf")
ENGINES = ("onnxruntime", "openvino")
DEADLINE = 300.0
#: Samples by which a loss is told: within half a point or so.
SCORED = 2_000


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A graph in an engine, with the plan that it runs by."""

    name: str
    path: Path
    engine: str
    plan: EnginePlan

    @property
    def transfer(self) -> int:
        """Bytes after DEFLATE."""
        return bytes_to_transfer(self.path)

    def runner(self, log: Path) -> ProcessRunner:
        """The artifact in a process of its own."""
        return ProcessRunner(self.engine, self.path, self.plan, log, deadline=DEADLINE)


def winner(result: Result) -> Artifact:
    """What ships, out of its bundle."""
    recipe = Recipe.from_json(result.best["recipe"])
    return _artifact(recipe, result.staged / ARTIFACT)


def plain(result: Result) -> Artifact:
    """The untouched graph in ONNX Runtime, fp32, with as many threads as the winner has."""
    threads = Recipe.from_json(result.best["recipe"]).plan.threads
    home = _journal(result) / "model"
    (path,) = home.glob("*.onnx")
    plan = EnginePlan(threads=threads)
    return Artifact(name="untouched", path=path, engine="onnxruntime", plan=plan)


def fastest_int8(
    result: Result, loss: Callable[[Artifact], float], max_drop: float
) -> Artifact | None:
    """The fastest trial in int8 alone that loses at most ``max_drop``.

    What a search has found to be slower than its best in hand it times and does not score: then
    ``loss`` does it here, so that no rival is passed over for the order of the trials.
    """
    timed = [trial for trial in result.tried if trial["ratio"] is not None and _int8_alone(trial)]
    for trial in sorted(timed, key=lambda trial: trial["ratio"]):
        recipe = Recipe.from_json(trial["recipe"])
        found = _artifact(recipe, _journal(result) / "graphs" / recipe.graph_key / "model.onnx")
        drop = (trial["measurement"] or {}).get("drop")
        if (loss(found) if drop is None else drop) <= max_drop:
            return found
    return None


def default_int8(original: Artifact, samples: Samples, folder: Path) -> Iterator[Artifact]:
    """The original in int8 as either library makes it, in each engine: nothing is prepared for it.

    Both take their ranges from the samples that a search calibrates with.
    """
    calls = list(samples.calls([int(index) for index in split(samples).calibrate]))
    for name in DEFAULTS:
        target = folder / name / "model.onnx"
        target.parent.mkdir()
        try:
            compressors.get(name)().compress(original.path, target, calls)
        except LeptonError:
            continue
        for engine in ENGINES:
            words = f"{name} · {engine}"
            yield Artifact(name=words, path=target, engine=engine, plan=original.plan)


class Loss:
    """How much an artifact loses to the original, on samples that a search chooses by."""

    def __init__(self, original: Artifact, samples: Samples, metric: Metric, log: Path) -> None:
        self._samples, self._metric, self._log = samples, metric, log
        self._indices = [int(index) for index in split(samples).tune[:SCORED]]
        self._labels = None if samples.labels is None else samples.labels[self._indices]
        self._reference = self._outputs(original)

    def __call__(self, artifact: Artifact) -> float:
        """The metric's loss; infinite where it does not run."""
        try:
            answers = self._outputs(artifact)
        except LeptonError:
            return float("inf")
        scores = [
            self._metric.score(each, self._labels, self._reference).value
            for each in (self._reference, answers)
        ]
        return scores[0] - scores[1]

    def _outputs(self, artifact: Artifact) -> Arrays:
        with closing(artifact.runner(self._log)) as runner:
            return runner.outputs(self._samples, self._indices)


def _int8_alone(trial: Mapping[str, Any]) -> bool:
    """Whether its recipe is in int8, and no step of it made the network itself smaller."""
    recipe = Recipe.from_json(trial["recipe"])
    made = recipe.student or recipe.small_tables
    return recipe.compressor is not None and recipe.compressor not in storages.names() and not made


def _artifact(recipe: Recipe, path: Path) -> Artifact:
    form = finished(path, recipe.engine)
    return Artifact(name=recipe.name, path=form, engine=recipe.engine, plan=recipe.plan)


def _journal(result: Result) -> Path:
    return result.staged.parents[2]
