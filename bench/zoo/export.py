"""From an architecture's name to an ONNX file on disk."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from lepton_ai.formats.quiet import quiet

SEED = 3
MODULES = ("convolutional", "attention", "sequence", "recommendation", "generation", "control")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A module with one call of it; ``free`` names the axes that may vary, by input."""

    module: torch.nn.Module
    inputs: Mapping[str, torch.Tensor]
    outputs: Sequence[str]
    free: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    #: The exporter of before ``torch.export``, which many pipelines still use.
    torchscript: bool = False


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One entry of the zoo: ``build(small)`` gives a network, or a ready ONNX graph."""

    name: str
    build: Callable[[bool], Network | onnx.ModelProto]


def architectures() -> dict[str, Architecture]:
    """Every architecture by name, in the order of the tables."""
    found: dict[str, Architecture] = {}
    for module in MODULES:
        for name, build in importlib.import_module(f"zoo.{module}").ARCHITECTURES.items():
            found[name] = Architecture(name=name, build=build)
    return found


def export(name: str, folder: Path, *, small: bool) -> Path:
    """Write the architecture ``name`` into ``folder``; the path of its ONNX file."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    path = folder / f"{name}.onnx"
    if path.exists():
        return path
    built = architectures()[name].build(small)
    if isinstance(built, onnx.ModelProto):
        onnx.save(built, path)
    else:
        with quiet(), torch.no_grad():
            _trained(built.module)
            _export(built, path)
    return path


def _trained(module: torch.nn.Module) -> None:
    """Biases and norms as training leaves them; the zeros and ones at the start would fold away."""
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    for parameter in module.parameters():
        if parameter.ndim == 1 or not parameter.any():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    module.eval()


def _export(network: Network, path: Path) -> None:
    arguments: dict[str, Any] = {
        "input_names": list(network.inputs),
        "output_names": list(network.outputs),
    }
    if network.torchscript:
        torch.onnx.export(
            network.module,
            tuple(network.inputs.values()),
            str(path),
            dynamo=False,
            opset_version=17,
            dynamic_axes={name: dict(axes) for name, axes in network.free.items()},
            **arguments,
        )
        return
    sizes: dict[str, Any] = {}
    shapes = tuple(
        {
            axis: sizes.setdefault(size, torch.export.Dim(size, min=1))
            for axis, size in network.free.get(name, {}).items()
        }
        for name in network.inputs
    )
    program = torch.onnx.export(
        network.module,
        tuple(network.inputs.values()),
        dynamo=True,
        verbose=False,
        dynamic_shapes=shapes,
        **arguments,
    )
    program.save(path)
