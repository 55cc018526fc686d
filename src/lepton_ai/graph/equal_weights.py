"""Weights that are bit by bit equal."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.model.signature import Array

#: Bytes at each end of a weight that are compared before all of it is.
_GLANCE = 4096


def weights_of(model: ir.Model) -> Iterator[ir.Value]:
    """The initializers of every graph that no caller can replace."""
    for graph in model.graphs():
        given = set(graph.inputs)
        yield from (value for value in graph.initializers.values() if value not in given)


def equal_weights(model: ir.Model) -> list[list[ir.Value]]:
    """Groups of equal weights: told apart by kind, then by a glance, then in full."""
    groups = [[value for value in weights_of(model) if value.const_value is not None]]
    for tell in (_kind, _glance, digest):
        parts: dict[Any, list[ir.Value]] = defaultdict(list)
        for number, group in enumerate(groups):
            for value in group:
                if value.const_value is not None:
                    parts[(number, tell(value.const_value))].append(value)
        groups = [part for part in parts.values() if len(part) > 1]
    return groups


def digest(tensor: ir.TensorProtocol) -> str:
    """A hash of all the values in ``tensor``."""
    return hashlib.blake2b(_bytes(tensor).data, digest_size=16).hexdigest()


def _kind(tensor: ir.TensorProtocol) -> Any:
    return tensor.dtype, tuple(tensor.shape.numpy())


def _glance(tensor: ir.TensorProtocol) -> bytes:
    held = _bytes(tensor)
    return bytes(held[:_GLANCE]) + bytes(held[-_GLANCE:])


def _bytes(tensor: ir.TensorProtocol) -> Array:
    """The tensor's values as bytes, in place where they lie in a row; strings by their text."""
    values = np.ascontiguousarray(tensor.numpy())
    if values.dtype == object:
        return np.frombuffer(repr(values.tolist()).encode(), np.uint8)
    return values.reshape(-1).view(np.uint8)
