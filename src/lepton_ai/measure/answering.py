"""What graphs answer as they are written: run without any optimisation, in a child process.

The gate asks whether a rewritten graph means the same, not whether an engine's own optimisations of
it do; those are compared by the trials, in the engine and form that ship.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.onnxruntime_session import EVERYTHING
from lepton_ai.errors import EngineError, ModelError, WorkerError
from lepton_ai.graph.gate import check_equal
from lepton_ai.measure.child import Child
from lepton_ai.measure.weight_store import WeightStore
from lepton_ai.model.signature import Arrays

if TYPE_CHECKING:
    import onnx_ir as ir

_BENCH = "lepton_ai.measure.bench_process"
#: Seconds for one graph to load or to answer; a loop that never ends is told after that.
_TIMEOUT = 120.0
#: Reasons that are told where nothing can be proven; more of them say the same.
_MOST_REASONS = 4
#: Who runs a graph as it is written; the slow reference where ONNX Runtime refuses the graph.
_LITERAL = (
    ("onnxruntime", EnginePlan(threads=1, without=(EVERYTHING,))),
    ("reference", EnginePlan(threads=1)),
)


class GraphAnswers:
    """Asks one graph after another the same calls; a context manager, for its child and folder.

    Calls that the original fails on are dropped: generated ones may be outside what it takes.

    Raises:
        ModelError: no engine runs the original, it answers none of the calls, or its answers differ
            from call to call, so that nothing can be told from them.
    """

    def __init__(self, original: "ir.Model", calls: Sequence[Arrays]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lepton-gate-")
        self._store = WeightStore(Path(self._folder.name))
        self._child: Child | None = None
        self._engine, self._plan = _LITERAL[0]
        self.calls: list[Arrays] = []
        try:
            self._choose(original, calls)
        except BaseException:
            self.close()
            raise

    def __call__(self, model: "ir.Model") -> list[Arrays]:
        """The answers of ``model`` to each call.

        Raises:
            EngineError: the engine refuses the graph or fails on a call.
            WorkerError: its process died or took too long.
        """
        self._load(model)
        answers: list[Arrays] = self._call("answer", self.calls)
        return answers

    def close(self) -> None:
        """End the child and remove the folder."""
        if self._child is not None:
            self._child.close()
        self._folder.cleanup()

    def __enter__(self) -> "GraphAnswers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _choose(self, original: "ir.Model", calls: Sequence[Arrays]) -> None:
        """The first engine that runs ``original``, and the calls that it answers."""
        reasons = []
        for self._engine, self._plan in _LITERAL:
            try:
                self._load(original)
            except (EngineError, WorkerError) as failure:
                reasons.append(f"{self._engine}: {failure}")
                continue
            for call in calls:
                try:
                    # Loaded anew, a graph draws the same random numbers; asked again, it does not.
                    _check_same(*self._call("answer", [call, call]))
                    self.calls.append(call)
                except EngineError as failure:
                    reasons.append(f"{self._engine}: {failure}")
                except WorkerError as failure:  # what hangs or crashes once would again
                    reasons.append(f"{self._engine}: {failure}")
                    break
            if self.calls:
                return
            break  # it takes the graph and none of the calls: another engine would only be laxer
        raise ModelError(
            "the graph cannot be run, so nothing about it can be proven: "
            + "; ".join(list(dict.fromkeys(reasons))[:_MOST_REASONS])
        )

    def _load(self, model: "ir.Model") -> None:
        path = Path(self._folder.name) / "model.onnx"
        self._store.save(model, path)
        self._call("load", self._engine, str(path), self._plan.to_json())

    def _call(self, function: str, *arguments: object) -> list[Arrays]:
        if self._child is None:
            self._child = Child(Path(self._folder.name) / "log.txt", title=self._engine)
        try:
            result: list[Arrays] = self._child.call(
                f"{_BENCH}:{function}", *arguments, timeout=_TIMEOUT
            )
        except WorkerError:  # what has died or hangs answers nothing more: the next gets a new one
            self._child.kill()
            self._child = None
            raise
        return result


def _check_same(first: Arrays, second: Arrays) -> None:
    found = check_equal([first], [second])
    if not found.equal:
        raise ModelError(
            f"the graph's answers differ from call to call ({found.why}), so no rewrite of it "
            "can be proven; export it without what is random"
        )
