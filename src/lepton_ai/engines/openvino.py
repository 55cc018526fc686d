"""OpenVINO on the CPU."""

import re
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable
from lepton_ai.errors import EngineError, EngineUnavailableError
from lepton_ai.graph.graph_report import NodeTime, Refusal
from lepton_ai.model.signature import Arrays

_SINK = "/sink_port_0"
_HINTS = {"fp32": "f32", "bf16": "bf16"}
#: One entry of the converter's log of what failed; it ends with an empty line.
_FAILED = re.compile(
    r"^-- \S+ with a message:\n(?:.+\n)*?"
    r".*ONNX node '<Node\((?P<operator>[\w.]+)\): (?P<node>.*?)>'.*\n(?:.+\n)*",
    re.MULTILINE,
)
_UNKNOWN = re.compile(r"No conversion rule found for operations: (.+)")


class OpenVino(Engine):
    """OpenVINO's CPU plug-in: fp32, bf16 where the processor has it, int8 as the graph says."""

    name = "openvino"

    def available(self) -> Availability:
        """Whether the package is installed."""
        if find_spec("openvino") is None:
            return Availability(ok=False, reason="not installed", remedy="pip install openvino")
        return Availability(ok=True, reason="CPU plug-in")

    def precisions(self) -> tuple[str, ...]:
        """``fp32``, and ``bf16`` where the plug-in says that the processor computes it."""
        capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return ("fp32", "bf16") if "BF16" in capabilities else ("fp32",)

    def load(self, path: Path, plan: EnginePlan) -> Executable:
        """Compile the ONNX file at ``path`` for one stream of ``plan.threads`` threads."""
        return _Request(_compile(path, plan))

    def profile(
        self, path: Path, plan: EnginePlan, feed: Arrays, calls: int
    ) -> tuple[NodeTime, ...]:
        """The mean time of each kernel, by the plug-in's counters, in whole microseconds."""
        from lepton_ai.engines.openvino_profile import profile_request

        compiled = _compile(path, plan, PERF_COUNT=True)
        try:
            return profile_request(path, compiled, feed, calls)
        except Exception as failure:  # its exceptions share no base class
            raise EngineError(f"openvino failed: {_reason(failure)}") from failure

    def named_in(self, complaint: str) -> tuple[Refusal, ...]:
        """The converter's own log: one node per operator, and the operators that it has not."""
        found = [
            Refusal(node=block["node"], operator=block["operator"], reason=_last(block[0]))
            for block in _FAILED.finditer(complaint)
        ]
        for operators in _UNKNOWN.findall(complaint):
            for name in operators.split(","):
                operator = re.sub(r"-\d+$", "", name.strip())
                found.append(
                    Refusal(node="", operator=operator, reason=f"openvino has no {operator}")
                )
        return tuple(found)


def _compile(path: Path, plan: EnginePlan, **more: Any) -> Any:
    if plan.precision not in _HINTS:
        raise EngineError(f"openvino computes in {list(_HINTS)}, not in {plan.precision}")
    if plan.without:
        raise EngineError(f"openvino has no optimisations called {list(plan.without)}")
    if plan.branches > 1:
        raise EngineError("openvino decides by itself what runs side by side; ask for one branch")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": plan.threads,
        "INFERENCE_PRECISION_HINT": _HINTS[plan.precision],
        **more,
    }
    core = _core()
    try:
        return core.compile_model(str(path), "CPU", settings)
    except Exception as failure:  # its exceptions share no base class
        raise EngineError(f"openvino refuses the graph: {_reason(failure)}") from failure


class _Request(Executable):
    """One infer request; a lock makes concurrent callers take turns on it."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()
        self._outputs = [
            (_name_of(output, index), index) for index, output in enumerate(compiled.outputs)
        ]

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call, copied out of the request's own memory."""
        contiguous = {name: np.asarray(value, order="C") for name, value in inputs.items()}
        with self._lock:
            try:
                results = self._request.infer(contiguous, share_inputs=True)
            except Exception as failure:  # its exceptions share no base class
                raise EngineError(f"openvino failed: {_reason(failure)}") from failure
        values = list(results.values())
        return {name: values[index] for name, index in self._outputs}


def _core() -> Any:
    try:
        import openvino  # type: ignore[import-untyped]
    except ImportError as failure:
        raise EngineUnavailableError("openvino is not installed") from failure
    return openvino.Core()


def _name_of(output: Any, index: int) -> str:
    if output.get_element_type().to_string() == "bf16":
        raise EngineError("openvino hands bf16 outputs over with their bits misread")
    names: set[str] = output.names
    if not names:
        raise EngineError(f"openvino lost the name of output {index}")
    # A tensor goes by the names of what was folded into it too; its sink knows the output's own.
    own = str(output.node.get_friendly_name()).removesuffix(_SINK)
    return own if own in names else min(names)


def _reason(failure: Exception) -> str:
    """The line that says most: the plug-in's errors begin with its own source files."""
    failed = _FAILED.search(str(failure))
    if failed:
        return f"{failed['operator']} node {failed['node']!r}: {_last(failed[0])}"
    return _last(str(failure))


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not line.startswith("Exception from src/")]
    return telling[-1] if telling else text.strip()
