"""What an artifact may cost."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from lepton_ai.errors import BudgetError

#: What is bounded beside the drop.
BOUNDS = ("max_latency_ms", "max_size_mb", "max_transfer_mb", "max_memory_mb")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The bounds that an artifact must keep; ``None`` leaves one open.

    ``max_drop`` is the loss of the metric allowed, in the metric's own unit (0.01 is one point of
    accuracy), shown with ``confidence``. Latency is the median at batch 1 in milliseconds, size is
    the artifact on disk in megabytes (10^6 bytes), transfer what it takes after DEFLATE, memory the
    peak of a fresh process in megabytes.
    ``minutes`` is how long the search may take.
    """

    max_drop: float = 0.01
    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_transfer_mb: float | None = None
    max_memory_mb: float | None = None
    minutes: float = 10.0
    confidence: float = 0.95

    def check(self) -> "Budget":
        """This budget, if it makes sense; otherwise raise :class:`BudgetError`."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not isinstance(value, int | float):
                raise BudgetError(f"{field.name} wants a number, and {value!r} came")
            if value is not None and not math.isfinite(value):
                raise BudgetError(f"{field.name} wants a finite number, and {value} came")
        if self.max_drop < 0:
            raise BudgetError(f"max_drop wants 0 or more, and {self.max_drop} came")
        if not 0.5 <= self.confidence < 1:
            raise BudgetError(f"confidence wants 0.5 to below 1, and {self.confidence} came")
        for name in (*BOUNDS, "minutes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise BudgetError(f"{name} wants more than 0, and {value} came")
        return self

    @property
    def bounds_bytes(self) -> bool:
        """Whether fewer bytes are wanted, on disk or to transfer."""
        return self.max_size_mb is not None or self.max_transfer_mb is not None

    def is_too_large(self, on_disk: float, to_transfer: float) -> bool:
        """Whether so many bytes break a bound."""
        pairs = ((self.max_size_mb, on_disk), (self.max_transfer_mb, to_transfer))
        return any(most is not None and came > most * 1e6 for most, came in pairs)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values, the keyword arguments of this class."""
        return asdict(self)
