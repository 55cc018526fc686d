"""What a child process runs to compress a graph into another."""

from pathlib import Path

from lepton_ai.compress.compressor import compressors
from lepton_ai.errors import ModelError
from lepton_ai.plan.calibration import CalibrationFolder


def compress(name: str, source: str, target: str, calibration: str) -> None:
    """Apply a compressor, with the calibration calls kept in a folder."""
    compressor = compressors.get(name)()
    availability = compressor.available()
    if not availability.ok:
        raise ModelError(f"{name} cannot run here: {availability.reason}; {availability.remedy}")
    compressor.compress(Path(source), Path(target), CalibrationFolder(Path(calibration)))
