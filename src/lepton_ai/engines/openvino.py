"""OpenVINO: on processors, and on Intel's GPUs and NPUs."""

import functools
import re
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.engines.cache import cached, stamps
from lepton_ai.engines.engine import Availability, Engine, EnginePlan, Executable
from lepton_ai.engines.fixed_batch import FixedBatch
from lepton_ai.engines.huge_pages import in_huge_pages
from lepton_ai.engines.openvino_request import Requests, names_of_size, reason_of
from lepton_ai.errors import EngineError, EngineUnavailableError
from lepton_ai.graph.graph_report import NodeTime, Refusal
from lepton_ai.model.signature import Arrays

#: A plan's precision in OpenVINO's words, and what a device that computes it says it is capable of.
_HINTS = {"fp32": ("f32", "FP32"), "bf16": ("bf16", "BF16"), "fp16": ("f16", "FP16")}
#: On processors, fp16 is computed in fp32: only what is stored is smaller.
_ON_GPUS_ALONE = "fp16"
_KEPT = "compiled.blob"
#: One entry of the converter's log of what failed; it ends with an empty line.
_FAILED = re.compile(
    r"^-- \S+ with a message:\n(?:.+\n)*?"
    r".*ONNX node '<Node\((?P<operator>[\w.]+)\): (?P<node>.*?)>'.*\n(?:.+\n)*",
    re.MULTILINE,
)
_UNKNOWN = re.compile(r"No conversion rule found for operations: (.+)")
_one_core = threading.Lock()


class OpenVino(Engine):
    """OpenVINO: fp32, bf16 where the processor has it, int8 as the graph says."""

    name = "openvino"
    parallel = True
    fixes_batch = True
    huge_pages = True
    unlocks = "bf16 and int8 together on processors; Intel GPUs and NPUs"

    def available(self) -> Availability:
        """Whether the package is installed."""
        if find_spec("openvino") is None:
            return Availability(ok=False, reason="not installed", remedy="pip install openvino")
        return Availability(ok=True, reason="CPU plug-in")

    def precisions(self, device: str = "cpu") -> tuple[str, ...]:
        """``fp32``, and what the plug-in says that ``device`` computes besides."""
        capable = _core().get_property(device.upper(), "OPTIMIZATION_CAPABILITIES")
        others = (
            name
            for name, (_, capability) in _HINTS.items()
            if capability in capable and (name != _ON_GPUS_ALONE or device != "cpu")
        )
        return tuple(dict.fromkeys(("fp32", *others)))

    def devices(self) -> tuple[str, ...]:
        """Those that its plug-ins have found, the processor first: ``gpu``, ``gpu.1``, ``npu``."""
        found = [name.lower() for name in _core().available_devices]
        return ("cpu", *(name for name in found if name != "cpu"))

    def plans(self, path: Path, plan: EnginePlan) -> list[EnginePlan]:
        """As for every engine; and threads that may be moved, which by default may not."""
        others = super().plans(path, plan)
        if plan.threads > 1 and plan.pinning is None:
            others.append(replace(plan, pinning=False))
        return others

    def load(self, path: Path, plan: EnginePlan, cache: Path | None = None) -> Executable:
        """Compile the ONNX file at ``path`` for the plan's streams, of ``plan.threads`` each.

        The compiled graph is what ``cache`` keeps.
        """
        self.check(plan)
        as_loaded = stamps(path) if plan.fixed_batch else {}
        with in_huge_pages(plan.huge_pages):
            compiled, weights = self._compiled(path, plan, cache)
            requests = Requests(compiled, plan.streams, weights)
        if not plan.fixed_batch:
            return requests

        def compile_general() -> Executable:
            if stamps(path) != as_loaded:
                raise EngineError(
                    f"{path} is no longer the graph that was loaded, and calls of other than "
                    f"{plan.batch} samples need it; load it again"
                )
            return self.load(path, replace(plan, fixed_batch=False), cache)

        return FixedBatch(
            self.name,
            requests,
            names=names_of_size(compiled, plan.batch),
            batch=plan.batch,
            streams=plan.streams,
            compile_general=compile_general,
        )

    def _compiled(self, path: Path, plan: EnginePlan, cache: Path | None) -> tuple[Any, Any]:
        if cache is None:
            return _compile(path, plan), None
        return _kept(cache, f"{self.name} {self.version()}", path, plan)

    def profile(
        self, path: Path, plan: EnginePlan, feed: Arrays, calls: int
    ) -> tuple[NodeTime, ...]:
        """The mean time of each kernel, by the plug-in's counters, in whole microseconds."""
        from lepton_ai.engines.openvino_profile import profile_request

        self.check(plan)
        compiled = _compile(path, plan, PERF_COUNT=True)
        try:
            return profile_request(path, compiled, feed, calls)
        except Exception as failure:  # its exceptions share no base class
            raise EngineError(f"openvino failed: {reason_of(failure)}") from failure

    def named_in(self, complaint: str) -> tuple[Refusal, ...]:
        """The converter's own log: one node per operator, and the operators that it has not."""
        found = [
            Refusal(node=block["node"], operator=block["operator"], reason=reason_of(block[0]))
            for block in _FAILED.finditer(complaint)
        ]
        for operators in _UNKNOWN.findall(complaint):
            for name in operators.split(","):
                operator = re.sub(r"-\d+$", "", name.strip())
                found.append(
                    Refusal(node="", operator=operator, reason=f"openvino has no {operator}")
                )
        return tuple(found)


def _settings(plan: EnginePlan) -> dict[str, Any]:
    """What ``plan`` means to OpenVINO.

    Raises:
        EngineError: it means nothing to it.
    """
    if plan.precision not in _HINTS:
        raise EngineError(f"openvino computes in {list(_HINTS)}, not in {plan.precision}")
    if plan.without:
        raise EngineError(f"openvino has no optimisations called {list(plan.without)}")
    if plan.branches > 1:
        raise EngineError("openvino decides by itself what runs side by side; ask for one branch")
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY" if plan.streams == 1 else "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": _HINTS[plan.precision][0],
    }
    if plan.streams > 1:
        settings["NUM_STREAMS"] = plan.streams
    if plan.device == "cpu":
        settings["INFERENCE_NUM_THREADS"] = plan.threads * plan.streams
        if plan.pinning is not None:
            settings["ENABLE_CPU_PINNING"] = plan.pinning
    return settings


def _compile(path: Path, plan: EnginePlan, **more: Any) -> Any:
    settings = {**_settings(plan), **more}
    try:
        source = _for_batch(path, plan.batch) if plan.fixed_batch else str(path)
        return _core().compile_model(source, plan.device.upper(), settings)
    except EngineError:
        raise
    except Exception as failure:  # its exceptions share no base class
        raise EngineError(f"openvino refuses the graph: {_complaint(failure)}") from failure


def _for_batch(path: Path, batch: int) -> Any:
    """The graph with every size that is free and comes first fixed to ``batch``."""
    model = _core().read_model(str(path))
    shapes = {}
    for given in model.inputs:
        shape = given.get_partial_shape()
        if shape.rank.is_static and shape.rank.get_length() and shape[0].is_dynamic:
            shape[0] = batch
            shapes[given] = shape
    if not shapes:
        raise EngineError("no input has a free number of samples to fix; leave fixed_batch out")
    model.reshape(shapes)
    return model


def _kept(cache: Path, engine: str, path: Path, plan: EnginePlan) -> tuple[Any, Any]:
    """The compiled graph from what ``cache`` has, or has from now on, of it; and its weights."""
    settings = _settings(plan)
    compiled: list[Any] = []

    def make(folder: Path) -> None:
        compiled.append(_compile(path, plan))
        (folder / _KEPT).write_bytes(compiled[0].export_model().getbuffer())

    try:
        blob = cached(cache, engine, path, plan, make) / _KEPT
        if not compiled:
            return _imported(blob, plan.device.upper(), settings)
    except EngineError:
        raise
    except Exception:  # no room, or a device that keeps nothing: then as without a cache
        compiled = compiled or [_compile(path, plan)]
    return compiled[0], None


def _imported(blob: Path, device: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    """A compiled graph that was kept; processes that map the same file share its weights."""
    import openvino  # type: ignore[import-untyped]

    weights = np.memmap(blob, dtype=np.uint8, mode="c")
    tensor = openvino.Tensor(weights, shared_memory=True)
    return _core().import_model(tensor, device, settings), weights


def _core() -> Any:
    """One core per process, as OpenVINO wants it: each loads the plug-ins anew."""
    with _one_core:
        return _new_core()


@functools.cache
def _new_core() -> Any:
    try:
        import openvino
    except ImportError as failure:
        raise EngineUnavailableError("openvino is not installed") from failure
    # The bindings make their table of dtypes when first asked, under a lock of C++'s and with
    # Python's let go: of two first calls at once, each would wait for the other for ever (2026.4).
    openvino.Type.f32.to_dtype()
    return openvino.Core()


def _complaint(failure: Exception) -> str:
    """The node that failed where the converter's log names one, and why."""
    failed = _FAILED.search(str(failure))
    if failed:
        return f"{failed['operator']} node {failed['node']!r}: {reason_of(failed[0])}"
    return reason_of(failure)
