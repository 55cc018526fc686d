"""Engines without Lepton: their own defaults, and their own best call on what Lepton compiled."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.engines.engine import EnginePlan, Executable, engines
from lepton_ai.engines.onnxruntime_providers import ONE_NODE
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
#: Those whose quick start may be called from several threads at once.
TAKES_CALLS = ("onnxruntime",)


class _Defaults(Executable):
    def __init__(self, call: Callable[[Feed], Any]) -> None:
        self._call = call

    def run(self, inputs: Feed) -> Any:
        return self._call(inputs)


def load(engine: str, path: str) -> None:
    """What a child process runs: the engine as it comes, where the clock looks for it."""
    bench_process._held["it"] = _Defaults(DEFAULTS[engine](Path(path)))


def load_seconds(
    engine: str, path: str, plan: Mapping[str, Any], cache: str, other: str, feed: Feed
) -> tuple[float, float]:
    """What a child process runs: how long ``engine`` takes to load a graph, itself at work already.

    It has loaded and run the graph ``other`` before, so that its libraries are not in the time.

    Returns:
        Seconds until the graph was loaded, and until it had answered ``feed``: some compile then.
    """
    kind = engines.get(engine)()
    how = EnginePlan.from_json(plan)
    executable = kind.load(Path(other), replace(how, precision="fp32"), Path(f"{other}-kept"))
    executable.run({"x": np.ones(2, np.float32)})
    executable.close()
    start = time.perf_counter()
    executable = kind.load(Path(path), how, Path(cache))
    loaded = time.perf_counter()
    executable.run(feed)
    return loaded - start, time.perf_counter() - start


def seconds_to_load(
    engine: str, path: Path, plan: EnginePlan, cache: Path, log: Path, feed: Feed
) -> tuple[float, float]:
    """:func:`load_seconds` in a process of its own."""
    other = path.parent / "other.onnx"
    if not other.exists():
        other.write_bytes(ONE_NODE)
    child = Child(log, title=engine)
    try:
        words = (engine, str(path), plan.to_json(), str(cache), str(other), feed)
        loaded, answered = child.call("raw:load_seconds", *words, timeout=_TIMEOUT)
        return float(loaded), float(answered)
    finally:
        child.close()


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


def own_call(engine: str, executable: Any, feed: Feed) -> Callable[[Feed], Any]:
    """The engine's own best call on what Lepton compiled with it, which has answered ``feed``."""
    return _OWN_CALLS[engine](executable, feed)


def _session_call(executable: Any, feed: Feed) -> Callable[[Feed], Any]:
    session = executable._turns.take()
    executable._turns.give(session)
    return lambda feed: session.run(None, feed)


def _request_call(executable: Any, feed: Feed) -> Callable[[Feed], Any]:
    request = executable._turns.take()
    executable._turns.give(request)
    return lambda feed: request.infer(feed, share_inputs=True, share_outputs=True)


def _package_call(executable: Any, feed: Feed) -> Callable[[Feed], Any]:
    import torch

    loader = executable._packages[-1].loader
    names = executable._names

    def call(feed: Feed) -> Any:
        answers = loader.run([torch.from_numpy(feed[name]) for name in names])
        return [answer.numpy() for answer in answers]

    return call


def _compiled_call(executable: Any, feed: Feed) -> Callable[[Feed], Any]:
    import jax

    # As a program does that computes with 64-bit integers anywhere: for good, not call by call.
    jax.config.update("jax_enable_x64", True)
    names = [name for name, _ in executable._wanted]
    program, compiled = executable._for([feed[name] for name in names])

    def call(feed: Feed) -> Any:
        answers = compiled(program.weights, [feed[name] for name in names])
        return [np.asarray(answer) for answer in answers]

    return call


_OWN_CALLS = {
    "onnxruntime": _session_call,
    "openvino": _request_call,
    "inductor": _package_call,
    "xla": _compiled_call,
}
#: Engines whose own call is known here.
HAVE_OWN_CALLS = tuple(_OWN_CALLS)
