"""What every compressor promises, asked of one: the same for those built in and for plug-ins.

A compressor may refuse a network, as long as it says why; the convolutional one it must take. What
it takes it must make smaller and nothing else: the same inputs and outputs, answers that are near
those of before in each engine that took the original, and a bundle that can be loaded.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from lepton_ai.bundle.load import load
from lepton_ai.bundle.pack import BundleContents, pack
from lepton_ai.compress.compressor import Compressor
from lepton_ai.compress.conformance_graphs import REQUIRED, Case, write_cases
from lepton_ai.compress.finish import finish, finished
from lepton_ai.engines.conformance_checks import Check
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.engines.engine import engines as known_engines
from lepton_ai.errors import LeptonError, ModelError, first_line
from lepton_ai.formats.onnx_signature import read_signature
from lepton_ai.measure.machine import fingerprint
from lepton_ai.measure.runner import ProcessRunner
from lepton_ai.measure.size import bytes_on_disk
from lepton_ai.model.signature import Arrays

#: The engines that int8 and weights in few bytes are made for.
ENGINES = ("onnxruntime", "openvino")
#: What must be left of the answers, as a ratio of signal to noise: int8 leaves 11 and more, a scale
#: along the wrong axis 5.
LEAST_DECIBELS = 8.0
#: Of the calls of a network, those that the compressor does not see.
_HELD_OUT = 8
_DEADLINE = 120.0
_REFUSED = "it is refused: "
_PLAN = EnginePlan(threads=1)


@dataclass(frozen=True, kw_only=True)
class CompressorReport:
    """All that was asked of ``compressor``; ``refused`` are the networks that it does not take."""

    compressor: str
    checks: tuple[Check, ...]
    refused: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.ok)

    def check(self) -> "CompressorReport":
        """This report, if all is well.

        Raises:
            ModelError: something is not; the message has a line for each.
        """
        if self.ok:
            return self
        lines = [f"{each.name} ({each.graph}): {each.sentence}" for each in self.failed]
        raise ModelError(
            f"{self.compressor} fails {len(lines)} of {len(self.checks)} checks:\n"
            + "\n".join(lines)
        )


def check_compressor(
    compressor: Compressor, *, engines: Sequence[str] = ENGINES
) -> CompressorReport:
    """Ask everything of ``compressor``, on three small networks, in those of ``engines`` at hand.

    Nothing is raised for what fails, that is left to the report's ``check()``. Each artifact is
    loaded in processes of its own; a compressor that crashes takes this one along.
    """
    state = compressor.available()
    if not state.ok:
        remedy = f"; to have it: {state.remedy}" if state.remedy else ""
        missing = Check(name="available", ok=False, sentence=f"{state.reason}{remedy}")
        return CompressorReport(compressor=compressor.name, checks=(missing,))
    names = [name for name in engines if known_engines.get(name)().available().ok]
    checks: list[Check] = []
    with TemporaryDirectory(prefix="lepton-compressor-", ignore_cleanup_errors=True) as folder:
        for case in write_cases(Path(folder)):
            checks += _Asking(compressor, case, Path(folder) / f"{case.name}-small").ask(names)
    refused = tuple(
        each.graph for each in checks if each.name == "takes" and _REFUSED in each.sentence
    )
    return CompressorReport(compressor=compressor.name, checks=tuple(checks), refused=refused)


class _Asking:
    """One compressor and one network."""

    def __init__(self, compressor: Compressor, case: Case, folder: Path) -> None:
        self._compressor = compressor
        self._case = case
        self._target = folder / "model.onnx"
        self._log = folder.with_suffix(".log")
        folder.mkdir()

    def ask(self, names: Sequence[str]) -> Iterator[Check]:
        """Every check, until one fails that the others stand on."""
        source, before = self._case.path, _digest(self._case.path)
        try:
            self._compressor.compress(source, self._target, self._case.calls[:-_HELD_OUT])
        except ModelError as refusal:
            fine = self._case.name != REQUIRED
            yield self._check("takes", fine, f"{_REFUSED}{first_line(refusal)}")
            return
        except Exception as failure:  # whatever it is, it is what is reported
            yield self._check("takes", False, f"{type(failure).__name__}: {first_line(failure)}")
            return
        yield self._check("takes", self._target.exists(), "it writes a graph")
        if not self._target.exists():
            return
        yield self._check("source", _digest(source) == before, "the original stays as it was")
        interface = self._interface()
        yield interface
        if not interface.ok:
            return
        bytes_before, bytes_after = bytes_on_disk(source), bytes_on_disk(self._target)
        words = f"{bytes_before} bytes became {bytes_after}"
        yield self._check("bytes", bytes_after < bytes_before, words)
        finish(self._target)
        for name in names:
            yield from self._in_engine(name)

    def _interface(self) -> Check:
        try:
            was, now = (_signature(path) for path in (self._case.path, self._target))
        except LeptonError as failure:
            return self._check("signature", False, first_line(failure))
        return self._check("signature", was == now, f"{was} became {now}")

    def _in_engine(self, engine: str) -> Iterator[Check]:
        """Whether the answers are near, in a process of its own, and a bundle gives the same."""
        calls = self._case.calls[-_HELD_OUT:]
        try:
            before = self._answers(engine, self._case.path, calls)
        except LeptonError:  # what does not take the original is not asked
            return
        path = finished(self._target, engine)
        try:
            after = self._answers(engine, path, calls)
        except LeptonError as failure:
            yield self._check(f"answers in {engine}", False, first_line(failure))
            return
        left = _decibels(before, after)
        words = f"{left:.0f} dB are left of the answers ({LEAST_DECIBELS:.0f} wanted)"
        yield self._check(f"answers in {engine}", left >= LEAST_DECIBELS, words)
        yield self._in_bundle(engine, path, list(zip(calls, after, strict=True)))

    def _answers(self, engine: str, path: Path, calls: Sequence[Arrays]) -> list[Arrays]:
        runner = ProcessRunner(engine, path, _PLAN, self._log, deadline=_DEADLINE)
        try:
            return runner.answer(calls)
        finally:
            runner.close()

    def _in_bundle(self, engine: str, path: Path, golden: Sequence[tuple[Arrays, Arrays]]) -> Check:
        name = f"bundle for {engine}"
        contents = BundleContents(
            artifact=path,
            artifact_data=tuple(_companions(path)),
            name=self._case.name,
            signature=_signature(path),
            engine=engine,
            plan=_PLAN,
            golden=golden,
            machine=fingerprint().to_json(),
        )
        try:
            bundle = pack(contents, self._target.parent / f"{engine}-bundle")
            with load(bundle) as net:
                ran = net.engine
        except LeptonError as failure:
            return self._check(name, False, first_line(failure))
        return self._check(name, ran == engine, f"loaded, it answers as before in {ran}")

    def _check(self, name: str, ok: bool, sentence: str) -> Check:
        return Check(name=name, graph=self._case.name, ok=ok, sentence=sentence)


def _signature(path: Path) -> Any:
    return read_signature(onnx.load(path, load_external_data=False).graph)[0]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _companions(path: Path) -> Iterator[Path]:
    return (part for part in sorted(path.parent.iterdir()) if part.is_file() and part != path)


def _decibels(before: Sequence[Arrays], after: Sequence[Arrays]) -> float:
    """The energy of the answers about their mean over that of what changed; of the worst output."""
    worst = float("inf")
    for name in before[0]:
        if any(was[name].shape != now[name].shape for was, now in zip(before, after, strict=True)):
            return -float("inf")
        was, now = (
            np.concatenate([each[name].reshape(-1).astype(np.float64) for each in answers])
            for answers in (before, after)
        )
        changed = float(np.square(now - was).sum())
        signal = float(np.square(was - was.mean()).sum())
        if not np.isfinite(changed):
            return -float("inf")
        if changed > 0:
            worst = min(worst, float(10 * np.log10(max(signal, 1e-30) / changed)))
    return worst
