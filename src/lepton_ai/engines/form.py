"""What of a graph decides which plans are worth trying: can calls be stacked, is it large."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lepton_ai.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class Form:
    """What of a graph decides which plans are worth trying.

    ``stackable`` says whether the first axis of every input and output is a number of samples that
    is free: all inputs have the same symbol there, and no output a fixed size.
    """

    stackable: bool
    weight_bytes: int


def look(path: Path) -> Form:
    """The form of the graph at ``path``; the least promising where it cannot be read."""
    # Searches have onnx_ir, which this needs; the base install, which runs bundles, has not.
    from lepton_ai.graph.onnx_file import load_graph

    try:
        graph = load_graph(path).graph
    except ModelError:  # an engine may take it all the same
        return Form(stackable=False, weight_bytes=0)
    given = [value for value in graph.inputs if value.name not in graph.initializers]
    counts = {_first(value) for value in given}
    free = len(counts) == 1 and isinstance(next(iter(counts)), str)
    held = [value.const_value for value in graph.initializers.values()]
    return Form(
        stackable=free and all(not isinstance(_first(value), int) for value in graph.outputs),
        weight_bytes=sum(tensor.nbytes for tensor in held if tensor is not None),
    )


def _first(value: ir.Value) -> int | str | None:
    """The first size: a number, a symbol, or ``None`` where it or the shape is unknown."""
    if value.shape is None:
        return None
    if not len(value.shape):
        return 0  # a scalar is no sample, and fixed
    first = value.shape[0]
    return first if isinstance(first, int) else first.value
