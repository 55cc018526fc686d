"""Weights stored in 4 bits: an eighth of the bytes, and arithmetic as before.

For bytes alone: engines widen the weights while they load. Each block of 32 values has a scale of
its own in half precision, 4.5 bits a value together. By the scale the value that is largest becomes
-8, so that all 16 steps are used (the format Q4_0 of ggml), or a little more, which is cut off:
whichever loses less. Two values share a byte, and are taken apart by arithmetic that every engine
has, in any opset: integers of 4 bits came late to ONNX, and OpenVINO 2026.4 looks up the wrong rows
of an embedding that is stored in them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from lepton_ai.compress.compressor import Compressor
from lepton_ai.compress.stored_weights import Stored, Widening, store_weights
from lepton_ai.model.signature import Arrays

_BLOCK = 32
#: What a value of 4 bits is counted from, and how many values it has.
_ZERO, _VALUES = 8, 16
#: What is tried in place of the whole range of a block.
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8)
_LEAST_SCALE, _LARGEST_SCALE = float(np.finfo(np.float16).tiny), float(np.finfo(np.float16).max)


class Int4Weights(Compressor):
    """4-bit integers for what is stored, floating point for what is computed."""

    name = "int4-weights"
    needs_calibration = False

    def compress(self, source: Path, target: Path, calibration: Iterable[Arrays]) -> None:
        """Read ``source``, write it with int4 weights to ``target``; ``calibration`` is not read.

        Raises:
            ModelError: the graph is too large, quantised already, or has no weights in floating
                point.
        """
        store_weights(self.name, source, target, packed)


def packed(values: np.ndarray[Any, Any]) -> Stored | None:
    """Two neighbours in each byte, the first in its lower half."""
    if values.ndim < 2 or values.size % _BLOCK or not np.isfinite(values).all():
        return None
    blocks = values.astype(np.float32).reshape(-1, _BLOCK)
    if not np.abs(blocks).max() <= _LARGEST_SCALE:
        return None
    scale = _scales(blocks)
    nibbles = (_steps(blocks, scale) + _ZERO).astype(np.uint8).reshape(-1, _BLOCK // 2, 2)
    kind = values.dtype
    return Stored(
        values=nibbles[..., :1] + _VALUES * nibbles[..., 1:],
        steps=[
            Widening(operator="Cast", attributes={"to": helper.np_dtype_to_tensor_dtype(kind)}),
            Widening(operator="Mul", beside=np.array([1, 1 / _VALUES], kind)),
            Widening(operator="Floor"),  # the byte, and its upper half
            Widening(operator="MatMul", beside=np.array([[1, 0], [-_VALUES, 1]], kind)),
            Widening(operator="Sub", beside=np.array(_ZERO, kind)),
            Widening(operator="Mul", beside=scale.reshape(-1, 1, 1)),
            Widening(operator="Reshape", beside=np.array(values.shape, np.int64)),
        ],
    )


def _scales(blocks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The scale of each block, in half precision, with the least squared error of those tried."""
    places = np.abs(blocks).argmax(axis=-1, keepdims=True)
    whole = np.take_along_axis(blocks, places, axis=-1) / -_ZERO
    best, least = whole.astype(np.float16), np.full(whole.shape, np.inf, np.float32)
    for share in _SHARES:
        fine = np.abs(whole * share) >= _LEAST_SCALE  # below it half precision is coarse, or zero
        scale = np.where(fine, whole * share, _LEAST_SCALE).astype(np.float16)
        lost = blocks - _steps(blocks, scale) * scale.astype(np.float32)
        error = np.square(lost).sum(axis=-1, keepdims=True)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return best


def _steps(blocks: np.ndarray[Any, Any], scale: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How many steps from zero each value is rounded to, -8 to 7."""
    rounded: np.ndarray[Any, Any] = np.rint(blocks / scale.astype(np.float32))
    return rounded.clip(-_ZERO, _VALUES - 1 - _ZERO)
