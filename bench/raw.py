"""Engines without Lepton: their own defaults, and their own best call on what Lepton compiled."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.engines.engine import Executable
from lepton_ai.measure import bench_process
from lepton_ai.measure.child import Child
from lepton_ai.measure.runner import Runner

Feed = dict[str, np.ndarray]
_TIMEOUT = 300.0


def onnxruntime(path: Path) -> Callable[[Feed], Any]:
    """A session as its quick start opens it."""
    import onnxruntime as runtime

    runtime.set_default_logger_severity(3)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)


def openvino(path: Path) -> Callable[[Feed], Any]:
    """A compiled model as its quick start calls it, in the precision that it is compared with.

    Left alone it would compute in bf16 where the processor can.
    """
    import openvino as runtime

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    return runtime.Core().compile_model(str(path), "CPU", settings)


DEFAULTS = {"onnxruntime": onnxruntime, "openvino": openvino}


class _Defaults(Executable):
    def __init__(self, call: Callable[[Feed], Any]) -> None:
        self._call = call

    def run(self, inputs: Feed) -> Any:
        return self._call(inputs)


def load(engine: str, path: str) -> None:
    """What a child process runs: the engine as it comes, where the clock looks for it."""
    bench_process._held["it"] = _Defaults(DEFAULTS[engine](Path(path)))


class DefaultRunner(Runner):
    """A graph in an engine with the engine's own defaults, in a process of its own."""

    def __init__(self, engine: str, path: Path, log: Path) -> None:
        self._child = Child(log, title=engine)
        self._child.call("raw:load", engine, str(path), timeout=_TIMEOUT)

    def clock(self, feeds: Sequence[Feed]) -> list[float]:
        return self._child.call("lepton_ai.measure.bench_process:clock", list(feeds), timeout=300)

    def answer(self, feeds: Sequence[Feed]) -> list[Feed]:
        raise NotImplementedError

    def peak_memory_mb(self) -> None:
        return None

    def calls_per_second(self, feeds: Sequence[Feed], *, callers: int, seconds: float) -> float:
        target = "lepton_ai.measure.bench_process:calls_per_second"
        return self._child.call(target, list(feeds), callers, seconds, timeout=300)

    def close(self) -> None:
        self._child.close()


def own_call(engine: str, executable: Any) -> Callable[[Feed], Any]:
    """The engine's own best call on what Lepton compiled with it."""
    held = executable._turns.take()
    executable._turns.give(held)
    if engine == "onnxruntime":
        return lambda feed: held.run(None, feed)
    return lambda feed: held.infer(feed, share_inputs=True, share_outputs=True)
