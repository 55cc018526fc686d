"""The functions that a child process runs to load, time and question one executable."""

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lepton_ai.engines.engine import EnginePlan, Executable, engines
from lepton_ai.model.signature import Arrays

_NANOSECONDS_PER_MILLISECOND = 1e6
_KIBIBYTE = 1024
_held: dict[str, Executable] = {}


def load(engine: str, path: str, plan: Mapping[str, Any], cache: str | None = None) -> float:
    """Compile the graph, or take it from ``cache``, and keep it; the seconds that took."""
    kind = engines.get(engine)()
    kept = None if cache is None else Path(cache)
    start = time.perf_counter()
    _held["it"] = kind.load(Path(path), EnginePlan.from_json(plan), kept)
    return time.perf_counter() - start


def clock(feeds: Sequence[Arrays]) -> list[float]:
    """Milliseconds of each call, one after the other."""
    return clock_executable(_held["it"], feeds)


def answer(feeds: Sequence[Arrays]) -> list[Arrays]:
    """The outputs of each call."""
    executable = _held["it"]
    return [executable.run(feed) for feed in feeds]


def calls_per_second(feeds: Sequence[Arrays], callers: int, seconds: float) -> float:
    """How many calls ``callers`` threads have answered in a second, each on one after another."""
    executable = _held["it"]
    end = time.perf_counter() + seconds

    def keep_calling(caller: int) -> int:
        calls = 0
        while time.perf_counter() < end:
            executable.run(feeds[(caller + calls) % len(feeds)])
            calls += 1
        return calls

    start = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        calls = sum(pool.map(keep_calling, range(callers)))
    return calls / (time.perf_counter() - start)


def memory_mb() -> float:
    """The resident size of this process now, megabytes."""
    import psutil  # type: ignore[import-untyped]

    return float(psutil.Process().memory_info().rss / 1e6)


def peak_memory_mb() -> float:
    """The largest resident size that this process has had, megabytes.

    Linux keeps ``getrusage``'s peak over ``exec``, so that a child's begins at its parent's; the
    high-water mark of the process's own address space does not have that.
    """
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):  # some sandboxes leave it out
                return int(line.split()[1]) * _KIBIBYTE / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * _KIBIBYTE / 1e6


def clock_executable(executable: Executable, feeds: Sequence[Arrays]) -> list[float]:
    """Milliseconds of each call on an executable at hand."""
    times = []
    for feed in feeds:
        start = time.perf_counter_ns()
        executable.run(feed)
        times.append((time.perf_counter_ns() - start) / _NANOSECONDS_PER_MILLISECOND)
    return times
