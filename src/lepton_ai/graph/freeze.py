"""Symbolic sizes given a value, on request: a graph for one size runs faster where it fits."""

from collections.abc import Collection, Iterator, Mapping

import onnx_ir as ir

from lepton_ai.errors import ModelError
from lepton_ai.graph.inspection.cost import infer_shapes

#: An axis of more elements than this fits no memory.
LARGEST = 2**31 - 1


def freeze(model: ir.Model, sizes: Mapping[str, int]) -> None:
    """Give the named symbolic sizes of ``model`` fixed values, in place.

    Every shape that names one gets its value, in subgraphs too; what follows from them is inferred
    anew, and arithmetic with shapes is then constant and for the rewrite rules to fold. The graph
    answers as before where its inputs have these sizes, and takes no others.

    Raises:
        ModelError: no input has a size of that name, or the value is none that a size can have.
    """
    known = symbolic_sizes(model)
    for name, size in sizes.items():
        if name not in known:
            there_are = f"there are {', '.join(known)}" if known else "all of them are fixed"
            raise ModelError(f"no input has a size named {name!r}: {there_are}")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ModelError(f"size {name!r} must be a positive whole number, not {size!r}")
        if size > LARGEST:
            raise ModelError(f"size {name!r} may be at most {LARGEST}, and {size} came")
    for value in _values(model):
        if value.shape is not None:
            value.shape = ir.Shape([_fixed(size, sizes, known) for size in value.shape])
    infer_shapes(model)


def symbolic_sizes(model: ir.Model) -> tuple[str, ...]:
    """The names of the sizes that a caller of ``model`` chooses, in the order of its inputs."""
    named = [
        size.value
        for value in model.graph.inputs
        for size in value.shape or ()
        if isinstance(size, ir.SymbolicDim) and size.value
    ]
    return tuple(dict.fromkeys(named))


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _fixed(
    size: int | ir.SymbolicDim, sizes: Mapping[str, int], known: Collection[str]
) -> int | ir.SymbolicDim:
    """What ``size`` is once ``sizes`` are fixed: exporters name a size ``4*batch`` as well."""
    if isinstance(size, int) or size.value is None:
        return size
    if size.value in sizes:
        return sizes[size.value]
    try:
        symbols = size.free_symbols()
    except ValueError:  # a name that is no expression, such as ``dynamic::0``
        return size
    if symbols.isdisjoint(sizes) or not symbols <= set(known):
        return size
    return size.evaluate(sizes)
