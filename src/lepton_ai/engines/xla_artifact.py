"""A program lowered without its sizes, where that can be, and kept, so as not to be traced again.

What is kept is JAX's format for exported programs, with StableHLO inside, and the weights beside.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.engines.xla_client import PLATFORMS, jax_here, platform_of, tracing
from lepton_ai.engines.xla_program import Program, placed, specs
from lepton_ai.engines.xla_refusals import complaint
from lepton_ai.engines.xla_weights import read_weights, write_weights
from lepton_ai.errors import EngineError, ModelError
from lepton_ai.model.signature import Arrays, Signature

_PROGRAM = "program.stablehlo"
_CONTENTS = "program.json"


def write_program(program: Program, path: Path, folder: Path) -> bool:
    """Put ``program``, read from ``path``, into ``folder``; false if that cannot be without sizes.

    It is lowered for all of :data:`~lepton_ai.engines.xla_client.PLATFORMS` at once where each has
    what the graph needs, otherwise for the one that is here.
    """
    exported = _exported(program, path)
    if exported is None:
        return False
    arrays = {str(place): np.asarray(one) for place, one in enumerate(program.weights)}
    write_weights(folder, arrays)
    (folder / _PROGRAM).write_bytes(exported.serialize())
    contents = {
        "signature": program.signature.to_json(),
        "precision": program.precision,
        "platforms": list(exported.platforms),
    }
    (folder / _CONTENTS).write_text(json.dumps(contents), encoding="utf-8")
    return True


def stored_program(folder: Path, device: Any) -> Program | None:
    """What :func:`write_program` put into ``folder``, if it did; to be run on ``device``."""
    if not (folder / _CONTENTS).exists():
        return None
    contents = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
    try:
        exported = jax_here().export.deserialize(bytearray((folder / _PROGRAM).read_bytes()))
    except Exception:  # nothing that this JAX takes; the graph can be traced again
        return None
    return Program(
        signature=Signature.from_json(contents["signature"]),
        precision=contents["precision"],
        device=device,
        weights=tuple(placed(array, device) for array in read_weights(folder).values()),
        function=exported.call,
        platforms=tuple(contents["platforms"]),
    )


def try_tracing(program: Program, path: Path) -> None:
    """Trace ``program``, read from ``path``, without compiling it.

    Raises:
        EngineError: it can be traced neither without sizes nor in any that it would take.
    """
    from lepton_ai.graph.feeding.feeds import generate
    from lepton_ai.graph.onnx_file import load_graph

    shapes = symbolic_shapes(program)
    failure = None if shapes is None else _untraceable(program, shapes)
    feeds: list[Arrays] = []
    if shapes is None or (failure is not None and not program.is_static):
        try:
            feeds = generate(load_graph(path))
        except ModelError:  # nobody can say in which sizes to try
            return
    for feed in feeds:
        named = [feed[name].shape for name in program.signature.input_names]
        failure = _untraceable(program, named)
        if failure is None:
            return
    if failure is not None:
        raise EngineError(f"xla refuses the graph: {complaint(failure)}") from failure


def symbolic_shapes(
    program: Program, most: Mapping[str, int] | None = None
) -> list[tuple[Any, ...]] | None:
    """The shapes of the inputs with JAX's symbols for free sizes; none where a rank is unknown.

    ``most`` are the largest values that sizes may take, for some of them.
    """
    export = jax_here().export
    free: dict[str, str] = {}
    for spec in program.signature.inputs:
        if spec.shape is None:
            return None
        for size in spec.shape:
            if isinstance(size, str):  # which may be any text, and in JAX it is an identifier
                free.setdefault(size, f"size{len(free)}")
    limits = [f"{free[name]} <= {limit}" for name, limit in (most or {}).items() if name in free]
    scope = export.SymbolicScope(limits)
    symbols: dict[Any, Any] = {
        size: export.symbolic_shape(name, scope=scope)[0] for size, name in free.items()
    }
    return [
        tuple(symbols.get(size, size) for size in spec.shape or ())
        for spec in program.signature.inputs
    ]


def _exported(program: Program, path: Path) -> Any:
    """The lowered program; nothing if it cannot be traced without its sizes."""
    export = jax_here().export
    jitted = jax_here().jit(program.function)
    shapes = _traceable_shapes(program, path, jitted)
    if shapes is None:
        return None
    with tracing(program.device, program.precision):
        for platforms in (PLATFORMS, (platform_of(program.device),)):
            try:
                lower = export.export(jitted, platforms=platforms)
                return lower(program.weights, specs(program, shapes))
            except Exception:  # one of the platforms lacks something; the next is tried
                continue
    return None


def _traceable_shapes(program: Program, path: Path, jitted: Any) -> list[tuple[Any, ...]] | None:
    """Symbolic shapes in which ``program`` can be traced: of any size, or of what fits its tables.

    A network with 512 positions slices as many as there are tokens from its table of them; only of
    a number below 512 is it certain that it gets them.
    """
    shapes = symbolic_shapes(program)
    if shapes is None:
        return None
    failure = _untraceable(program, shapes, jitted)
    if failure is None:
        return shapes
    if program.is_static:
        raise EngineError(f"xla refuses the graph: {complaint(failure)}") from failure
    most = _largest_sizes(path)
    shapes = symbolic_shapes(program, most)
    return shapes if most and shapes and not _untraceable(program, shapes, jitted) else None


def _largest_sizes(path: Path) -> Mapping[str, int]:
    """The largest values of sizes that the graph at ``path`` can take, by its constants."""
    import onnx_ir as ir

    from lepton_ai.graph.applying import free_inputs
    from lepton_ai.graph.bodies import inline_functions
    from lepton_ai.graph.feeding.index_bounds import find_bounds
    from lepton_ai.graph.inspection.cost import infer_shapes
    from lepton_ai.graph.onnx_file import load_graph

    model = load_graph(path)
    try:
        inline_functions(model)
        infer_shapes(model)
    except ModelError:  # then nothing is known of its sizes
        return {}
    inputs = free_inputs(model)
    named = {
        size.value
        for value in inputs
        for size in value.shape or ()
        if isinstance(size, ir.SymbolicDim) and size.value
    }
    return find_bounds(model, inputs, named).most


def _untraceable(
    program: Program, shapes: Sequence[Sequence[Any]], jitted: Any = None
) -> Exception | None:
    """Why ``program`` cannot be traced in these shapes; nothing if it can."""
    jitted = jitted or jax_here().jit(program.function)
    with tracing(program.device, program.precision):
        try:
            jitted.trace(program.weights, specs(program, shapes))
        except Exception as failure:  # JAX and the meanings raise whatever they happen to
            return failure
    return None
