"""Calibration samples, handed to quantisers one call at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from onnxruntime.quantization import CalibrationDataReader  # type: ignore[import-untyped]

from lepton_ai.errors import DataError
from lepton_ai.model.signature import Arrays

#: Calls beyond this many no longer move the ranges that int8 takes from them.
MOST_CALLS = 300


class Calls:
    """The first :data:`MOST_CALLS` calls, each time anew; one is in memory at a time."""

    def __init__(self, calibration: Iterable[Arrays]) -> None:
        self._calibration = calibration

    def __iter__(self) -> Iterator[Arrays]:
        """Iterate over the inputs of each call; raise :class:`DataError` when there are none."""
        taken = 0
        for feed in islice(self._calibration, MOST_CALLS):
            taken += 1
            yield feed
        if not taken:
            raise DataError(
                "int8 takes the ranges of its numbers from calibration samples, and none came; "
                "give some, or use a method that needs none (int8-dynamic)"
            )


class Reader(CalibrationDataReader):  # type: ignore[misc]  # its package is not typed
    """ONNX Runtime's door to :class:`Calls`."""

    def __init__(self, calibration: Iterable[Arrays]) -> None:
        self._calls = iter(Calls(calibration))

    def get_next(self) -> dict[str, Any] | None:
        """The next call's inputs, or ``None`` after the last."""
        return next(self._calls, None)
