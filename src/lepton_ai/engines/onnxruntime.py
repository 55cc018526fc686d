"""ONNX Runtime: on the processor, and through its providers on other devices."""

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable
from lepton_ai.engines.huge_pages import in_huge_pages
from lepton_ai.engines.onnxruntime_providers import DISTRIBUTIONS, check_device, devices
from lepton_ai.engines.onnxruntime_session import (
    EVERYTHING,
    Session,
    kept_session,
    open_session,
)
from lepton_ai.errors import ModelError, first_line
from lepton_ai.graph.graph_report import NodeTime, Refusal
from lepton_ai.model.signature import Arrays

#: Work over longest chain from which branches are tried side by side: below it, threads that
#: wait for one another cost more than the little that they could share.
WORTH_BRANCHING = 1.3
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
    """ONNX Runtime: fp32 and int8, its own ``com.microsoft`` operators too."""

    name = "onnxruntime"
    parallel = True
    huge_pages = True
    distributions = tuple(dict.fromkeys(DISTRIBUTIONS.values()))
    unlocks = "any ONNX graph, int8 by the graph; GPUs by the build that is installed"

    def available(self) -> Availability:
        """Whether the package is installed."""
        if find_spec("onnxruntime") is None:
            return Availability(ok=False, reason="not installed", remedy="pip install onnxruntime")
        return Availability(ok=True, reason="CPU provider")

    def precisions(self) -> tuple[str, ...]:
        """``fp32`` alone: its CPU kernels have no bf16 mode."""
        return ("fp32",)

    def devices(self) -> tuple[str, ...]:
        """Those on which a graph of one node really ran."""
        return devices()

    def check(self, plan: EnginePlan) -> None:
        """As for every engine; and what a device lacks is told by the provider itself."""
        check_device(plan.device)
        super().check(plan)

    def plans(self, path: Path, plan: EnginePlan) -> list[EnginePlan]:
        """As for every engine; branches side by side; the fusion of skip and norm left out.

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

    def load(self, path: Path, plan: EnginePlan, cache: Path | None = None) -> Executable:
        """Compile the ONNX file at ``path``, with all graph optimisations but the plan's.

        The optimised graph is what ``cache`` keeps, for the processor alone.
        """
        self.check(plan)
        with in_huge_pages(plan.huge_pages):
            if cache is None or plan.device != "cpu" or EVERYTHING in plan.without:
                return Session(open_session(str(path), plan), plan)
            return Session(kept_session(cache, f"{self.name} {self.version()}", path, plan), plan)

    def profile(
        self, path: Path, plan: EnginePlan, feed: Arrays, calls: int
    ) -> tuple[NodeTime, ...]:
        """The median time of each kernel, by the runtime's own profiler, in whole microseconds."""
        from lepton_ai.engines.onnxruntime_profile import profile_session

        self.check(plan)
        with TemporaryDirectory(prefix="lepton-profile-") as folder:
            return profile_session(
                path, lambda source, ask: open_session(source, plan, ask), feed, calls, Path(folder)
            )

    def named_in(self, complaint: str) -> tuple[Refusal, ...]:
        """The node and the operator, in the few forms that its messages have."""
        return tuple(
            Refusal(node=node, operator=operator, reason=_PREAMBLE.sub("", first_line(complaint)))
            for node, operator in _named(complaint)
        )


def _side_by_side(path: Path) -> float:
    """How many branches of the graph could run side by side, weighed by their work."""
    # Searches have onnx_ir, which this needs; the base install, which runs bundles, has not.
    from lepton_ai.graph.inspection.inspect import inspect_graph

    try:
        return inspect_graph(path).parallelism.ratio
    except ModelError:  # the engine took it all the same
        return 1.0


def _named(complaint: str) -> list[tuple[str, str]]:
    """Pairs of a node's name, which may be empty, and its operator."""
    for form in _NAMED:
        found = [(one["node"], one["operator"]) for one in form.finditer(complaint)]
        if found:
            return found
    return [("", one["operator"]) for one in _UNREGISTERED.finditer(complaint)]
