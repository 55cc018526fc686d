"""The records of an inspection: plain and frozen, with nothing in them that computes."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found: its kind, the nodes (or weights) it is about, and a sentence.

    The saving is what removing it would spare: ``saved_nodes`` nodes, ``saved_macs``
    multiply-accumulates per call and ``saved_bytes`` of weights or of memory traffic; zero where
    there is none or it is not known.
    """

    kind: str
    nodes: tuple[str, ...]
    sentence: str
    saved_nodes: int = 0
    saved_macs: int = 0
    saved_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class OperatorRow:
    """All nodes of one operator.

    ``parameters`` are the elements of the weights they read, each weight counted at its first
    reader. ``macs`` are multiply-accumulates, ``bytes_read`` and ``bytes_written`` the tensors that
    go in (weights included) and come out; ``None`` where the shape of some node is not known.
    """

    operator: str
    count: int
    parameters: int
    macs: int | None
    bytes_read: int | None
    bytes_written: int | None

    @property
    def intensity(self) -> float | None:
        """Arithmetic intensity: floating-point operations (two per MAC) per byte moved."""
        if self.macs is None or self.bytes_read is None or self.bytes_written is None:
            return None
        moved = self.bytes_read + self.bytes_written
        return 2 * self.macs / moved if moved else 0.0


@dataclass(frozen=True, kw_only=True)
class Parallelism:
    """How much of a graph can run side by side.

    ``nodes`` and ``longest_chain`` count nodes; ``work`` and ``span`` weigh each node by its
    multiply-accumulates plus the elements that it moves. ``ratio`` is work over span: the most that
    any number of workers could gain from running branches side by side (Brent, 1974). ``branches``
    are the groups of chains that begin at one value, meet again, and do not depend on each other.
    """

    nodes: int
    longest_chain: int
    work: int
    span: int
    ratio: float
    branches: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class NodeTime:
    """What one kernel of an engine took, and the nodes of the graph that it stands for.

    ``milliseconds`` is the median over calls. ``nodes`` are names in the original graph; empty
    where the engine does not tell.
    """

    kernel: str
    operator: str
    milliseconds: float
    nodes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where the time of one engine goes; ``kernels`` in the order in which they ran."""

    engine: str
    threads: int
    milliseconds: float
    kernels: tuple[NodeTime, ...]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A node that an engine cannot take, in its own words, and the rule that would unlock it."""

    node: str
    operator: str
    reason: str
    unlocked_by: str = ""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Whether an engine takes the graph as it is, and as the rewrites leave it."""

    engine: str
    takes: bool
    why: str
    refusals: tuple[Refusal, ...] = ()
    takes_rewritten: bool | None = None


@dataclass(frozen=True, kw_only=True)
class GraphReport:
    """What an inspection found.

    ``opsets`` maps a domain to its version. Inputs and outputs are in words (``x: FLOAT [n,3]``).
    ``sizes`` are the values that symbolic sizes were counted at. ``macs`` counts the nodes whose
    shapes are known (``uncounted``: those whose are not); FLOPs are twice that. ``profile`` and
    ``fits`` are there when engines were asked. ``notes`` are sentences the owner should read.
    """

    name: str
    opsets: dict[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: int
    parameters: int
    bytes: int
    macs: int
    uncounted: int
    sizes: dict[str, int]
    operators: tuple[OperatorRow, ...]
    parallelism: Parallelism
    findings: tuple[Finding, ...]
    profile: Profile | None = None
    fits: tuple[Fit, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        record = asdict(self)
        for row, operator in zip(record["operators"], self.operators, strict=True):
            row["intensity"] = operator.intensity
        return record
