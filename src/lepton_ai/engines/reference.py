"""The ONNX project's own evaluator: slow, plain, and what the others are compared with."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable
from lepton_ai.errors import EngineError
from lepton_ai.model.signature import Arrays


class Reference(Engine):
    """``onnx.reference``, NumPy throughout; for checking, never for shipping."""

    name = "reference"
    ships = False

    def available(self) -> Availability:
        """Whether the ONNX package is installed."""
        if find_spec("onnx") is None:
            return Availability(
                ok=False, reason="not installed", remedy="pip install 'lepton-ai[optimize]'"
            )
        return Availability(ok=True, reason="NumPy, for checking only")

    def precisions(self) -> tuple[str, ...]:
        """``fp32`` alone."""
        return ("fp32",)

    def load(self, path: Path, plan: EnginePlan) -> Executable:
        """Read the ONNX file at ``path``; the plan's threads have no meaning here."""
        from onnx.reference import ReferenceEvaluator

        from lepton_ai.engines.gather_elements import GatherElements

        if plan.precision != "fp32":
            raise EngineError(f"reference computes in fp32, not in {plan.precision}")
        try:
            return _Evaluator(ReferenceEvaluator(str(path), new_ops=[GatherElements]))
        except Exception as failure:  # any operator's constructor may raise anything
            raise EngineError(f"reference refuses the graph: {failure}") from failure


class _Evaluator(Executable):
    def __init__(self, evaluator: Any) -> None:
        self._evaluator = evaluator

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call; tensors alone, other kinds are left out."""
        try:
            values = self._evaluator.run(None, inputs)
        except Exception as failure:  # any operator may raise anything
            raise EngineError(f"reference failed: {failure}") from failure
        named = zip(self._evaluator.output_names, values, strict=True)
        return {
            name: np.asarray(value)
            for name, value in named
            if isinstance(value, np.ndarray | np.generic)
        }
