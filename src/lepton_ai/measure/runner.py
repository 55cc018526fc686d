"""One way to run a network that can be loaded, timed and questioned, wherever it lives."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from lepton_ai.data.samples import Samples, gather
from lepton_ai.engines.engine import EnginePlan, Executable
from lepton_ai.measure.bench_process import clock_executable
from lepton_ai.measure.child import Child
from lepton_ai.model.signature import Arrays

_BENCH = "lepton_ai.measure.bench_process"
_LOAD_TIMEOUT = 300.0
_CHUNK = 64


class Runner(ABC):
    """Something that answers calls and can be put on a clock."""

    load_seconds: float = 0.0

    @abstractmethod
    def clock(self, feeds: Sequence[Arrays]) -> list[float]:
        """Milliseconds of each call."""

    @abstractmethod
    def answer(self, feeds: Sequence[Arrays]) -> list[Arrays]:
        """The outputs of each call."""

    @abstractmethod
    def peak_memory_mb(self) -> float | None:
        """The largest resident size of its process so far, megabytes; ``None`` if shared."""

    def close(self) -> None:  # noqa: B027  nothing to free unless a process is held
        """Give back what is held."""

    def outputs(self, samples: Samples, indices: Sequence[int]) -> Arrays:
        """All outputs for ``indices``, asked call by call; first axis: samples."""
        answers = [a for chunk in chunks(samples, indices) for a in self.answer(chunk)]
        return gather(answers, samples, len(indices))


def chunks(samples: Samples, indices: Sequence[int]) -> Iterator[list[Arrays]]:
    """The calls for ``indices``, a bounded number at a time."""
    chunk: list[Arrays] = []
    for feed in samples.calls(list(indices)):
        chunk.append(feed)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class ProcessRunner(Runner):
    """A graph in an engine in a child process of its own.

    Raises:
        EngineError: the engine refuses the graph.
        WorkerError: the process died or hung while loading.
    """

    def __init__(
        self,
        engine: str,
        path: Path,
        plan: EnginePlan,
        log: Path,
        *,
        deadline: float,
        cache: Path | None = None,
    ) -> None:
        self._deadline = deadline
        self._child = Child(log, title=engine)
        try:
            self.load_seconds = self._child.call(
                f"{_BENCH}:load",
                engine,
                str(path),
                plan.to_json(),
                None if cache is None else str(cache),
                timeout=min(_LOAD_TIMEOUT, deadline),
            )
        except BaseException:
            self._child.kill()
            raise

    def clock(self, feeds: Sequence[Arrays]) -> list[float]:
        """Milliseconds of each call, taken inside the child."""
        times: list[float] = self._child.call(
            f"{_BENCH}:clock", list(feeds), timeout=self._deadline
        )
        return times

    def answer(self, feeds: Sequence[Arrays]) -> list[Arrays]:
        """The outputs of each call."""
        answers: list[Arrays] = self._child.call(
            f"{_BENCH}:answer", list(feeds), timeout=self._deadline
        )
        return answers

    def calls_per_second(self, feeds: Sequence[Arrays], *, callers: int, seconds: float) -> float:
        """How many calls ``callers`` threads of the child get answered in a second."""
        arguments = (list(feeds), callers, seconds)
        target = f"{_BENCH}:calls_per_second"
        return float(self._child.call(target, *arguments, timeout=self._deadline + seconds))

    def memory_mb(self) -> float:
        """The resident size of the child now, megabytes."""
        return float(self._child.call(f"{_BENCH}:memory_mb", timeout=self._deadline))

    def peak_memory_mb(self) -> float:
        """The largest resident size of the child so far, megabytes."""
        return float(self._child.call(f"{_BENCH}:peak_memory_mb", timeout=self._deadline))

    def close(self) -> None:
        """End the child."""
        self._child.close()


class LocalRunner(Runner):
    """An executable in this very process, for a live module that cannot leave it."""

    def __init__(self, executable: Executable) -> None:
        self._executable = executable

    def clock(self, feeds: Sequence[Arrays]) -> list[float]:
        """Milliseconds of each call."""
        return clock_executable(self._executable, feeds)

    def answer(self, feeds: Sequence[Arrays]) -> list[Arrays]:
        """The outputs of each call."""
        return [self._executable.run(feed) for feed in feeds]

    def peak_memory_mb(self) -> float | None:
        """``None``: this process holds more than the executable."""
        return None
