"""What an engine is: it turns an ONNX file into something that runs on this machine."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lepton_ai.errors import EngineError, EngineUnavailableError
from lepton_ai.graph.graph_report import NodeTime, Refusal
from lepton_ai.model.signature import Arrays
from lepton_ai.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Whether an engine runs here; if not, why, and the one command that would change it."""

    ok: bool
    reason: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """How an engine is to run a graph: ``threads`` cores, and arithmetic in ``precision``.

    ``precision`` is ``"fp32"`` or ``"bf16"``; an int8 graph carries its own quantisation, and the
    precision then says how the rest of it is computed. ``branches`` of the graph may run side by
    side, on ``threads`` each. ``without`` names optimisations of the engine's own that are left
    out, because on this machine they do not pay.
    """

    threads: int = 1
    precision: str = "fp32"
    without: tuple[str, ...] = ()
    branches: int = 1

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; the inverse of :meth:`from_json`."""
        return {**asdict(self), "without": list(self.without)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "EnginePlan":
        """The inverse of :meth:`to_json`."""
        return cls(**{**record, "without": tuple(record.get("without", ()))})


class Executable(ABC):
    """A graph compiled by one engine for one machine."""

    @abstractmethod
    def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one call, under the graph's own names; ``inputs`` are not changed.

        Raises:
            EngineError: the engine failed on these inputs.
        """

    def close(self) -> None:  # noqa: B027  most engines free everything with the object
        """Give back what the engine holds."""


class Engine(ABC):
    """A way to run ONNX graphs."""

    name: str
    #: Whether a bundle may carry this engine; the reference is for checking only.
    ships: bool = True

    @abstractmethod
    def available(self) -> Availability:
        """Whether this engine runs here; imports nothing heavy when it does not."""

    @abstractmethod
    def precisions(self) -> tuple[str, ...]:
        """The precisions that this machine computes faster or as fast, ``"fp32"`` first."""

    def plans(self, path: Path, plan: EnginePlan) -> list[EnginePlan]:
        """Other plans worth measuring for the graph at ``path``: here, a single thread.

        Small networks lose more by waiting for a second thread than they gain from it.
        """
        return [replace(plan, threads=1)] if plan.threads > 1 else []

    @abstractmethod
    def load(self, path: Path, plan: EnginePlan) -> Executable:
        """Compile the ONNX file at ``path``.

        Raises:
            EngineUnavailableError: the engine is not installed here.
            EngineError: the engine refuses the graph; the message carries its reason.
        """

    def profile(
        self, path: Path, plan: EnginePlan, feed: Arrays, calls: int
    ) -> tuple[NodeTime, ...]:
        """What each kernel takes in a call with ``feed``, over ``calls`` calls after a warm-up.

        Raises:
            EngineError: the engine does not tell, refuses the graph, or fails on ``feed``.
        """
        raise EngineError(f"{self.name} does not tell how long its kernels take")

    def refusals(self, path: Path) -> tuple[Refusal, ...]:
        """Empty if the engine takes the graph at ``path``; otherwise what its complaint names.

        A complaint that names no node is one refusal without one.

        Raises:
            EngineUnavailableError: the engine is not installed here.
        """
        try:
            self.load(path, EnginePlan()).close()
        except EngineUnavailableError:
            raise
        except EngineError as failure:
            whole = Refusal(node="", operator="", reason=str(failure))
            return self.named_in(str(failure.__cause__ or failure)) or (whole,)
        return ()

    def named_in(self, complaint: str) -> tuple[Refusal, ...]:
        """The nodes or operators that the engine's own ``complaint`` names; none by default."""
        return ()


engines: Registry[type[Engine]] = Registry("engines", extra="all")
engines.register("onnxruntime", "lepton_ai.engines.onnxruntime:OnnxRuntime")
engines.register("openvino", "lepton_ai.engines.openvino:OpenVino")
engines.register("reference", "lepton_ai.engines.reference:Reference")
