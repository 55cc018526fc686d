"""What a winner is compared with: the artifacts of the search that made it, read from its record.

A search keeps the graph of every recipe beside its journal; the bundles lie there too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_ai.bundle.layout import ARTIFACT
from lepton_ai.compress.preparation import preparations
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.measure.size import bytes_to_transfer
from lepton_ai.pipeline.result import Result
from lepton_ai.plan.recipe import Recipe

#: Int8 as it comes: what a user of either library gets from its static quantisation.
DEFAULTS = ("int8-static-ort", "int8-static-nncf")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A graph in an engine, with what the search said of it."""

    name: str
    path: Path
    engine: str
    plan: EnginePlan

    @property
    def transfer(self) -> int:
        """Bytes after DEFLATE."""
        return bytes_to_transfer(self.path)


def winner(result: Result) -> Artifact:
    """What ships, out of its bundle."""
    recipe = Recipe.from_json(result.best["recipe"])
    return _artifact(recipe, result.staged / ARTIFACT)


def plain(result: Result, model: str = "fp32 ONNX Runtime") -> Artifact:
    """The untouched graph in ONNX Runtime, fp32, with as many threads as the winner has."""
    threads = Recipe.from_json(result.best["recipe"]).plan.threads
    home = _journal(result) / "model"
    (path,) = home.glob("*.onnx")
    return Artifact(name=model, path=path, engine="onnxruntime", plan=EnginePlan(threads=threads))


def fastest_int8(result: Result, max_drop: float) -> Artifact | None:
    """The fastest trial in int8 alone that lost at most ``max_drop`` on the tune split."""
    return _fastest(
        result,
        [
            trial
            for trial in result.tried
            if (trial["recipe"]["compressor"] or "").startswith("int8")
            and not _slimmed(trial["recipe"])
            and _drop(trial) <= max_drop
        ],
    )


def default_int8(result: Result) -> Artifact | None:
    """The fastest trial of default int8: nothing prepared for it, no node kept out of it."""
    own = set(preparations.names())
    return _fastest(
        result,
        [
            trial
            for trial in result.tried
            if trial["recipe"]["compressor"] in DEFAULTS
            and not trial["recipe"].get("kept")
            and not own & set(trial["recipe"]["rewrites"])
            and not _slimmed(trial["recipe"])
        ],
    )


def _fastest(result: Result, trials: list[dict[str, Any]]) -> Artifact | None:
    timed = [trial for trial in trials if trial["ratio"] is not None]
    if not timed:
        return None
    recipe = Recipe.from_json(min(timed, key=lambda trial: trial["ratio"])["recipe"])
    return _artifact(recipe, _journal(result) / "graphs" / recipe.graph_key / "model.onnx")


def _artifact(recipe: Recipe, path: Path) -> Artifact:
    return Artifact(name=recipe.name, path=path, engine=recipe.engine, plan=recipe.plan)


def _drop(trial: Mapping[str, Any]) -> float:
    """The loss on the tune split; infinite where it was not scored."""
    drop = (trial["measurement"] or {}).get("drop")
    return float("inf") if drop is None else float(drop)


def _slimmed(recipe: Mapping[str, Any]) -> bool:
    """Whether a step of the recipe made the network itself smaller, whatever its key is."""
    return "slim" in json.dumps(recipe)


def _journal(result: Result) -> Path:
    return result.staged.parents[2]
