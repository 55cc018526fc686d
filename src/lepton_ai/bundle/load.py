"""A bundle on disk to a network that answers, with the base install alone."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lepton_ai.bundle.layout import ARTIFACT, PROCESSING
from lepton_ai.bundle.manifest import Manifest
from lepton_ai.bundle.net import Net
from lepton_ai.bundle.replay import replay as replay_golden
from lepton_ai.bundle.verify import verify_files
from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.engines.processor import usable_cores
from lepton_ai.errors import (
    BundleError,
    EngineError,
    EngineUnavailableError,
    MissingExtraError,
    UnknownNameError,
)
from lepton_ai.measure.machine import fingerprint
from lepton_ai.model.processing import Processing, processings
from lepton_ai.plan.journal import cache_folder

#: The engine that is part of every install and runs any ONNX graph.
PORTABLE_ENGINE = "onnxruntime"
#: The part of the cache in which engines keep what they compiled.
_COMPILED = "engines"


def load(path: str | Path, *, threads: int | None = None, replay: bool = True) -> Net:
    """The network in the bundle at ``path``.

    Every hash is checked, and the golden calls are replayed. Where the recorded engine is missing
    or answers differently on this machine, the portable one takes its place, with a warning and a
    note. ``threads`` defaults to those the bundle was measured with, or all cores if there are
    fewer. What the engine compiled is kept in the cache, so that the next load is quicker.

    Raises:
        TamperedError: a byte was changed.
        BundleError: there is no bundle, or no engine here answers as recorded.
    """
    path = Path(path)
    manifest = verify_files(path)
    processing = rebuild_processing(path, manifest)
    refused: list[str] = []
    for engine, plan in _candidates(manifest, _threads(manifest, threads)):
        net, why = _try(path, manifest, engine, plan, replay)
        if net is not None:
            net.processing = processing
            net.notes = _isa_notes(manifest) + _fallback_notes(net, refused)
            if refused:
                warnings.warn(net.notes[-1], stacklevel=2)
            return net
        refused.append(f"{engine} in {plan.precision}: {why}")
    raise BundleError(
        f"no engine here answers as {manifest.name} did when it was made ({'; '.join(refused)}); "
        "run lepton doctor, or optimise the model on this machine"
    )


def rebuild_processing(path: Path, manifest: Manifest) -> Processing | None:
    """The processing recorded in a bundle, or ``None`` where it takes bare arrays.

    Raises:
        BundleError: its files or settings cannot be used.
    """
    if manifest.processing is None:
        return None
    record = manifest.processing
    try:
        files = {name: (path / PROCESSING / name).read_bytes() for name in record["files"]}
        return processings.get(record["kind"]).rebuild(record["settings"], files)
    except (OSError, KeyError, TypeError, ValueError) as failure:
        raise BundleError(
            f"the {record['kind']} processing cannot be rebuilt ({failure}); make the bundle anew"
        ) from failure


def _threads(manifest: Manifest, asked: int | None) -> int:
    if asked is not None:
        most = usable_cores()
        if not 1 <= asked <= most:
            raise BundleError(f"threads wants 1 to {most}, the cores that there are; {asked} came")
        return asked
    return max(1, min(manifest.plan.threads, usable_cores()))


def _isa_notes(manifest: Manifest) -> tuple[str, ...]:
    """A sentence when the claims were made with instructions that this machine lacks."""
    missing = [flag for flag in manifest.isa["flags"] if flag not in fingerprint().isa]
    if not missing:
        return ()
    return (
        f"the bundle was measured with {', '.join(missing)}, which this machine lacks: its "
        "answers were replayed here, its speed and certificate hold there",
    )


def _fallback_notes(net: Net, refused: list[str]) -> tuple[str, ...]:
    if not refused:
        return ()
    return (
        f"{net.name} runs in {net.engine} in {net.plan.precision}, not as it was measured: its "
        f"speed and its certificate are not those of the bundle ({'; '.join(refused)})",
    )


def _candidates(manifest: Manifest, threads: int) -> Iterator[tuple[str, EnginePlan]]:
    """As recorded, then in the same engine without its low precision, then the portable engine."""
    plain = EnginePlan(threads=threads)
    yield manifest.engine, replace(manifest.plan, threads=threads).within(usable_cores())
    if manifest.plan.precision != plain.precision:
        yield manifest.engine, plain
    if manifest.engine != PORTABLE_ENGINE:
        yield PORTABLE_ENGINE, plain


def _try(
    path: Path, manifest: Manifest, name: str, plan: EnginePlan, replay: bool
) -> tuple[Net | None, str]:
    """A network in the engine ``name``, or why there is none."""
    try:
        engine = engines.get(name)()
        available = engine.available()
        if not available.ok:
            raise EngineUnavailableError(available.reason)
        if plan.precision not in engine.precisions():
            raise EngineUnavailableError(f"this machine does not compute in {plan.precision}")
        executable = engine.load(path / ARTIFACT, plan, cache_folder() / _COMPILED)
    except (EngineError, UnknownNameError, MissingExtraError) as failure:
        return None, str(failure)
    net = Net(manifest, executable, engine=name, plan=plan)
    why = ""
    if replay:
        try:
            net.replay = replay_golden(path, manifest, net.run)
            why = net.replay.why
        except EngineError as failure:
            why = str(failure)
    if why:
        net.close()
    return (None if why else net), why
