"""What of a graph decides which plans are worth trying: can calls be stacked, is it large."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lepton_ai.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir


def stackable(path: Path) -> bool:
    """Whether the first axis of every input and output is a number of samples that is free.

    It is one where all inputs have the same symbol there, and no output a fixed size.
    """
    # Searches have onnx_ir, which this needs; the base install, which runs bundles, has not.
    from lepton_ai.graph.onnx_file import load_graph

    try:
        graph = load_graph(path).graph
    except ModelError:  # an engine may take it all the same
        return False
    given = [value for value in graph.inputs if value.name not in graph.initializers]
    counts = {_first(value) for value in given}
    free = len(counts) == 1 and isinstance(next(iter(counts)), str)
    return free and all(not isinstance(_first(value), int) for value in graph.outputs)


def weight_bytes(path: Path) -> int:
    """What the weights of the graph at ``path`` hold; none where it cannot be read."""
    from lepton_ai.graph.onnx_file import load_graph

    try:
        held = load_graph(path).graph.initializers.values()
    except ModelError:
        return 0
    return sum(value.const_value.nbytes for value in held if value.const_value is not None)


def _first(value: ir.Value) -> int | str | None:
    """The first size: a number, a symbol, or ``None`` where it or the shape is unknown."""
    if value.shape is None:
        return None
    if not len(value.shape):
        return 0  # a scalar is no sample, and fixed
    first = value.shape[0]
    return first if isinstance(first, int) else first.value
