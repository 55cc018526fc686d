"""Weights stored in 16-bit floating point: half the bytes, for answers that hardly change.

For bytes alone: engines widen the weights while they load, and compute as before. Half precision
keeps 11 bits of each value, which no network here was seen to miss; weights that hold values beyond
its range stay as they are.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from lepton_ai.compress.compressor import Compressor
from lepton_ai.compress.stored_weights import Stored, Widening, store_weights
from lepton_ai.model.signature import Arrays

_LARGEST = float(np.finfo(np.float16).max)


class Fp16Weights(Compressor):
    """Half precision for what is stored, full precision for what is computed."""

    name = "fp16-weights"
    needs_calibration = False

    def compress(self, source: Path, target: Path, calibration: Iterable[Arrays]) -> None:
        """Read ``source``, write it with fp16 weights to ``target``; ``calibration`` is not read.

        Raises:
            ModelError: the graph is too large, quantised already, or has no fp32 weights.
        """
        store_weights(self.name, source, target, _halved)


def _halved(values: np.ndarray[Any, Any]) -> Stored | None:
    if values.dtype != np.float32 or not np.abs(values).max() <= _LARGEST:
        return None
    widened = Widening(operator="Cast", attributes={"to": TensorProto.FLOAT})
    return Stored(values=values.astype(np.float16), steps=[widened])
