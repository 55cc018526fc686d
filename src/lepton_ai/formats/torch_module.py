"""Live ``torch.nn.Module`` objects."""

import inspect
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ai.data.raw import UNNAMED
from lepton_ai.errors import DataError, ModelError
from lepton_ai.formats.format import Format
from lepton_ai.model.model import Model
from lepton_ai.model.signature import Array, Arrays

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
#: A batch of one would be taken for a constant by the exporter.
_BATCH = 2


class TorchModule(Format):
    """A module as its owner holds it in Python; it is exported in evaluation mode."""

    name = "torch-module"
    takes = "a torch.nn.Module from Python"

    def accepts(self, source: Any) -> bool:
        """Whether ``source`` is a module; torch is not imported to find out."""
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(source, torch.nn.Module)

    def read(self, source: Any, folder: Path, example: Arrays | None) -> Model:
        """Export with a free batch size where the module has one, else with that of ``example``.

        ``example`` holds a batch by the names of the parameters of ``forward``.
        """
        module: Module = source
        if example is None:
            raise DataError(
                "a torch.nn.Module does not say what its inputs look like; pass data with it, "
                "one array per parameter of forward"
            )
        example = _named(module, example)
        names, positional = _bind(module, example)
        tensors = {name: _tensor(name, example[name], module) for name in names}
        failures: list[str] = []
        for inputs, free in _attempts(tensors):
            try:
                model = _export(module, inputs, free, folder, positional=positional)
            except ModelError as failure:
                failures.append(str(failure))
                continue
            notes = model.notes if free else (*model.notes, _fixed_note(inputs, failures))
            return replace(model, notes=notes)
        raise ModelError(f"{type(module).__name__} cannot be exported: {failures[-1]}")


@contextmanager
def left_as_found(source: Any) -> Iterator[None]:
    """Give a module back in the mode it came in, part by part, and PyTorch its threads."""
    if not TorchModule().accepts(source):
        yield
        return
    import torch

    modes, threads = [(part, part.training) for part in source.modules()], torch.get_num_threads()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
        torch.set_num_threads(threads)


def _export(
    module: "Module",
    inputs: dict[str, "Tensor"],
    free: dict[str, Any],
    folder: Path,
    *,
    positional: bool,
) -> Model:
    from lepton_ai.formats import torch_export

    called = torch_export.ByPosition(module, list(inputs), positional=positional)
    answer = _run(module, inputs, positional=positional)
    outputs = _apart([name for name, _ in torch_export.named_tensors(answer)], inputs)
    call = torch_export.Call(inputs=inputs, free=free, outputs=outputs)
    return replace(
        torch_export.export(called, call, folder),
        name=type(module).__name__,
        module=module if _plain(module, list(inputs), answer) else called,
        source_format=TorchModule.name,
    )


def _named(module: "Module", example: Arrays) -> Arrays:
    """``example``, its one bare array under the name of the one parameter that wants a value."""
    if set(example) != {UNNAMED}:
        return example
    parameters = inspect.signature(module.forward).parameters.values()
    wanted = [p.name for p in parameters if p.default is p.empty and p.kind in _NAMED]
    return {wanted[0]: example[UNNAMED]} if len(wanted) == 1 else example


def _bind(module: "Module", example: Arrays) -> tuple[list[str], bool]:
    """The names of the inputs in the order of ``forward``, and whether to call by position."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if any(p.kind == p.VAR_KEYWORD for p in parameters) and not named:
        return list(example), False
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return list(example), True
    taken = [p.name for p in named]
    missing = [p.name for p in named if p.default is p.empty and p.name not in example]
    unknown = [name for name in example if name not in taken]
    if missing or unknown or not example:
        raise DataError(
            f"{type(module).__name__}.forward takes {taken}, and the data holds {list(example)}"
            + (f"; missing: {missing}" if missing else "")
            + (f"; unknown: {unknown}" if unknown else "")
        )
    by_name = all(p.kind != p.POSITIONAL_ONLY for p in named)
    return [name for name in taken if name in example], not by_name


def _tensor(name: str, array: Array, module: "Module") -> "Tensor":
    import torch

    array = np.asarray(array)
    weights = [weight for weight in module.parameters() if weight.is_floating_point()]
    try:
        tensor = torch.from_numpy(np.array(array, order="C"))
    except TypeError:
        raise DataError(
            f"input {name!r} has the dtype {array.dtype}, which torch has not"
        ) from None
    if tensor.dtype == torch.float64 and weights:
        tensor = tensor.to(weights[0].dtype)
    return tensor.to(weights[0].device) if weights else tensor


def _attempts(tensors: dict[str, "Tensor"]) -> list[tuple[dict[str, "Tensor"], dict[str, Any]]]:
    """Inputs to export with and their free axes: first a free batch, then all sizes fixed."""
    leading = Counter(tensor.shape[0] for tensor in tensors.values() if tensor.ndim)
    fixed: tuple[dict[str, Tensor], dict[str, Any]] = (tensors, {})
    if not leading or min(leading) < 1:
        return [fixed]
    batch = leading.most_common(1)[0][0]
    batched = [name for name, tensor in tensors.items() if tensor.ndim and len(tensor) == batch]
    times = -(-_BATCH // batch)
    grown = {
        name: tensor.repeat(times, *[1] * (tensor.ndim - 1)) if name in batched else tensor
        for name, tensor in tensors.items()
    }
    return [(grown, {name: {0: ("batch", None)} for name in batched}), fixed]


def _run(module: "Module", inputs: dict[str, "Tensor"], *, positional: bool) -> Any:
    """The module's own answer, before it is flattened."""
    from lepton_ai.formats import torch_export
    from lepton_ai.formats.quiet import quiet

    try:
        with torch_export.evaluating(module), quiet():
            answer = module(*inputs.values()) if positional else module(**inputs)
    except Exception as failure:  # the module is the user's: anything can come out of it
        shapes = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
        raise ModelError(f"forward fails on {shapes}: {torch_export.reason(failure)}") from failure
    if not torch_export.named_tensors(answer):
        raise ModelError(f"forward answers a {type(answer).__name__} with no tensor in it")
    return answer


def _apart(outputs: list[str], inputs: Iterable[str]) -> list[str]:
    """Output names that are no input's, as an ONNX graph has one name for one value."""
    return [f"{name}_out" if name in inputs else name for name in outputs]


def _plain(module: "Module", names: list[str], answer: Any) -> bool:
    """Whether the module itself takes its inputs by position and answers flat tensors."""
    import torch

    parameters = list(inspect.signature(module.forward).parameters.values())
    variadic = parameters and parameters[0].kind == parameters[0].VAR_POSITIONAL
    if not variadic and [p.name for p in parameters[: len(names)]] != names:
        return False
    parts = list(answer.values()) if isinstance(answer, dict) else answer
    if isinstance(parts, torch.Tensor):
        return True
    return isinstance(parts, list | tuple) and all(isinstance(p, torch.Tensor) for p in parts)


def _fixed_note(inputs: dict[str, "Tensor"], failures: list[str]) -> str:
    shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in inputs.items())
    why = f": {failures[-1]}" if failures else ", because no input has a batch axis"
    return f"the sizes of the inputs are fixed ({shapes}){why}"
