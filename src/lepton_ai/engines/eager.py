"""A live PyTorch module, as its owner runs it today: the baseline, not a registered engine."""

from typing import Any

from lepton_ai.engines.engine import Executable
from lepton_ai.errors import EngineError
from lepton_ai.model.model import Model
from lepton_ai.model.signature import Arrays


class Eager(Executable):
    """``model.module`` in eager mode, fp32, inference only."""

    def __init__(self, model: Model, threads: int) -> None:
        import torch

        if model.module is None:
            raise EngineError(f"{model.name} is not a PyTorch module")
        torch.set_num_threads(threads)
        self._torch = torch
        self._module = model.module.eval()
        self._inputs = model.signature.input_names
        self._outputs = model.signature.output_names

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call, by the names of the exported graph."""
        with self._torch.inference_mode():
            tensors = [self._torch.from_numpy(inputs[name]) for name in self._inputs]
            answer: Any = self._module(*tensors)
        if isinstance(answer, self._torch.Tensor):
            answer = (answer,)
        values = answer.values() if isinstance(answer, dict) else answer
        return {name: value.numpy() for name, value in zip(self._outputs, values, strict=True)}
