"""Where the time of a graph goes in one engine, measured in child processes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.graph.graph_report import NodeTime, Profile
from lepton_ai.measure.child import Child
from lepton_ai.model.signature import Arrays

_HERE = "lepton_ai.measure.profile"
_BENCH = "lepton_ai.measure.bench_process"
#: A median over fewer calls is one hiccup away from another.
CALLS = 20
#: Calls that find cold caches.
_WARM_UP_CALLS = 3
#: What a fused kernel is named after first.
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"})


def profile(
    engine: str,
    path: Path,
    feed: Arrays,
    log: Path,
    *,
    threads: int = 1,
    calls: int = CALLS,
    timeout: float,
) -> Profile:
    """The time of each kernel of ``engine``, and that of a whole call without the profiler.

    Each comes from a process of its own, so that neither disturbs the other. ``timeout`` seconds
    are for each of the three steps: compiling, timing and profiling.

    Raises:
        EngineError: the engine does not tell, refuses the graph, or fails on ``feed``.
        WorkerError: the process died or took too long.
    """
    plan = EnginePlan(threads=threads).to_json()
    with Child(log, title=engine) as child:
        child.call(f"{_BENCH}:load", engine, str(path), plan, timeout=timeout)
        feeds = [feed] * (_WARM_UP_CALLS + calls)
        times = child.call(f"{_BENCH}:clock", feeds, timeout=timeout)
    with Child(log, title=f"{engine}'s profiler") as child:
        kernels = child.call(
            f"{_HERE}:kernel_times", engine, str(path), plan, feed, calls, timeout=timeout
        )
    return Profile(
        engine=engine,
        threads=threads,
        milliseconds=median(times[_WARM_UP_CALLS:]),
        kernels=kernels,
    )


def kernel_times(
    engine: str, path: str, plan: Mapping[str, Any], feed: Arrays, calls: int
) -> tuple[NodeTime, ...]:
    """What the child process runs: the engine's own profile."""
    return engines.get(engine)().profile(Path(path), EnginePlan.from_json(plan), feed, calls)


def times_by_node(
    kernels: Sequence[NodeTime],
    operators: Mapping[str, str],
    beside: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """The milliseconds of each node in ``operators``, which has the operator of each name.

    A kernel is counted to one node: a product if it holds one, else to the first. ``beside`` tells
    for other names the node that they are counted to.
    """
    times: dict[str, float] = {}
    for kernel in kernels:
        names = [(beside or {}).get(name, name) for name in kernel.nodes]
        known = [name for name in names if name in operators]
        product = [name for name in known if operators[name] in _PRODUCTS]
        for name in (product or known)[:1]:
            times[name] = times.get(name, 0.0) + kernel.milliseconds
    return times
