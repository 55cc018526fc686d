"""What the other engines are compared with: the table of operator semantics, run with NumPy."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable
from lepton_ai.engines.feed import TEXT, Feed, Wanted
from lepton_ai.errors import EngineError, EngineUnavailableError, ModelError
from lepton_ai.model.signature import Arrays

if TYPE_CHECKING:  # the base install has no onnx_ir
    import onnx_ir as ir

    from lepton_ai.operators.evaluation import Evaluation

_REMEDY = "pip install 'lepton-ai[optimize]'"


class Reference(Engine):
    """Slow, plain, and itself checked against the ONNX project's own cases; never for shipping."""

    name = "reference"
    ships = False

    def available(self) -> Availability:
        """Whether what reads graphs is installed."""
        if find_spec("onnx_ir") is None:
            return Availability(ok=False, reason="not installed", remedy=_REMEDY)
        return Availability(ok=True, reason="NumPy, for checking only")

    def precisions(self) -> tuple[str, ...]:
        """``fp32`` alone."""
        return ("fp32",)

    def load(self, path: Path, plan: EnginePlan, cache: Path | None = None) -> Executable:
        """Read the ONNX file at ``path``; the plan's threads have no meaning here."""
        self.check(plan)
        if plan.precision != "fp32":
            raise EngineError(f"reference computes in fp32, not in {plan.precision}")
        try:
            from lepton_ai.graph.onnx_file import load_graph
            from lepton_ai.operators.evaluation import Evaluation
            from lepton_ai.operators.namespaces.numpy import NumpyNamespace
        except ImportError as failure:
            raise EngineUnavailableError(
                f"reference needs {failure.name}, which is not installed: {_REMEDY}"
            ) from failure
        try:
            model = load_graph(path)
            return _Evaluated(model, Evaluation(model, NumpyNamespace()))
        except (EngineError, ModelError) as failure:
            raise EngineError(f"reference refuses the graph: {failure}") from failure


class _Evaluated(Executable):
    """Evaluates the graph anew in each call; calls share nothing but the weights."""

    def __init__(self, model: "ir.Model", evaluation: "Evaluation") -> None:
        self._evaluation = evaluation
        held = model.graph.initializers
        self._feed = Feed(
            "reference", [_wanted(value, value.name in held) for value in model.graph.inputs]
        )

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call; tensors alone, other kinds are left out."""
        self._feed.check(inputs)
        try:
            values = self._evaluation.run({name: _plain(one) for name, one in inputs.items()})
        except EngineError as failure:
            raise EngineError(f"reference failed: {failure}") from failure
        # An output may be an input or a weight itself, or a view of one.
        return {
            name: np.array(value) for name, value in values.items() if isinstance(value, np.ndarray)
        }


def _plain(value: Any) -> Any:
    """Texts of whatever width as objects; the rest as it is."""
    is_text = isinstance(value, np.ndarray) and value.dtype.kind in "US"
    return value.astype(object) if is_text else value


def _wanted(value: "ir.Value", held: bool) -> Wanted:
    import onnx_ir as ir

    name = value.name or ""
    if not isinstance(value.type, ir.TensorType):
        return Wanted(name=name, optional=held or isinstance(value.type, ir.OptionalType))
    dtype = TEXT if value.dtype is ir.DataType.STRING else value.type.dtype.numpy()
    sizes = None
    if value.shape is not None:
        sizes = tuple(size if isinstance(size, int) else None for size in value.shape)
    return Wanted(name=name, dtype=dtype, shape=sizes, optional=held)
