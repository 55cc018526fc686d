"""Which accelerators this machine has, by what its operating system says: no engine is asked.

That a device is there does not mean that an engine can use it; that is for the engine to tell.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lepton_ai.engines.processor import processor

_PATIENCE_SECONDS = 10.0
_MEBIBYTE = 1 << 20
#: Makers by their number on the bus.
_AMD, _INTEL, _GOOGLE = "0x1002", "0x8086", "0x1ae0"
#: What a virtual machine with a TPU has in its environment.
_TPU_VARIABLES = ("TPU_ACCELERATOR_TYPE", "TPU_NAME", "COLAB_TPU_ADDR")
_SMI = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One device: what ``kind`` of it, its ``name``, and its memory where that is told."""

    kind: str
    name: str
    memory_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        return asdict(self)


def accelerators(
    root: Path = Path("/"),
    environment: Mapping[str, str] = os.environ,
    ask: Callable[[tuple[str, ...]], str] | None = None,
) -> list[Accelerator]:
    """What there is below ``root``, in ``environment``, and by the tools that ``ask`` runs."""
    return [
        *_nvidia(root, ask or _output_of),
        *_graphics(root),
        *_compute(root, environment),
        *_apple(),
    ]


def _nvidia(root: Path, ask: Callable[[tuple[str, ...]], str]) -> Iterator[Accelerator]:
    """By the driver's tool, which knows the memory; by the driver's files where it is missing."""
    told = False
    for line in ask(_SMI).splitlines():
        name, _, mebibytes = line.rpartition(",")
        if name and mebibytes.strip().isdigit():
            told = True
            memory = int(mebibytes) * _MEBIBYTE
            yield Accelerator(kind="NVIDIA GPU", name=name.strip(), memory_bytes=memory)
    if told:
        return
    for file in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        for line in _text(file).splitlines():
            label, _, value = line.partition(":")
            if label.strip() == "Model":
                yield Accelerator(kind="NVIDIA GPU", name=value.strip())


def _graphics(root: Path) -> Iterator[Accelerator]:
    """The graphics devices of AMD and Intel that the kernel drives."""
    makers = {_AMD: "AMD GPU", _INTEL: "Intel GPU"}
    for card in sorted((root / "sys/class/drm").glob("card[0-9]*")):
        if "-" in card.name:  # a connector of one
            continue
        kind = makers.get(_text(card / "device/vendor"))
        if kind is not None:
            total = _text(card / "device/mem_info_vram_total")
            memory = int(total) if total.isdigit() else None
            name = _text(card / "device/product_name") or f"device {_text(card / 'device/device')}"
            yield Accelerator(kind=kind, name=name, memory_bytes=memory)


def _compute(root: Path, environment: Mapping[str, str]) -> Iterator[Accelerator]:
    """TPUs and NPUs: accelerators that draw nothing."""
    for device in sorted((root / "sys/class/accel").glob("accel*")):
        maker = _text(device / "device/vendor")
        if maker == _INTEL:
            yield Accelerator(kind="Intel NPU", name=f"device {_text(device / 'device/device')}")
    named = [environment[name] for name in _TPU_VARIABLES if environment.get(name)]
    nodes = [
        node
        for node in sorted((root / "dev").glob("accel[0-9]*"))
        if _text(root / "sys/class/accel" / node.name / "device/vendor") in ("", _GOOGLE)
    ]
    for node in nodes:
        yield Accelerator(kind="TPU", name=named[0] if named else node.name)
    if named and not nodes:
        yield Accelerator(kind="TPU", name=named[0])


def _apple() -> Iterator[Accelerator]:
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        yield Accelerator(kind="Apple GPU and Neural Engine", name=processor().name)


def _output_of(command: tuple[str, ...]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs is no driver
        return ""
    return done.stdout if done.returncode == 0 else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
