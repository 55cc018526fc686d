"""Weights of which the smaller half is zero: fewer bytes to transfer, and no time saved.

Zeros are what DEFLATE packs best, so that a file that is sent takes less; on disk, in memory and in
a call it stays what it was, for no engine here skips zeros. Half of all of a weight's elements, or
two of each four in a row along the axis that is summed over, which some GPUs do skip.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from lepton_ai.compress.slimming.importance import contracted
from lepton_ai.compress.stored_weights import LEAST_ELEMENTS
from lepton_ai.errors import ModelError
from lepton_ai.model.signature import Array

#: The smaller half of each weight; the smaller two of each four.
HALF, TWO_OF_FOUR = "half", "2:4"
PATTERNS = (HALF, TWO_OF_FOUR)
_GROUP, _KEPT = 4, 2


def made_sparse(model: ir.Model, pattern: str) -> tuple[str, ...]:
    """Put zeros into the weights of ``model``; the names of those that have them now.

    Raises:
        ModelError: there is no such pattern, or no weight of a matrix product or a convolution is
            large enough.
    """
    if pattern not in PATTERNS:
        raise ModelError(f"zeros come in the patterns {', '.join(PATTERNS)}; {pattern!r} is none")
    done = []
    for weight, axis in _weights(model):
        values = weight.const_value.numpy()  # type: ignore[union-attr]
        kept = _kept(np.abs(values.astype(np.float32)), axis, pattern)
        weight.const_value = ir.tensor(np.where(kept, values, 0).astype(values.dtype))
        done.append(str(weight.name))
    if not done:
        raise ModelError(
            f"no weight of a matrix product or a convolution has {LEAST_ELEMENTS} elements or more"
        )
    return tuple(done)


def _weights(model: ir.Model) -> Iterator[tuple[ir.Value, int]]:
    """The weights of products, each once, with the axis that is summed over."""
    seen = set()
    for node in model.graph:
        for weight, axis in contracted(node):
            value = weight.const_value
            if value is None or weight in seen or value.size < LEAST_ELEMENTS:
                continue
            if value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE):
                seen.add(weight)
                yield weight, axis


def _kept(sizes: Array, axis: int, pattern: str) -> Array:
    """Which elements stay, by their magnitudes."""
    if pattern == HALF:
        ordered = np.argsort(sizes, axis=None, kind="stable")
        kept = np.ones(sizes.size, dtype=bool)
        kept[ordered[: sizes.size // 2]] = False
        return kept.reshape(sizes.shape)
    last = np.moveaxis(sizes, axis, -1)
    whole = last.shape[-1] // _GROUP * _GROUP  # what is left over stays
    groups = last[..., :whole].reshape(*last.shape[:-1], -1, _GROUP)
    places = np.argsort(np.argsort(groups, axis=-1, kind="stable"), axis=-1, kind="stable")
    kept = np.ones(last.shape, dtype=bool)
    kept[..., :whole] = (places >= _GROUP - _KEPT).reshape(*last.shape[:-1], whole)
    return np.moveaxis(kept, -1, axis)
