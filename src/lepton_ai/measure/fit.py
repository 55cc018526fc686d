"""Whether an engine takes a graph; if not, every node that it refuses, and what would unlock it.

An engine's complaint names the first node that it stumbles over, and those that fail only because
that one did. So each kind of node in a refused graph is also offered alone, in a child process: one
that makes the engine crash is refused for that reason, and the next goes on in a new process.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lepton_ai.engines.engine import engines
from lepton_ai.engines.single_node import Probe, single_nodes
from lepton_ai.errors import EngineUnavailableError, LeptonError
from lepton_ai.graph.graph_report import Fit, Refusal
from lepton_ai.measure.child import Child

_HERE = "lepton_ai.measure.fit"
#: Kinds of node that are offered alone. Real graphs have some dozens.
MOST_PROBES = 200
#: Seconds for one of them to compile.
PROBE_SECONDS = 20.0
LOAD_SECONDS = 300.0


def fit(
    engine: str,
    path: Path,
    rewritten: Path | None = None,
    *,
    unlocking: Mapping[str, str] | None = None,
    seconds: float = 60.0,
) -> Fit:
    """Whether ``engine`` takes the graph at ``path``, and the one that rewriting made of it.

    ``unlocking`` maps a node of the original graph to the rule that changed it; where the rewritten
    graph is taken, that rule has unlocked the node. Single nodes are offered for ``seconds``.

    Raises:
        EngineUnavailableError: the engine is not installed here.
        ModelError: the engine refuses the file, and it is not an ONNX graph.
    """
    with TemporaryDirectory(prefix="lepton-fit-") as folder:
        log = Path(folder) / "log.txt"
        refusals = _ask(engine, path, log)
        takes_rewritten = None if rewritten is None else not _ask(engine, rewritten, log)
        if not refusals:
            return Fit(
                engine=engine,
                takes=True,
                why=f"{engine} takes the graph as it is",
                takes_rewritten=takes_rewritten,
            )
        found = _offered_alone(engine, path, refusals, Path(folder), seconds) or refusals
    if takes_rewritten:
        rules = unlocking or {}
        found = [replace(one, unlocked_by=rules.get(one.node, "")) for one in found]
    return Fit(
        engine=engine,
        takes=False,
        why=_why(engine, found),
        refusals=tuple(one for one in found if one.node or one.operator),
        takes_rewritten=takes_rewritten,
    )


def refusals(engine: str, path: str) -> list[Refusal]:
    """What the child process runs: what the engine's own complaint about a graph names."""
    return list(engines.get(engine)().refusals(Path(path)))


def _ask(engine: str, path: Path, log: Path) -> list[Refusal]:
    """What ``engine`` refuses of the whole graph, by its own word; a crash is a refusal."""
    with Child(log, title=engine) as child:
        try:
            found: list[Refusal] = child.call(
                f"{_HERE}:refusals", engine, str(path), timeout=LOAD_SECONDS
            )
        except EngineUnavailableError:
            raise
        except LeptonError as failure:
            return [Refusal(node="", operator="", reason=str(failure))]
    return found


def _offered_alone(
    engine: str, path: Path, named: Sequence[Refusal], folder: Path, seconds: float
) -> list[Refusal]:
    """Every kind of node that ``engine`` refuses by itself; those that it has named come first.

    One that cannot be offered is refused if it was named. A node with a body is left out where one
    inside a body is refused.
    """
    until = time.monotonic() + seconds
    first = {word for one in named for word in (one.node, one.operator) if word}
    found: list[tuple[Probe, str]] = []
    with _Offers(engine, folder) as offers:
        for probe in single_nodes(path, most=MOST_PROBES, first=first):
            if time.monotonic() > until:
                break
            reason = _word_on(probe, named) if probe.model is None else offers.refusal(probe.model)
            if reason:
                found.append((probe, reason))
    inner = [one for one in found if not one[0].has_body]
    return [
        Refusal(node=node, operator=probe.operator, reason=reason)
        for probe, reason in inner or found
        for node in probe.nodes
    ]


def _word_on(probe: Probe, named: Sequence[Refusal]) -> str:
    """What was said of the nodes of ``probe``, by name; by operator where no node was named."""
    return next((one.reason for one in named if (one.node or one.operator) in probe.names), "")


class _Offers:
    """Graphs offered to an engine one after the other, in one process for as long as it lives."""

    def __init__(self, engine: str, folder: Path) -> None:
        self._engine = engine
        self._log = folder / "log.txt"
        self._target = folder / "alone.onnx"
        self._child: Child | None = None

    def refusal(self, model: bytes) -> str:
        """Why the engine refuses ``model``; empty if it takes it."""
        self._target.write_bytes(model)
        if self._child is None:
            self._child = Child(self._log, title=self._engine)
        try:
            found: list[Refusal] = self._child.call(
                f"{_HERE}:refusals", self._engine, str(self._target), timeout=PROBE_SECONDS
            )
        except LeptonError as failure:
            self._child.kill()
            self._child = None
            return str(failure)
        return found[0].reason if found else ""

    def __enter__(self) -> "_Offers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()


def _why(engine: str, found: Sequence[Refusal]) -> str:
    if not any(one.node or one.operator for one in found):
        return found[0].reason
    operators = ", ".join(dict.fromkeys(one.operator for one in found))
    count = sum(bool(one.node) for one in found)
    nodes = f"{count} node{'s' if count > 1 else ''} ({operators})" if count else operators
    return f"{engine} refuses {nodes}: {found[0].reason}"
