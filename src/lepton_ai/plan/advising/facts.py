"""What was measured of a model, its data and this machine: plain and frozen records."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lepton_ai.plan.budget import Budget
from lepton_ai.plan.trial import Trial

#: The operators that most of a network's arithmetic is in, and that have kernels for fewer bits.
PRODUCTS = frozenset(
    {"Attention", "Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"}
)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One kernel of an engine with the nodes that it stands for, or one node where none was asked.

    ``operator`` is that of its product, if it has one; ``share`` its part of the time of a call.
    ``intensity`` is floating-point operations per byte moved, at the sizes that an inspection
    counts at; ``None`` where a shape is not known. ``removable``: channels, heads or blocks of it
    can be taken out. ``redundant``: an inspection found it of no use.
    """

    operator: str
    share: float
    nodes: tuple[str, ...]
    intensity: float | None
    removable: bool
    redundant: bool


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """A graph as it came: its bytes on disk, and those of weights in floating point.

    ``table_bytes`` are of weights that are looked up, ``product_bytes`` of those that are
    multiplied by; both are parts of ``float_bytes``. ``intensity`` is that of a whole call.
    ``transfer_bytes``, those after DEFLATE, are counted where they are bound.
    """

    nodes: int
    macs: int
    bytes: int
    float_bytes: int
    table_bytes: int
    product_bytes: int
    intensity: float | None
    findings: int
    transfer_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What int8 disturbs: noise as a share of the answers' energy, 0.01 is 20 dB.

    ``whole`` is that of the compressed graph; ``nodes`` make theirs each alone, the greatest first.
    """

    compressor: str
    whole: float
    nodes: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Teachable:
    """Whether the network can be trained: the seconds of a step per sample, or why not."""

    seconds_per_sample: float | None
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class SampleCounts:
    """How many samples there are for what, and what they can show.

    ``certifiable`` is the smallest drop that can be certified with those set aside for it, if no
    outcome changes; ``needed`` is how many would certify the budget's, if these do not.
    """

    calibrate: int
    tune: int
    certify: int
    teach: int
    certifiable: float
    needed: int | None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that the methods are judged by.

    ``milliseconds`` is the median call of the original in ``engine``, which every ratio is of.
    ``trials`` are recipes that were timed and scored as a search does it. ``pieces`` are of
    ``profiled_in``, empty where no engine told; ``precisions`` are those of each engine.
    ``seconds`` is what each kind of measurement took. What is ``None`` could not be found out, and
    ``notes`` says why.
    """

    engine: str
    milliseconds: float
    isa: tuple[str, ...]
    budget: Budget
    samples: SampleCounts
    precisions: Mapping[str, tuple[str, ...]]
    trials: tuple[Trial, ...]
    graph: GraphFacts | None
    pieces: tuple[Piece, ...]
    profiled_in: str
    noise: Noise | None
    teachable: Teachable | None
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()

    @property
    def lossy_can_be_certified(self) -> bool:
        """Whether the samples can show that a changed network keeps the budget's drop."""
        return self.samples.certifiable <= self.budget.max_drop

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; of the pieces, their time by operator."""
        record = {name: value for name, value in vars(self).items() if name != "pieces"}
        by_operator: dict[str, float] = {}
        for piece in self.pieces:
            by_operator[piece.operator] = by_operator.get(piece.operator, 0.0) + piece.share
        return {
            **record,
            "isa": list(self.isa),
            "budget": self.budget.to_json(),
            "samples": asdict(self.samples),
            "precisions": {name: list(each) for name, each in self.precisions.items()},
            "trials": [trial.to_json() for trial in self.trials],
            "graph": self.graph and asdict(self.graph),
            "noise": self.noise and _finite(asdict(self.noise)),
            "teachable": self.teachable and asdict(self.teachable),
            "seconds": dict(self.seconds),
            "notes": list(self.notes),
            "time_by_operator": by_operator,
        }


def _finite(noise: dict[str, Any]) -> dict[str, Any]:
    """A noise in JSON, which has no word for what is not finite: nothing stands for that."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    nodes = [[name, number(each)] for name, each in noise["nodes"]]
    return {**noise, "whole": number(noise["whole"]), "nodes": nodes}
