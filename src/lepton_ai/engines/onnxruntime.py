"""ONNX Runtime on the CPU."""

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable
from lepton_ai.errors import EngineError, EngineUnavailableError, ModelError
from lepton_ai.graph.graph_report import NodeTime, Refusal
from lepton_ai.model.signature import Arrays

#: In a plan's ``without``: the graph is run as it is written, with no optimisation at all.
EVERYTHING = "everything"
#: Work over longest chain from which branches are tried side by side: below it, threads that
#: wait for one another cost more than the little that they could share.
WORTH_BRANCHING = 1.3
_ERRORS_ONLY = 3
_SKIP_NORM_FUSION = "SkipLayerNormFusion"
_LAYER_NORM = b"LayerNormalization"
#: How its messages name a node, the innermost first.
_NAMED = tuple(
    re.compile(form)
    for form in (
        r"Optype \((?P<operator>\w+)\).*? in node \((?P<node>.*?)\)",
        r"operator \((?P<operator>\w+)\) in node \((?P<node>.*?)\)",
        r"implementation for (?P<operator>[\w.:]+)\(\d+\) node with name '(?P<node>.*?)'",
        r"Node ?\((?P<node>.*?)\) Op \((?P<operator>\w+)\)",
    )
)
#: What its messages begin with: a number, its name, and the path of the file.
_PREAMBLE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .*? failed:\s*)?"
    r"(?:This is an invalid model\. |Fatal error: )?"
)
_UNREGISTERED = re.compile(r"(?P<operator>[\w.:]+)\(-?\d+\) is not a registered")


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
        """One thread; branches side by side; and the fusion of skip and layer norm left out.

        Branches are tried where at least :data:`WORTH_BRANCHING` times the longest chain's work is
        there to be done. The fusion is left out where the graph has norms: its fused kernel took
        43 µs for [33, 384] where the two apart took 25 µs (AMD EPYC with AVX512, version 1.32).
        """
        others = super().plans(path, plan)
        if plan.threads > 1 and plan.branches == 1 and _side_by_side(path) >= WORTH_BRANCHING:
            others.append(replace(plan, threads=1, branches=plan.threads))
        if not plan.without and _LAYER_NORM in path.read_bytes():
            others.append(replace(plan, without=(_SKIP_NORM_FUSION,)))
        return others

    def load(self, path: Path, plan: EnginePlan) -> Executable:
        """Compile the ONNX file at ``path``, with all graph optimisations but the plan's."""
        return _Session(_open(str(path), plan))

    def profile(
        self, path: Path, plan: EnginePlan, feed: Arrays, calls: int
    ) -> tuple[NodeTime, ...]:
        """The median time of each kernel, by the runtime's own profiler, in whole microseconds."""
        from lepton_ai.engines.onnxruntime_profile import profile_session

        with TemporaryDirectory(prefix="lepton-profile-") as folder:
            return profile_session(
                path, lambda source, ask: _open(source, plan, ask), feed, calls, Path(folder)
            )

    def named_in(self, complaint: str) -> tuple[Refusal, ...]:
        """The node and the operator, in the few forms that its messages have."""
        return tuple(
            Refusal(node=node, operator=operator, reason=_PREAMBLE.sub("", _first_line(complaint)))
            for node, operator in _named(complaint)
        )


def _open(source: str | bytes, plan: EnginePlan, ask: Callable[[Any], None] | None = None) -> Any:
    """A session for a file or a serialised graph; ``ask`` sets more options."""
    if plan.precision != "fp32":
        raise EngineError(f"onnxruntime computes in fp32, not in {plan.precision}")
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as failure:
        raise EngineUnavailableError("onnxruntime is not installed") from failure
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = plan.threads
    options.inter_op_num_threads = plan.branches
    if plan.branches > 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if EVERYTHING in plan.without:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    if ask is not None:
        ask(options)
    try:
        return onnxruntime.InferenceSession(
            source,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=[name for name in plan.without if name != EVERYTHING],
        )
    except Exception as failure:  # its exceptions share no base class
        raise EngineError(f"onnxruntime refuses the graph: {_first_line(failure)}") from failure


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


def _side_by_side(path: Path) -> float:
    """How many branches of the graph could run side by side, weighed by their work."""
    # Searches have onnx_ir, which this needs; the base install, which runs bundles, has not.
    from lepton_ai.graph.inspection.inspect import inspect_graph

    try:
        return inspect_graph(path).parallelism.ratio
    except ModelError:  # the engine took it all the same
        return 1.0


def _first_line(failure: Exception | str) -> str:
    return str(failure).strip().partition("\n")[0]


def _named(complaint: str) -> list[tuple[str, str]]:
    """Pairs of a node's name, which may be empty, and its operator."""
    for form in _NAMED:
        found = [(one["node"], one["operator"]) for one in form.finditer(complaint)]
        if found:
            return found
    return [("", one["operator"]) for one in _UNREGISTERED.finditer(complaint)]
