"""Contents in, bundle out: written beside its place, made durable, and moved in one step."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lepton_ai.bundle.golden import encode_calls
from lepton_ai.bundle.layout import (
    ARTIFACT,
    CERTIFICATE,
    GOLDEN_INPUTS,
    GOLDEN_OUTPUTS,
    MANIFEST,
    PROCESSING,
    REPORT,
)
from lepton_ai.bundle.manifest import FORMAT, Manifest, check_file_name, finite, plain_text
from lepton_ai.bundle.verify import entry_of
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.errors import BundleError, OutputError
from lepton_ai.model.processing import Processing
from lepton_ai.model.signature import Arrays, Signature

#: How far a replay may be from the golden outputs, relative to an output's scale. Between two
#: machines, fp32 differs by the order of additions; int8 and bf16 by roundings of 1 in 128 or so.
TOLERANCE_FP32 = 1e-3
TOLERANCE_LOW = 3e-2


@dataclass(frozen=True, kw_only=True)
class BundleContents:
    """All that goes into a bundle.

    ``artifact`` is the ONNX file as measured; ``artifact_data`` are the files that hold its
    weights, where it keeps them outside. ``golden`` are (inputs, outputs) of single calls, as
    answered by ``engine`` under ``plan``. ``machine`` is the fingerprint of where the claims were
    made; its ``isa`` and ``engines`` become the ISA contract. ``recipe``, ``measurements``
    (``baseline`` and ``best``), ``certificate`` and ``metric`` are JSON records, kept as they come.
    ``created`` is an ISO 8601 time, now by default.
    """

    artifact: Path
    name: str
    signature: Signature
    engine: str
    plan: EnginePlan
    golden: Sequence[tuple[Arrays, Arrays]]
    processing: Processing | None = None
    artifact_data: tuple[Path, ...] = ()
    version: str = "1"
    status: str = "MET"
    metric: Any = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    measurements: Mapping[str, Any] = field(default_factory=dict)
    certificate: Mapping[str, Any] | None = None
    report_html: str | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    created: str | None = None


def pack(contents: BundleContents, target: Path, *, overwrite: bool = False) -> Path:
    """Write a bundle to the folder ``target`` and return its path.

    The folder appears whole or not at all. With ``overwrite`` it may replace a bundle.

    Raises:
        OutputError: ``target`` exists, or cannot be written.
        BundleError: there is no name, or no golden call to hold the artifact to.
    """
    if not contents.name.strip() or not contents.golden:
        raise BundleError("a bundle wants a name and at least one golden call, and none came")
    return _place(target, overwrite, lambda folder: _write_all(contents, folder))


def copy_bundle(source: Path, target: Path, *, overwrite: bool = False) -> Path:
    """Copy the bundle ``source`` to the folder ``target``, whole or not at all, and return it.

    Raises:
        OutputError: ``target`` exists, or cannot be written.
    """

    def write(folder: Path) -> None:
        shutil.copytree(source, folder)
        _make_durable(folder)

    return _place(target, overwrite, write)


def _place(target: Path, overwrite: bool, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a folder beside ``target`` and move it there in one step."""
    check_target(target, overwrite)
    target = target.absolute()
    partial = target.with_name(f".{target.name}.partial")
    try:
        with _alone_in(target.parent):
            check_target(target, overwrite)  # another may have written it since
            try:
                shutil.rmtree(partial, ignore_errors=True)
                write(partial)
                _move(partial, target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as failure:
        raise OutputError(
            f"the bundle cannot be written to {target}: {failure.strerror or failure}; "
            "free the space or choose another path"
        ) from failure
    return target


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Write in turns: two that write one path would clear each other's partial folder away."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def check_target(target: Path, overwrite: bool = False) -> None:
    """Raise :class:`OutputError` where :func:`pack` would, before any long work is done.

    ``overwrite`` allows a bundle or an empty folder to be replaced, and never anything else.
    """
    target = target.absolute()
    if not target.name or target.name == "..":
        raise OutputError(f"a bundle wants a folder name of its own, and {target} came")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f"{target} is a file; choose a path where nothing is")
    if target.is_dir():
        if not overwrite:
            raise OutputError(f"{target} exists; choose another path, or ask to overwrite it")
        if not _replaceable(target):
            raise OutputError(f"{target} is not a Lepton bundle and is not replaced; choose a path")
    _check_parent(target.parent)


def _check_parent(parent: Path) -> None:
    if not parent.is_dir():
        what = "is not a folder" if parent.exists() else "does not exist"
        raise OutputError(f"{parent} {what}; make it first, or choose another path")
    try:  # permission bits do not tell: a superuser passes them, a read-only file system does not
        Path(tempfile.mkdtemp(prefix=".lepton-", dir=parent)).rmdir()
    except OSError as failure:
        raise OutputError(
            f"{parent} cannot be written to ({failure.strerror}); choose another path"
        ) from failure


def _replaceable(folder: Path) -> bool:
    if not any(folder.iterdir()):
        return True
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("format") == FORMAT


def _write_all(contents: BundleContents, folder: Path) -> None:
    texts = {
        GOLDEN_INPUTS: encode_calls([inputs for inputs, _ in contents.golden]),
        GOLDEN_OUTPUTS: encode_calls([outputs for _, outputs in contents.golden]),
    }
    if contents.certificate is not None:
        texts[CERTIFICATE] = plain_text(finite(contents.certificate)).encode()
    if contents.report_html is not None:
        texts[REPORT] = contents.report_html.encode()
    if contents.processing is not None:
        for name, content in contents.processing.files().items():
            texts[f"{PROCESSING}/{name}"] = content
    for name, content in texts.items():
        check_file_name(name)
        _write(folder / name, content)
    _copy(contents.artifact, folder / ARTIFACT)
    for companion in contents.artifact_data:
        _copy(companion, (folder / ARTIFACT).with_name(companion.name))
    _write(folder / MANIFEST, _describe(contents, folder).to_text().encode())
    _make_durable(folder)


def _describe(contents: BundleContents, folder: Path) -> Manifest:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Manifest(
        name=contents.name,
        version=contents.version,
        created=contents.created or datetime.now(UTC).isoformat(timespec="seconds"),
        status=contents.status,
        metric=contents.metric,
        engine=contents.engine,
        plan=contents.plan,
        signature=contents.signature,
        processing=_describe_processing(contents.processing),
        golden={"calls": len(contents.golden), "tolerance": _tolerance(contents)},
        isa={
            "flags": list(contents.machine.get("isa", ())),
            "engines": contents.machine.get("engines", {}),
        },
        machine=contents.machine,
        recipe=contents.recipe,
        measurements=contents.measurements,
        lepton_version=version("lepton-ai"),
        files={path.relative_to(folder).as_posix(): entry_of(path) for path in files},
    )


def _describe_processing(processing: Processing | None) -> dict[str, Any] | None:
    if processing is None:
        return None
    names = sorted(processing.files())
    return {"kind": processing.kind, "settings": processing.settings(), "files": names}


def _tolerance(contents: BundleContents) -> float:
    low = contents.recipe.get("compressor") or contents.plan.precision != "fp32"
    return TOLERANCE_LOW if low else TOLERANCE_FP32


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _copy(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)


def _make_durable(folder: Path) -> None:
    """Have the disk hold every byte before the folder gets its name."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _move(partial: Path, target: Path) -> None:
    """Give ``partial`` its name; what was there before goes only once the new one is in place."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
