"""What a child process runs to compress a graph into another."""

from collections.abc import Sequence
from pathlib import Path

from lepton_ai.compress.compressor import named_compressor, storages
from lepton_ai.compress.finish import finish
from lepton_ai.errors import ModelError
from lepton_ai.plan.calibration import CalibrationFolder


def compress(name: str, source: str, target: str, calibration: str) -> None:
    """Apply a compressor, with the calibration calls kept in a folder; then finish for engines."""
    compressor = named_compressor(name)
    availability = compressor.available()
    if not availability.ok:
        raise ModelError(f"{name} cannot run here: {availability.reason}; {availability.remedy}")
    compressor.compress(Path(source), Path(target), CalibrationFolder(Path(calibration)))
    if name not in storages.names():
        finish(Path(target))


def put_back(name: str, source: str, target: str, quantised: str, nodes: Sequence[str]) -> None:
    """What the compressor ``name`` made of ``source``, with ``nodes`` in floating point again."""
    from lepton_ai.compress.put_back import put_back as put_back_in

    put_back_in(Path(source), Path(quantised), Path(target), nodes)
    finish(Path(target))


def sensitivity(source: str, quantised: str, calibration: str) -> list[tuple[str, float]]:
    """The nodes of a quantised graph with the noise that each alone makes, greatest first."""
    from lepton_ai.compress.sensitivity import sensitivity as noise_of_nodes

    return noise_of_nodes(Path(source), Path(quantised), CalibrationFolder(Path(calibration)))
