"""What ``optimize`` returns."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_ai.bundle.pack import copy_bundle


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished search: its record, and the bundle it made, staged in the cache.

    ``record`` is the document that ``lepton optimize --json`` prints.
    """

    record: dict[str, Any]
    staged: Path

    @property
    def status(self) -> str:
        """``"MET"``, or ``"MISSED"`` with the reason in :attr:`why`."""
        return str(self.record["status"])

    @property
    def why(self) -> str:
        """Why the budget was met or missed, in a sentence."""
        return str(self.record["why"])

    @property
    def best(self) -> dict[str, Any]:
        """What ships: its name, recipe, measurement and speed-up."""
        best: dict[str, Any] = self.record["best"]
        return best

    @property
    def certificate(self) -> dict[str, Any]:
        """The claim about the metric, with the numbers that support it."""
        certificate: dict[str, Any] = self.record["certificate"]
        return certificate

    @property
    def front(self) -> list[dict[str, Any]]:
        """The trials that no other beats in time, drop and bytes at once."""
        front: list[dict[str, Any]] = self.record["front"]
        return front

    @property
    def tried(self) -> list[dict[str, Any]]:
        """Every trial, with its verdict and why."""
        tried: list[dict[str, Any]] = self.record["tried"]
        return tried

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the bundle to the folder ``path``, whole or not at all.

        Raises:
            OutputError: ``path`` exists and is not a bundle to overwrite, or cannot be written.
        """
        return copy_bundle(self.staged, Path(path), overwrite=overwrite)
