"""ONNX Runtime on the CPU."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable
from lepton_ai.errors import EngineError, EngineUnavailableError
from lepton_ai.model.signature import Arrays

_ERRORS_ONLY = 3
_SKIP_NORM_FUSION = "SkipLayerNormFusion"
_LAYER_NORM = b"LayerNormalization"


class OnnxRuntime(Engine):
    """ONNX Runtime's CPU provider: fp32 and int8, its own ``com.microsoft`` operators too."""

    name = "onnxruntime"

    def available(self) -> Availability:
        """Whether the package is installed."""
        if find_spec("onnxruntime") is None:
            return Availability(ok=False, reason="not installed", remedy="pip install onnxruntime")
        return Availability(ok=True, reason="CPU provider")

    def precisions(self) -> tuple[str, ...]:
        """``fp32`` alone: its CPU kernels have no bf16 mode."""
        return ("fp32",)

    def plans(self, path: Path, plan: EnginePlan) -> list[EnginePlan]:
        """One thread; and the fusion of skip and layer norm left out, where the graph has norms.

        Its fused kernel took 43 µs for [33, 384] where the two apart took 25 µs (AMD EPYC with
        AVX512, version 1.32).
        """
        others = super().plans(path, plan)
        if not plan.without and _LAYER_NORM in path.read_bytes():
            others.append(replace(plan, without=(_SKIP_NORM_FUSION,)))
        return others

    def load(self, path: Path, plan: EnginePlan) -> Executable:
        """Compile the ONNX file at ``path``, with all graph optimisations but the plan's."""
        if plan.precision not in self.precisions():
            raise EngineError(f"onnxruntime computes in fp32, not in {plan.precision}")
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError as failure:
            raise EngineUnavailableError("onnxruntime is not installed") from failure
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = plan.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=list(plan.without),
            )
        except Exception as failure:  # its exceptions share no base class
            raise EngineError(f"onnxruntime refuses the graph: {_first_line(failure)}") from failure
        return _Session(session)


class _Session(Executable):
    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [
            output.name for output in session.get_outputs() if output.type.startswith("tensor(")
        ]

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call; tensors alone, other kinds are left out."""
        try:
            values = self._session.run(self._outputs, inputs)
        except Exception as failure:  # its exceptions share no base class
            raise EngineError(f"onnxruntime failed: {_first_line(failure)}") from failure
        return dict(zip(self._outputs, values, strict=True))


def _first_line(failure: Exception) -> str:
    return str(failure).strip().partition("\n")[0]
