"""A graph traced by ``torch.export``, and what is kept of it beside the compiled package.

It is traced once for all sizes that it says are free. Where the trace fixes some of them (a loop
that is written out holds for one length) or fails, it is traced anew for the sizes of a call.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_ai.engines.inductor_sizes import Shapes, Sizes, sizes_of
from lepton_ai.errors import EngineError, EngineUnavailableError, ModelError, first_line
from lepton_ai.model.signature import Arrays, Signature, TensorSpec

if TYPE_CHECKING:  # the base install has neither
    import onnx_ir as ir

_CONTENTS = "network.json"
#: Sizes that an input's free axes are traced with, where nothing tells which it can take.
_ANY_SIZE = 8
_PRODUCTS = {"fp32": None, "bf16": "bfloat16", "fp16": "float16"}
#: The tracer and the compiler keep their state in the process.
alone = threading.RLock()


@dataclass(frozen=True, kw_only=True)
class Source:
    """A graph as it is traced: the module, its inputs and outputs, and what it can take.

    ``examples`` is a size for each name; ``calls`` makes up some of different sizes, but those that
    it is given.
    """

    module: Any
    signature: Signature
    examples: Mapping[str, int]
    calls: Callable[[Mapping[str, int]], list[Arrays]]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a folder holds: ``sizes`` of the package in it, or ``None`` where there is no package.

    ``fixed`` are the names of the sizes that the trace could not leave free.
    """

    signature: Signature
    fixed: tuple[str, ...]
    sizes: Sizes | None


def torch_here() -> Any:
    """The package.

    Raises:
        EngineUnavailableError: it is not installed.
    """
    try:
        import torch
    except ImportError as failure:
        raise EngineUnavailableError(
            "torch is not installed: pip install 'lepton-ai[train]'"
        ) from failure
    return torch


def read_source(path: Path, precision: str, device: str) -> Source:
    """The ONNX file at ``path`` as a module on ``device``.

    Raises:
        EngineError: the graph holds what cannot be traced; the message names the node.
    """
    torch_here()
    from lepton_ai.graph.onnx_file import load_graph
    from lepton_ai.operators.module import GraphModule

    try:
        model = load_graph(path)
        signature = _signature(model)
    except ModelError as failure:
        raise EngineError(f"inductor refuses the graph: {failure}") from failure
    try:
        module = GraphModule(model, outputs=signature.output_names, products=_PRODUCTS[precision])
    except EngineError as failure:
        raise EngineError(f"inductor refuses the graph: {failure}") from failure
    module.tie(_same_sizes(signature))
    module = module.eval().requires_grad_(False).to(device)
    calls = partial(_made_up, model)
    examples = _examples(calls({}), signature)
    return Source(module=module, signature=signature, examples=examples, calls=calls)


def trace(source: Source, sizes: Mapping[str, int], device: str) -> tuple[Any, Sizes]:
    """The exported program with all sizes free but those in ``sizes``, and what it says of them.

    Raises:
        EngineError: it cannot be traced so; the message names the node.
    """
    specs = source.signature.inputs
    if any(spec.shape is None for spec in specs):
        raise EngineError("inductor refuses the graph: an input has no number of axes")
    known = {**source.examples, **sizes}
    shapes = [
        tuple(size if isinstance(size, int) else known[size] for size in spec.shape or ())
        for spec in specs
    ]
    free = [
        {axis for axis, size in enumerate(spec.shape or ()) if size not in sizes}
        & {axis for axis, size in enumerate(spec.shape or ()) if isinstance(size, str)}
        for spec in specs
    ]
    return _exported(source, shapes, free, device)


def trace_fixed(source: Source, shapes: Shapes, device: str) -> tuple[Any, Sizes]:
    """The exported program for inputs of these shapes alone.

    Raises:
        EngineError: it cannot be traced; the message names the node.
    """
    return _exported(source, shapes, [set()] * len(shapes), device)


def is_static(signature: Signature) -> bool:
    """Whether every input has one shape."""
    return all(
        spec.shape is not None and all(isinstance(size, int) for size in spec.shape)
        for spec in signature.inputs
    )


def fixed_sizes(signature: Signature, sizes: Sizes) -> dict[str, int]:
    """The free sizes of a graph that the trace has fixed, by name."""
    return {
        name: size
        for spec, shape in zip(signature.inputs, sizes.shapes, strict=True)
        for name, size in zip(spec.shape or (), shape, strict=True)
        if isinstance(name, str) and isinstance(size, int)
    }


def write_contents(folder: Path, contents: Contents) -> None:
    """Put beside the package what :func:`read_contents` reads."""
    record = {
        "signature": contents.signature.to_json(),
        "fixed": list(contents.fixed),
        "sizes": None if contents.sizes is None else contents.sizes.to_json(),
    }
    (folder / _CONTENTS).write_text(json.dumps(record), encoding="utf-8")


def read_contents(folder: Path) -> Contents:
    """The inverse of :func:`write_contents`."""
    record = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
    sizes = record["sizes"]
    return Contents(
        signature=Signature.from_json(record["signature"]),
        fixed=tuple(record["fixed"]),
        sizes=None if sizes is None else Sizes.from_json(sizes),
    )


def _exported(
    source: Source, shapes: Sequence[Sequence[int]], free: Sequence[set[int]], device: str
) -> tuple[Any, Sizes]:
    torch = torch_here()
    from lepton_ai.operators.namespaces.torch import torch_dtype

    inputs = tuple(
        torch.zeros(tuple(shape), dtype=torch_dtype(dtype_of(spec)), device=device)
        for spec, shape in zip(source.signature.inputs, shapes, strict=True)
    )
    automatic = torch.export.Dim.AUTO
    wanted = tuple(dict.fromkeys(sorted(axes), automatic) for axes in free)
    try:
        with alone, torch.no_grad():
            program = torch.export.export(source.module, inputs, dynamic_shapes=(wanted,))
            return program, sizes_of(program)
    except Exception as failure:  # PyTorch and the meanings raise whatever they happen to
        raise EngineError(f"inductor refuses the graph: {first_line(failure)}") from failure


def dtype_of(spec: TensorSpec) -> Any:
    """The dtype of an input, in NumPy's spelling."""
    import ml_dtypes
    import numpy as np

    return np.dtype(ml_dtypes.bfloat16 if spec.dtype == "bfloat16" else spec.dtype)


def _made_up(model: "ir.Model", fixed: Mapping[str, int]) -> list[Arrays]:
    from lepton_ai.graph.feeding.feeds import generate

    try:
        return generate(model, sizes=[fixed] if fixed else None)
    except ModelError:
        return []


def _examples(calls: Sequence[Arrays], signature: Signature) -> dict[str, int]:
    """A size that the graph can take for each name; different ones, where that is no matter.

    Sizes that happen to be equal are sizes that a trace may take for equal.
    """
    found: dict[str, int] = {}
    feed = calls[1] if calls else {}  # of them the one whose sizes are all larger than one
    for spec in signature.inputs:
        came = feed[spec.name].shape if spec.name in feed else ()
        for axis, name in enumerate(spec.shape or ()):
            if isinstance(name, str) and name not in found:
                size = came[axis] if axis < len(came) else _ANY_SIZE
                # Sides of images are multiples of what they are halved by, and stay so.
                while size % _ANY_SIZE and size in found.values():
                    size += 1
                found[name] = size
    return found


def _same_sizes(signature: Signature) -> list[list[tuple[int, int]]]:
    """The places of inputs, and their axes, whose sizes go by one name."""
    found: dict[str, list[tuple[int, int]]] = {}
    for place, spec in enumerate(signature.inputs):
        for axis, name in enumerate(spec.shape or ()):
            if isinstance(name, str):
                found.setdefault(name, []).append((place, axis))
    return [places for places in found.values() if len(places) > 1]


def _signature(model: "ir.Model") -> Signature:
    import onnx
    import onnx_ir as ir

    from lepton_ai.formats.onnx_signature import read_signature
    from lepton_ai.graph.applying import free_inputs

    signature, _ = read_signature(
        onnx.GraphProto(
            input=[ir.serde.serialize_value(value) for value in free_inputs(model)],
            output=[ir.serde.serialize_value(value) for value in model.graph.outputs],
        )
    )
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype == "str":
            raise ModelError(f"{spec.name!r} is text, which PyTorch does not compute with")
    return signature
