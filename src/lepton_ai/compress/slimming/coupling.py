"""Which indices of which axes stand or fall together: the dependency graph of structured pruning.

Every index of every axis of known size is an element. Each operator says which elements of what it
reads are which of what it answers (a convolution's output channel is a row of its weight, an
element of its bias, a channel of its answer; a Reshape makes 32 features in a row one head), and
which cannot go alone. What is connected is removed together or not at all (DepGraph, Fang et al.
2023, arXiv:2301.12900, there by layers and here by elements, so that concatenations, splits, heads
and groups are no special cases).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lepton_ai.graph.building import constant_of
from lepton_ai.model.signature import Array

#: A value and one of its axes.
Site = tuple[ir.Value, int]
#: Says which elements of a node's inputs and outputs belong together.
Coupler = Callable[["Ties", ir.Node], None]

_NOTHING = np.zeros(0, dtype=np.int64)


class Ties:
    """The elements of a graph, and what ties them together so far."""

    def __init__(self, model: ir.Model) -> None:
        self._begin: dict[Site, int] = {}
        self._sites: list[Site] = []
        self.count = 0
        self._pairs: list[tuple[Array, Array]] = []
        self._locked: list[Array] = []
        for value in _values(model):
            for axis, size in enumerate(value.shape or ()):
                if isinstance(size, int) and size > 1:
                    self._begin[value, axis] = self.count
                    self._sites.append((value, axis))
                    self.count += size

    def line(self, value: ir.Value | None, axis: int) -> Array:
        """The elements along an axis; none where its size is one or not known."""
        if value is None or value.shape is None:
            return _NOTHING
        axis = axis % len(value.shape) if len(value.shape) else 0
        begin = self._begin.get((value, axis))
        if begin is None:
            return _NOTHING
        return np.arange(begin, begin + int(value.shape[axis]), dtype=np.int64)  # type: ignore[arg-type]

    def tie(self, one: Array, other: Array) -> None:
        """Let each element of ``one`` stand or fall with that of ``other`` at its place.

        Lines of unequal length are locked: whatever that is, it is not understood.
        """
        if len(one) == len(other):
            self._pairs.append((one, other))
        else:
            self.lock(one)
            self.lock(other)

    def tie_axes(self, one: ir.Value | None, axis: int, other: ir.Value | None, to: int) -> None:
        """Tie two axes index by index; an axis of size one is spread over the other."""
        first, second = self.line(one, axis), self.line(other, to)
        if len(first) and len(second):
            self.tie(first, second)
        else:
            self.lock(first if _is_unknown(other, to) else _NOTHING)
            self.lock(second if _is_unknown(one, axis) else _NOTHING)

    def lock(self, elements: Array) -> None:
        """Let none of ``elements`` ever go."""
        self._locked.append(elements)

    def lock_value(self, value: ir.Value | None) -> None:
        """Let no index of any axis of ``value`` ever go."""
        for axis in range(len(value.shape or ()) if value is not None else 0):
            self.lock(self.line(value, axis))

    def lock_node(self, node: ir.Node) -> None:
        """Let nothing go of what ``node`` reads or answers."""
        for value in (*node.inputs, *node.outputs):
            self.lock_value(value)

    def components(self) -> "Components":
        """What is tied together, and what of it may go."""
        ones = np.concatenate([pair[0] for pair in self._pairs] or [_NOTHING])
        others = np.concatenate([pair[1] for pair in self._pairs] or [_NOTHING])
        links = coo_array(
            (np.ones(len(ones), dtype=bool), (ones, others)), shape=(self.count, self.count)
        )
        found, labels = connected_components(links, directed=False)
        free = np.ones(found, dtype=bool)
        free[labels[np.concatenate([*self._locked, _NOTHING])]] = False
        return Components(
            sites=tuple(self._sites),
            begins=np.array([self._begin[site] for site in self._sites], dtype=np.int64),
            labels=labels.astype(np.int64),
            free=free,
        )


@dataclass(frozen=True, kw_only=True)
class Components:
    """The elements of a graph by component: ``labels`` [elements], ``free`` [components].

    ``begins`` [sites] is the number of the first element of each of ``sites``.
    """

    sites: tuple[Site, ...]
    begins: Array
    labels: Array
    free: Array

    def of(self, site: Site) -> Array:
        """The component of each index along an axis; none where it has no elements."""
        places = self._places
        if site not in places:
            return _NOTHING
        place = places[site]
        end = self.begins[place + 1] if place + 1 < len(self.begins) else len(self.labels)
        return np.asarray(self.labels[self.begins[place] : end])

    def widths(self) -> list[Array]:
        """Free components of one kind each: those that lie on the same axes, as often on each."""
        place = np.searchsorted(self.begins, np.arange(len(self.labels)), side="right") - 1
        order = np.lexsort((place, self.labels))
        kinds: dict[bytes, list[int]] = {}
        labels, sites = self.labels[order], place[order]
        starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
        for start, end in zip(starts, [*starts[1:], len(labels)], strict=True):
            label = int(labels[start])
            if self.free[label] and end - start > 1:
                kinds.setdefault(sites[start:end].tobytes(), []).append(label)
        return [np.array(each, dtype=np.int64) for each in kinds.values()]

    def touched(self, node: ir.Node) -> set[int]:
        """A component of each axis that ``node`` reads or answers, weights left out."""
        axes = [
            self.of((value, axis))
            for value in (*node.inputs, *node.outputs)
            if value is not None and not value.is_initializer()
            for axis in range(len(value.shape or ()))
        ]
        return {int(line[0]) for line in axes if len(line)}

    @cached_property
    def _places(self) -> dict[Site, int]:
        return {site: place for place, site in enumerate(self.sites)}


def sizes_of(value: ir.Value | None) -> Sequence[Any] | None:
    """The sizes of a value: numbers, names as texts, ``None`` where nothing is known."""
    if value is None or value.shape is None:
        return None
    return [size if isinstance(size, int) else size.value for size in value.shape]


def written_sizes(value: ir.Value | None) -> list[int | None] | None:
    """The elements of a vector of sizes: numbers where they are written in the graph.

    It is a constant, or several in a row, of which some may be computed; ``None`` is any other.
    """
    known = constant_of(value)
    if known is not None:
        return [int(size) for size in known.reshape(-1)]
    maker = None if value is None else value.producer()
    if maker is None or maker.op_type != "Concat":
        return None
    sizes: list[int | None] = []
    for part in maker.inputs:
        known, length = constant_of(part), sizes_of(part)
        if known is not None:
            sizes += [int(size) for size in known.reshape(-1)]
        elif length is not None and len(length) == 1 and isinstance(length[0], int):
            sizes += [None] * length[0]
        else:
            return None
    return sizes


def _is_unknown(value: ir.Value | None, axis: int) -> bool:
    if value is None:
        return False
    sizes = sizes_of(value)
    return sizes is None or sizes[axis] != 1


def _values(model: ir.Model) -> list[ir.Value]:
    graph = model.graph
    found = dict.fromkeys([*graph.inputs, *graph.initializers.values()])
    for node in graph:
        found.update(dict.fromkeys(value for value in node.inputs if value is not None))
        found.update(dict.fromkeys(node.outputs))
    return list(found)
