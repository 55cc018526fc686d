"""From a ``torch.nn.Module`` to an ONNX graph with names and free sizes."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir.passes.common
import torch

from lepton_ai.errors import ModelError
from lepton_ai.formats.onnx import Onnx
from lepton_ai.formats.onnx_weights import FOLD_LIMIT
from lepton_ai.formats.quiet import quiet
from lepton_ai.model.model import Model

#: Free axes of one input: axis to the name of its size and the largest that it may have.
FreeAxes = Mapping[int, tuple[str, int | None]]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a module: its inputs by parameter name, in order, and which axes may vary."""

    inputs: Mapping[str, torch.Tensor]
    free: Mapping[str, FreeAxes]
    outputs: Sequence[str]


class ByPosition(torch.nn.Module):
    """A module called with one tensor per input, by position; answers a tuple of tensors.

    Parameters that are not fed keep their defaults, and nested answers are flattened.
    """

    def __init__(self, module: torch.nn.Module, names: Sequence[str], *, positional: bool) -> None:
        super().__init__()
        self.module = module
        self.training = module.training
        self.names = tuple(names)
        self.positional = positional

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The tensors in the module's answer, in order."""
        if self.positional:
            answer = self.module(*inputs)
        else:
            answer = self.module(**dict(zip(self.names, inputs, strict=True)))
        return tuple(tensor for _, tensor in named_tensors(answer))


def named_tensors(answer: Any) -> list[tuple[str, torch.Tensor]]:
    """The tensors in a module's answer, depth first, under the keys that they are found at.

    A lone tensor is called ``output``; the parts of a tuple ``output``, ``output_1``, and so on;
    those of a dictionary by its keys. What is no tensor (``None``, a number) is passed over.
    """
    found: list[tuple[str, torch.Tensor]] = []
    _collect(answer, "", found)
    taken: dict[str, torch.Tensor] = {}
    for key, tensor in found:
        name, number = key or "output", 0
        while name in taken:
            number += 1
            name = f"{key or 'output'}_{number}"
        taken[name] = tensor
    return list(taken.items())


def _collect(answer: Any, key: str, found: list[tuple[str, torch.Tensor]]) -> None:
    if isinstance(answer, torch.Tensor):
        found.append((key, answer))
    elif isinstance(answer, Mapping):
        for name, part in answer.items():
            _collect(part, f"{key}.{name}" if key else str(name), found)
    elif isinstance(answer, list | tuple):
        for part in answer:
            _collect(part, key, found)


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """The module in evaluation mode without gradients; every part gets its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def export(module: torch.nn.Module, call: Call, folder: Path) -> Model:
    """Write ``module``, whose ``forward`` takes ``*inputs``, as ONNX into ``folder``.

    Raises:
        ModelError: the exporter fails on the module; the message carries its reason.
    """
    dims: dict[str, Any] = {}
    shapes = tuple(_dynamic(call.free.get(name, {}), dims) for name in call.inputs)
    try:
        with evaluating(module), quiet():
            program = torch.onnx.export(
                module,
                tuple(call.inputs.values()),
                dynamo=True,
                verbose=False,
                dynamic_shapes=(shapes,),
                input_names=list(call.inputs),
                output_names=list(call.outputs),
            )
    except Exception as failure:  # the exporter wraps whatever the module or a converter raised
        raise ModelError(f"torch.onnx.export failed: {reason(failure)}") from failure
    if program is None:
        raise ModelError("torch.onnx.export gave no graph")
    # it holds the paths and source lines of this machine
    onnx_ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    weights = sum(tensor.nbytes for tensor in module.state_dict().values())
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as scratch:
        path = Path(scratch) / "model.onnx"
        with quiet():
            program.save(path, external_data=weights > FOLD_LIMIT // 2)
        model = Onnx().read(path, folder, None)
    _check_free(model, call)
    return model


def _check_free(model: Model, call: Call) -> None:
    """Refuse a graph in which the exporter fixed a size that was to be free, as it may silently."""
    for spec in model.signature.inputs:
        for axis, (size, _) in call.free.get(spec.name, {}).items():
            came = spec.shape[axis] if spec.shape is not None else size
            if isinstance(came, int):
                raise ModelError(f"forward works for {size} {came} only (input {spec.name!r})")


def reason(failure: BaseException) -> str:
    """The first telling line of an exporter's failure, without its advice and traces."""
    while failure.__cause__ is not None:
        failure = failure.__cause__
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return f"{type(failure).__name__}: {lines[0][:300]}" if lines else type(failure).__name__


def _dynamic(free: FreeAxes, dims: dict[str, Any]) -> dict[int, Any]:
    for name, most in free.values():
        if name not in dims:
            dims[name] = torch.export.Dim(name, max=most)
    return {axis: dims[name] for axis, (name, _) in free.items()}
