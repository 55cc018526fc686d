"""What every engine promises, asked of one: the same for those built in and for plug-ins.

The answers of the ``reference`` engine are what is right. An engine may refuse a graph, as long as
it says why; one graph, a dense layer in float32, it must take. What it takes, it must answer
rightly: at any size, for eight threads at once, whatever the layout of the inputs.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lepton_ai.engines.conformance_checks import Check, check_case, copies, run_beside
from lepton_ai.engines.conformance_graphs import (
    HEAVY,
    REQUIRED,
    Case,
    read_case,
    write_cases,
    write_unknown,
)
from lepton_ai.engines.engine import Engine, EnginePlan, Executable, engines
from lepton_ai.errors import EngineError, first_line
from lepton_ai.model.signature import Arrays

#: Loads of one graph over which memory must not grow.
RELOADS = 200
#: What a load may leave behind for good. The graph that is loaded has 4 MiB of weights; what
#: fragments of the heap remain is less than a hundredth of that, and stays so.
LEFT_BEHIND_BYTES = 32 * 1024
#: What the heap as a whole may still grow by after the first loads, which are not counted.
UNSETTLED_BYTES = 4 << 20
_WARM_UP_LOADS = 8


@dataclass(frozen=True, kw_only=True)
class ConformanceReport:
    """All that was asked of ``engine``.

    ``refused`` are the graphs that it does not take, ``deterministic`` says whether all calls
    repeated agreed to the last bit, and ``left_behind`` how many bytes a load left in memory.
    """

    engine: str
    checks: tuple[Check, ...]
    refused: tuple[str, ...] = ()
    deterministic: bool = True
    left_behind: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.ok)

    def check(self) -> "ConformanceReport":
        """This report, if all is well.

        Raises:
            EngineError: something is not; the message has a line for each.
        """
        if self.ok:
            return self
        lines = [
            f"{check.name}{f' ({check.graph})' if check.graph else ''}: {check.sentence}"
            for check in self.failed
        ]
        raise EngineError(
            f"{self.engine} fails {len(lines)} of {len(self.checks)} checks:\n" + "\n".join(lines)
        )

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        return {
            "engine": self.engine,
            "ok": self.ok,
            "deterministic": self.deterministic,
            "left_behind": self.left_behind,
            "refused": list(self.refused),
            "checks": [
                {"name": c.name, "graph": c.graph, "ok": c.ok, "sentence": c.sentence}
                for c in self.checks
            ],
        }


def check_engine(
    engine: Engine,
    graphs: Iterable[Path] | None = None,
    *,
    plan: EnginePlan | None = None,
    reloads: int = RELOADS,
    built_in: bool = True,
) -> ConformanceReport:
    """Ask everything of ``engine``: on the built-in graphs, and on the ONNX files ``graphs``.

    Nothing is raised for what fails, that is left to the report's ``check()``. A graph is loaded
    ``reloads`` times to see that memory does not grow; 0 leaves that out, ``built_in=False`` all
    but the files. An engine that crashes takes the process along; one that hangs is reported.

    Raises:
        EngineError: what ``engine`` loads are not graphs.
        ModelError: one of ``graphs`` is not an ONNX graph.
    """
    if engine.form != "graph":
        raise EngineError(f"{engine.name} loads {engine.form} folders, not the graphs asked about")
    state = engine.available()
    if not state.ok:
        remedy = f"; to have it: {state.remedy}" if state.remedy else ""
        missing = Check(name="available", ok=False, sentence=f"{state.reason}{remedy}")
        return ConformanceReport(engine=engine.name, checks=(missing,))
    asking = _Asking(engine, plan or EnginePlan(threads=1))
    with TemporaryDirectory(prefix="lepton-conformance-", ignore_cleanup_errors=True) as folder:
        if built_in:
            asking.ask_built_in(Path(folder), reloads)
        for path in graphs or ():
            asking.ask(read_case(Path(path)), Path(folder))
    return asking.report()


class _Asking:
    """One engine under question, and what has been found so far."""

    def __init__(self, engine: Engine, plan: EnginePlan) -> None:
        self._engine = engine
        self._plan = plan
        self._checks: list[Check] = []
        self._refused: list[str] = []
        self._taken: list[str] = []
        self._left_behind = 0.0

    def report(self) -> ConformanceReport:
        told = [check for check in self._checks if check.name == "determinism"]
        return ConformanceReport(
            engine=self._engine.name,
            checks=tuple(self._checks),
            refused=tuple(self._refused),
            deterministic=all("to the last bit" in check.sentence for check in told),
            left_behind=self._left_behind,
        )

    def ask_built_in(self, folder: Path, reloads: int) -> None:
        self._checks += _first(self._engine)
        cases = {case.name: case for case in write_cases(folder)}
        for case in cases.values():
            self.ask(case, folder)
        self._checks += _refusals(self._engine, self._plan, cases[REQUIRED], write_unknown(folder))
        if reloads and HEAVY in self._taken:
            load = partial(self._engine.load, cases[HEAVY].path, self._plan, folder / "cache")
            self._left_behind = _growth(load, cases[HEAVY].calls[0], reloads)
            self._checks.append(_memory(self._left_behind, reloads))

    def ask(self, case: Case, folder: Path) -> None:
        """Everything about one graph, if the engine takes it."""
        wanted, empty = _wanted(case)
        try:
            executable = self._engine.load(case.path, self._plan, folder / "cache")
            executable.run(copies(case.calls[0]))
        except EngineError as failure:
            self._refuse(case, failure)
            return
        except Exception as failure:  # whatever it is, it is what is reported
            why = f"it fails with {type(failure).__name__}: {first_line(failure)}"
            self._checks.append(Check(name="loads", graph=case.name, ok=False, sentence=why))
            return
        self._taken.append(case.name)
        self._checks.append(Check(name="loads", graph=case.name, ok=True, sentence="it is taken"))
        try:
            self._checks += check_case(case, executable, wanted, empty, self._plan.precision)
        except EngineError as failure:
            why = f"a call that should work fails: {first_line(failure)}"
            self._checks.append(Check(name="calls", graph=case.name, ok=False, sentence=why))
        finally:
            executable.close()

    def _refuse(self, case: Case, failure: EngineError) -> None:
        self._refused.append(case.name)
        sentence = f"it is refused: {first_line(failure)}"
        fine = case.name != REQUIRED
        self._checks.append(Check(name="loads", graph=case.name, ok=fine, sentence=sentence))


def _wanted(case: Case) -> tuple[Sequence[Arrays], Arrays | None]:
    """The reference's answers to the calls of ``case``, and to the one without rows."""
    reference = engines.get("reference")().load(case.path, EnginePlan())
    answers = [reference.run(call) for call in case.calls]
    if case.empty is None:
        return answers, None
    try:
        return answers, reference.run(case.empty)
    except EngineError:  # some operators have no answer for no rows
        return answers, None


def _first(engine: Engine) -> Iterator[Check]:
    yield Check(name="available", ok=True, sentence=engine.available().reason)
    precisions = engine.precisions()
    yield Check(
        name="precisions",
        ok=bool(precisions) and precisions[0] == "fp32",
        sentence=f"fp32 comes first of {list(precisions)}",
    )


def _refusals(engine: Engine, plan: EnginePlan, case: Case, unknown: Path) -> Iterator[Check]:
    """What every engine must refuse: an operator, a precision and a shape that cannot be."""
    strange = replace(plan, precision="int3")
    row = case.calls[0]
    call = {name: array[..., :-1] for name, array in row.items()}
    word = "Frobnicate"
    four = {"x": row["x"][:, :4]}
    yield _refused("unknown operator", word, lambda: engine.load(unknown, plan, None).run(four))
    yield _refused("unknown precision", "int3", lambda: engine.load(case.path, strange, None))
    yield _refused("wrong shape", "", lambda: engine.load(case.path, plan, None).run(call))


def _refused(name: str, word: str, attempt: Any) -> Check:
    [outcome] = run_beside([attempt])
    if not isinstance(outcome, Exception):
        return Check(name=name, ok=False, sentence="it goes unnoticed")
    if not isinstance(outcome, EngineError):
        kind = type(outcome).__name__
        return Check(name=name, ok=False, sentence=f"it ends in {kind}: {first_line(outcome)}")
    sentence = str(outcome).strip()
    if word.lower() not in sentence.lower():
        return Check(name=name, ok=False, sentence=f"{word} is not named in: {sentence}")
    return Check(name=name, ok=True, sentence=sentence)


def _growth(load: Any, call: Arrays, reloads: int) -> float:
    """Bytes that a load leaves behind: the medians of the last and the first quarter compared.

    A few loads go before: libraries and arenas settle, and caches are filled.
    """
    import psutil  # type: ignore[import-untyped]

    process = psutil.Process()
    resident: list[int] = []
    gc.freeze()  # what was there before is not looked through again and again
    try:
        for _ in range(_WARM_UP_LOADS + reloads):
            executable: Executable = load()
            executable.run(copies(call))
            executable.close()
            del executable
            gc.collect()
            resident.append(process.memory_info().rss)
    finally:
        gc.unfreeze()
    settled = resident[_WARM_UP_LOADS:]
    quarter = max(1, len(settled) // 4)
    before, after = sorted(settled[:quarter]), sorted(settled[-quarter:])
    apart = max(1, len(settled) - quarter)
    return (after[len(after) // 2] - before[len(before) // 2]) / apart


def _memory(left_behind: float, reloads: int) -> Check:
    allowed = LEFT_BEHIND_BYTES + UNSETTLED_BYTES / reloads
    return Check(
        name="memory",
        ok=left_behind <= allowed,
        sentence=(
            f"{reloads} loads left {left_behind / 1024:.0f} KiB each behind"
            f" ({allowed / 1024:.0f} KiB allowed, {4 * 1024} KiB of weights)"
        ),
    )
