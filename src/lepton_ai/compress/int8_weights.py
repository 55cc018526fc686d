"""Weights stored in int8: a quarter of the bytes, and arithmetic as before.

For bytes alone: engines widen the weights while they load. Each slice of a weight along its first
or its last axis has a scale of its own, symmetric about zero; which axis, the error decides.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from lepton_ai.compress.compressor import Compressor
from lepton_ai.compress.stored_weights import Stored, Widening, store_weights
from lepton_ai.model.signature import Arrays

_STEPS = 127


class Int8Weights(Compressor):
    """8-bit integers for what is stored, floating point for what is computed."""

    name = "int8-weights"
    needs_calibration = False

    def compress(self, source: Path, target: Path, calibration: Iterable[Arrays]) -> None:
        """Read ``source``, write it with int8 weights to ``target``; ``calibration`` is not read.

        Raises:
            ModelError: the graph is too large, quantised already, or has no weights in floating
                point.
        """
        store_weights(self.name, source, target, _rounded)


def _rounded(values: np.ndarray[Any, Any]) -> Stored | None:
    if values.ndim < 2 or not np.isfinite(values).all():
        return None
    _, scale = min((_with_scales(values, axis) for axis in (0, -1)), key=lambda pair: pair[0])
    steps = np.rint(values / scale).clip(-_STEPS, _STEPS).astype(np.int8)
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    return Stored(
        values=steps,
        steps=[
            Widening(operator="Cast", attributes={"to": kind}),
            Widening(operator="Floor"),  # changes nothing, and hides the pair from OpenVINO
            Widening(operator="Mul", beside=scale),
        ],
    )


def _with_scales(values: np.ndarray[Any, Any], axis: int) -> tuple[float, np.ndarray[Any, Any]]:
    """The squared error with one scale for each slice along ``axis``, and the scales."""
    others = tuple(each for each in range(values.ndim) if each != axis % values.ndim)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / _STEPS, 1).astype(values.dtype)
    scale = np.where(scale > 0, scale, 1).astype(values.dtype)  # in fp16 it may be rounded to zero
    error = values - np.rint(values / scale) * scale
    return float(np.square(error, dtype=np.float64).sum()), scale
