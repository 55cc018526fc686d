"""A bare ONNX graph as a PyTorch module: run eagerly, trained, or traced by ``torch.export``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from lepton_ai.errors import EngineError
from lepton_ai.operators.evaluation import Evaluation
from lepton_ai.operators.initialisers import Lifted, lift
from lepton_ai.operators.namespaces.torch import TorchNamespace, torch_dtype

#: An input and an axis of it.
Place = tuple[int, int]


class GraphModule(torch.nn.Module):
    """The graph of ``model``, its float initialisers as parameters of the submodule ``weights``.

    Running statistics of batch normalisations are buffers. Integers, and floats that decide shapes,
    stay constants. ``initialisers`` tells for each name in ``weights`` the initialiser that it was.
    ``outputs`` names those that are wanted, if not all. ``products`` as for
    :class:`~lepton_ai.operators.namespaces.torch.TorchNamespace`.

    Raises:
        EngineError: an operator has no meaning here, or a dtype that PyTorch has not.
    """

    def __init__(
        self,
        model: ir.Model,
        *,
        outputs: Sequence[str] | None = None,
        products: str | None = None,
    ) -> None:
        super().__init__()
        lifted = lift(model)
        self.weights = torch.nn.Module()
        self.initialisers = _enter(self.weights, lifted)
        self.input_names = tuple(_free_inputs(model))
        every = [value.name or "" for value in model.graph.outputs]
        self.output_names = tuple(every if outputs is None else outputs)
        self._same_sizes: Sequence[Sequence[Place]] = ()
        self._namespace = TorchNamespace(products=products)
        values = _Values(self.weights, self.initialisers, lifted.constants)
        self._evaluation = Evaluation(model, self._namespace, values)

    def forward(self, *inputs: torch.Tensor) -> tuple[Any, ...]:
        """The outputs in the graph's order; ``inputs`` are in its order too.

        Sequences come back as lists of tensors. No two outputs share memory, nor does an output
        with an input or a weight.

        Raises:
            EngineError: a node failed, and the message names it, or there are too few inputs.
        """
        if len(inputs) != len(self.input_names):
            raise EngineError(
                f"{len(self.input_names)} inputs are wanted, {list(self.input_names)}, and "
                f"{len(inputs)} came"
            )
        namespace = self._namespace
        namespace.device = self._device(inputs)
        namespace.eager = not torch.compiler.is_exporting()
        if not namespace.eager:
            self._say_which_sizes_are_equal(inputs)
        named = dict(zip(self.input_names, inputs, strict=True))
        answer = self._evaluation.run(named)
        wanted = [_tensors(namespace, answer[name]) for name in self.output_names]
        return _apart(wanted, [*inputs, *self._own()])

    def tie(self, same_sizes: Sequence[Sequence[Place]]) -> None:
        """Have traces rely on it that the sizes at the places of each group are equal."""
        self._same_sizes = same_sizes

    def _device(self, inputs: tuple[torch.Tensor, ...]) -> torch.device:
        for one in (*inputs, *self._own()):
            return one.device
        return torch.device("cpu")

    def _own(self) -> Iterator[torch.Tensor]:
        yield from self.weights.parameters()
        yield from self.weights.buffers()

    def _say_which_sizes_are_equal(self, inputs: tuple[torch.Tensor, ...]) -> None:
        for places in self._same_sizes:
            first, *others = (inputs[which].shape[axis] for which, axis in places)
            for other in others:
                torch._check(first == other)  # type: ignore[no-untyped-call]


class _Values(Mapping[str, Any]):
    """What initialisers are now: the module's tensors, which others may put in place, and arrays.

    Those who trace or train a module exchange its parameters, so they are asked for each time.
    """

    def __init__(
        self,
        weights: torch.nn.Module,
        initialisers: Mapping[str, str],
        constants: Mapping[str, np.ndarray[Any, Any]],
    ) -> None:
        self._weights = weights
        self._fields = {name: field for field, name in initialisers.items()}
        self._constants = constants

    def __getitem__(self, name: str) -> Any:
        field = self._fields.get(name)
        return self._constants[name] if field is None else getattr(self._weights, field)

    def __iter__(self) -> Iterator[str]:
        return iter((*self._fields, *self._constants))

    def __len__(self) -> int:
        return len(self._fields) + len(self._constants)


def _enter(weights: torch.nn.Module, lifted: Lifted) -> dict[str, str]:
    """Make what is lifted a part of ``weights``; the initialiser of each name there."""
    entered = {}
    namespace = TorchNamespace()
    for name, array in lifted.weights.items():
        torch_dtype(array.dtype)  # says which dtype it is if there is none
        field = re.sub(r"\W", "_", name) or "_"
        while hasattr(weights, field):  # two that differ by a dot, or a name that modules have
            field += "_"
        tensor = namespace.from_host(array)
        if name in lifted.statistics:
            weights.register_buffer(field, tensor)
        else:
            weights.register_parameter(field, torch.nn.Parameter(tensor))
        entered[field] = name
    return entered


def _free_inputs(model: ir.Model) -> Iterator[str]:
    """The inputs that a caller gives; older files list weights among the inputs as well."""
    for value in model.graph.inputs:
        if value.name not in model.graph.initializers:
            yield value.name or ""


def _tensors(namespace: TorchNamespace, value: Any) -> Any:
    if isinstance(value, list):
        return [_tensors(namespace, one) for one in value]
    return namespace.from_host(value) if isinstance(value, np.ndarray) else value


def _apart(outputs: list[Any], others: list[torch.Tensor]) -> tuple[Any, ...]:
    """``outputs``, those copied that share memory with ``others`` or with one before them."""
    taken = {_memory(one) for one in others}
    mine = []
    for one in outputs:
        if isinstance(one, torch.Tensor):
            if _memory(one) in taken:
                one = one.clone()
            taken.add(_memory(one))
        mine.append(one)
    return tuple(mine)


def _memory(x: torch.Tensor) -> int:
    return int(x.untyped_storage()._cdata)
