"""The numbers that are kept about an executable."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time of one call, milliseconds, over ``runs`` calls on real samples.

    ``low_ms`` and ``high_ms`` bound the median at 95 %.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    low_ms: float
    high_ms: float
    runs: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured of one artifact in one engine on one machine.

    Throughput is in samples per second, one call at a time. ``drop`` is the loss of the metric
    against the baseline on the tune split (positive is worse). ``bytes_to_transfer`` is the size
    of the artifact after DEFLATE; memory and load time are ``None`` where the process
    is shared with others.
    """

    latency: Latency
    throughput: float
    bytes_on_disk: int
    bytes_to_transfer: int
    peak_memory_mb: float | None
    load_seconds: float | None
    score: float | None
    drop: float | None
    samples: int
    machine: str

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; the inverse of :meth:`from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Measurement":
        """The inverse of :meth:`to_json`."""
        return cls(**{**record, "latency": Latency(**record["latency"])})
