"""What a case is: a real model with real data on disk, a budget, and the bars it is held to."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

#: Written last, so that a folder that holds it holds everything.
PREPARED = "case.json"

#: What a figure compares the winner with.
Rival = Literal["fastest int8", "fp32 bytes", "fp32 ONNX Runtime", "default int8"]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The least ratio of ``against`` to the winner: of their median times, or of their bytes."""

    against: Rival
    at_least: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, samples to choose and certify by, samples to teach with, a metric and the bars.

    ``prepare`` writes ``model``, ``data`` and ``train`` into a folder and returns what it measured
    (``fp32``: the original's score on ``data``). ``sources`` are the files that decide what it
    writes: when one of them changes, the folder is made anew. ``metric`` is a name, or a
    ``file.py:function`` in the folder.
    """

    name: str
    title: str
    prepare: Callable[[Path], Mapping[str, Any]]
    sources: tuple[str, ...]
    bars: tuple[Bar, ...]
    model: str = "model.onnx"
    data: str = "data.npz"
    train: str = "train.npz"
    metric: str = "accuracy"
    max_drop: float = 0.01
    max_transfer_mb: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def prepared(self, folder: Path) -> dict[str, Any]:
        """What :attr:`prepare` measured; it runs if ``folder`` is not from the same sources."""
        key, held = self._key(), folder / PREPARED
        if held.exists():
            record: dict[str, Any] = json.loads(held.read_text(encoding="utf-8"))
            if record["key"] == key:
                return record
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        record = {"key": key, "name": self.name, **self.arguments(folder)}
        record |= {"train": str(folder / self.train), **self.prepare(folder)}
        held.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return record

    def arguments(self, folder: Path) -> dict[str, Any]:
        """What ``optimize`` is called with, except the budget and what it teaches with."""
        own = ".py:" in self.metric
        return {
            "model": str(folder / self.model),
            "data": str(folder / self.data),
            "metric": str(folder / self.metric) if own else self.metric,
            **self.columns,
        }

    def _key(self) -> str:
        whole = hashlib.sha256()
        for name in sorted({*self.sources, "downloads.py", "teaching.py"}):
            whole.update((Path(__file__).parent / name).read_bytes())
        return whole.hexdigest()[:16]
