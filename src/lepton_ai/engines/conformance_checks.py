"""What is asked of one executable: right answers in every circumstance, and names in complaints."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lepton_ai.engines.conformance_graphs import Case
from lepton_ai.engines.engine import Executable
from lepton_ai.engines.parity import difference
from lepton_ai.errors import EngineError, first_line
from lepton_ai.model.signature import Array, Arrays

THREADS = 8
ROUNDS = 4
#: A call of these graphs takes milliseconds; one that has not answered by now hangs.
PATIENCE_SECONDS = 120.0


class _HangError(EngineError):
    """A call that did not end."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was asked of an engine, on ``graph`` if on one, and a sentence about it."""

    name: str
    graph: str = ""
    ok: bool
    sentence: str


def check_case(
    case: Case,
    executable: Executable,
    wanted: Sequence[Arrays],
    wanted_empty: Arrays | None,
    precision: str,
) -> Iterator[Check]:
    """Ask everything of ``executable``, which runs the graph of ``case``.

    ``wanted`` are the reference's answers to its calls, ``wanted_empty`` its answer to a call
    without rows, where it has one.
    """

    def told(name: str, why: str, fine: str) -> Check:
        return Check(name=name, graph=case.name, ok=not why, sentence=why or fine)

    harm = _harm(case, executable)
    yield told("unharmed inputs", harm, "inputs are as they were")
    if harm:  # and nothing after it would mean anything
        return
    answers = [executable.run(call) for call in case.calls]
    shapes = {tuple(a.shape for a in call.values()) for call in case.calls}
    yield told(
        "parity",
        difference(wanted, answers, precision, case.rtol),
        f"answers as the reference does, for {len(shapes)} sets of sizes",
    )
    yield told("layout", _layout(case, executable, answers), "any layout in memory gives the same")
    yield told("kept answers", _kept(case, executable), "an answer outlives the next call")
    yield told("threads", _threads(case, executable, answers), f"{THREADS} threads get the same")
    yield _determinism(case, executable, answers)
    empty = case.empty
    if empty is not None:
        yield _emptiness(case, executable, empty, wanted_empty)
    yield from _complaints(case, executable)


def _layout(case: Case, executable: Executable, answers: Sequence[Arrays]) -> str:
    """Arrays with gaps, and such as run backwards, instead of plain ones."""
    for make in (_spread, _backwards):
        odd = [{name: make(array) for name, array in call.items()} for call in case.calls]
        why = _same([executable.run(call) for call in odd], answers)
        if why:
            return f"with arrays {make.__name__.lstrip('_')}: {why}"
    return ""


def _spread(array: Array) -> Array:
    """``array`` as every other element of a larger one."""
    if not array.ndim:
        return array
    wide = np.repeat(array, 2, axis=-1)
    return wide[..., ::2]


def _backwards(array: Array) -> Array:
    """``array`` as a view with negative strides, its axes in Fortran's order."""
    if not array.ndim:
        return array
    turned = np.asfortranarray(array[::-1])
    return turned[::-1]


def _harm(case: Case, executable: Executable) -> str:
    for call in case.calls:
        mine = copies(call)
        executable.run(mine)
        for name, array in call.items():
            if not np.array_equal(mine[name], array):
                return f"input {name!r} was changed by the call"
    return ""


def _kept(case: Case, executable: Executable) -> str:
    first = executable.run(case.calls[0])
    before = copies(first)
    for call in (*case.calls[1:], _shifted(case.calls[0])):
        executable.run(call)
    for name, value in first.items():
        if not _identical(value, before[name]):
            return f"output {name!r} of a call was changed by a later call"
    return ""


def _shifted(call: Arrays) -> Arrays:
    """The same sizes with other values: what shares memory would be overwritten in place."""
    return {
        name: np.asarray(-array) if array.dtype.kind == "f" else np.zeros_like(array)
        for name, array in call.items()
    }


def _threads(case: Case, executable: Executable, answers: Sequence[Arrays]) -> str:
    """Each thread goes through all calls, from a different one on."""
    count = len(case.calls)

    def go(first: int) -> list[tuple[int, Arrays]]:
        turns = [(first + turn) % count for turn in range(ROUNDS * count)]
        return [(one, executable.run(case.calls[one])) for one in turns]

    for outcome in run_beside([partial(go, k) for k in range(THREADS)]):
        if isinstance(outcome, Exception):
            return f"a thread failed: {first_line(outcome)}"
        for call, answer in outcome:
            why = _same([answer], [answers[call]])
            if why:
                return f"beside other threads: {why}"
    return ""


def run_beside(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """What ``tasks`` answer, or raise, each in a thread of its own; one that hangs is given up."""
    outcomes: list[Any] = [_HangError(f"no answer within {PATIENCE_SECONDS:.0f} s")] * len(tasks)

    def work(place: int) -> None:
        try:
            outcomes[place] = tasks[place]()
        except Exception as failure:  # whatever it is, it is what is reported
            outcomes[place] = failure

    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(len(tasks))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(outcomes)


def _determinism(case: Case, executable: Executable, answers: Sequence[Arrays]) -> Check:
    """No demand, but a statement: whether two calls agree to the last bit."""
    again = [executable.run(call) for call in case.calls]
    same = all(
        _identical(value, second[name])
        for first, second in zip(answers, again, strict=True)
        for name, value in first.items()
    )
    sentence = "two calls agree to the last bit" if same else "two calls differ by rounding"
    why = "" if same else _same(again, answers)
    return Check(name="determinism", graph=case.name, ok=not why, sentence=why or sentence)


def _emptiness(case: Case, executable: Executable, empty: Arrays, wanted: Arrays | None) -> Check:
    """No rows: refused in a sentence, or answered with no rows."""
    [outcome] = run_beside([lambda: executable.run(empty)])
    if isinstance(outcome, EngineError) and not isinstance(outcome, _HangError):
        ok, sentence = True, f"an empty batch is refused: {first_line(outcome)}"
    elif isinstance(outcome, Exception):
        kind = type(outcome).__name__
        ok, sentence = False, f"an empty batch ends in {kind}: {first_line(outcome)}"
    else:
        wrong = [
            f"{name!r} has the shape {outcome[name].shape}, not {value.shape}"
            for name, value in (wanted or {}).items()
            if outcome[name].shape != value.shape
        ]
        ok, sentence = not wrong, "; ".join(wrong) or "an empty batch gives an empty answer"
    return Check(name="empty batch", graph=case.name, ok=ok, sentence=sentence)


def _complaints(case: Case, executable: Executable) -> Iterator[Check]:
    """Inputs that are missing, unknown or of another dtype are refused by name."""
    call = case.calls[0]
    stranger = "no_such_input"
    for name, array in call.items():
        rest = {other: value for other, value in call.items() if other != name}
        yield _refusal("missing input", case, executable, rest, name)
        yield _dtype(case, executable, name, {**call, name: _of_another_kind(array)})
    more = {**call, stranger: next(iter(call.values()))}
    yield _refusal("unknown input", case, executable, more, stranger)


def _refusal(name: str, case: Case, executable: Executable, call: Arrays, word: str) -> Check:
    try:
        executable.run(call)
    except EngineError as failure:
        ok = word in str(failure)
        sentence = first_line(failure) if ok else f"{word!r} is not named in: {first_line(failure)}"
    except Exception as failure:  # whatever it is, it is what is reported
        ok, sentence = False, f"{word!r} ends in {type(failure).__name__}: {first_line(failure)}"
    else:
        ok, sentence = False, f"{word!r} goes unnoticed"
    return Check(name=name, graph=case.name, ok=ok, sentence=sentence)


def _dtype(case: Case, executable: Executable, name: str, call: Arrays) -> Check:
    """Another kind of number: refused by name, or taken for the numbers that they are."""
    wanted = case.calls[0][name]
    cast = {**call, name: call[name].astype(wanted.dtype)}
    try:
        answer = executable.run(call)
    except EngineError:
        return _refusal("wrong dtype", case, executable, call, name)
    except Exception as failure:  # whatever it is, it is what is reported
        ok, sentence = False, f"{name!r} ends in {type(failure).__name__}: {first_line(failure)}"
    else:
        why = _same([answer], [executable.run(cast)])
        ok, sentence = not why, why or f"{call[name].dtype} for {name!r} is converted"
    return Check(name="wrong dtype", graph=case.name, ok=ok, sentence=sentence)


def _of_another_kind(array: Array) -> Array:
    """Numbers where text is wanted, integers where floats are, floats where integers are."""
    if array.dtype.kind in "USO":
        return np.zeros(array.shape, np.float32)
    return array.astype(np.float32 if array.dtype.kind in "iub" else np.int64)


def _same(answers: Sequence[Arrays], others: Sequence[Arrays]) -> str:
    """Why two sets of one engine's answers are not the same up to rounding; empty if they are."""
    return difference(others, answers)


def copies(arrays: Arrays) -> Arrays:
    """The same arrays, in memory of their own."""
    return {name: array.copy() for name, array in arrays.items()}


def _identical(one: Array, other: Array) -> bool:
    if one.dtype.kind in "USO":
        return np.array_equal(one, other)
    return one.shape == other.shape and one.tobytes() == other.tobytes()
