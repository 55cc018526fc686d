"""What this machine is, as far as it decides how fast a network runs.

A measurement holds for the machine it was made on; its fingerprint says which that was. It is read
from what the operating system and the package metadata say: no engine is imported.
"""

import functools
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lepton_ai.engines.processor import control_groups, processor, usable_cores

#: The distributions whose version can change a measured time or an answer.
ENGINE_DISTRIBUTIONS = (
    *("onnxruntime", "onnxruntime-gpu", "onnxruntime-rocm", "onnxruntime-migraphx"),
    *("onnxruntime-directml", "openvino", "torch", "jax", "jaxlib", "ctranslate2"),
)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine as this process may use it.

    ``cores`` are the physical cores that affinity and control group quota leave to this process,
    ``isa`` the instruction set extensions that matter to networks, ``engines`` the versions of the
    engines installed, by distribution.
    """

    cpu: str
    cores: int
    isa: tuple[str, ...]
    memory_bytes: int
    system: str
    python: str
    engines: Mapping[str, str]

    @property
    def key(self) -> str:
        """A short hash of what decides speed and answers; equal keys, comparable measurements."""
        deciding = self.to_json()
        del deciding["memory_bytes"]  # the kernel's share of it changes from boot to boot
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; the inverse of :meth:`from_json`."""
        return {**asdict(self), "isa": list(self.isa), "engines": dict(self.engines)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Machine":
        """The inverse of :meth:`to_json`."""
        return cls(**{**record, "isa": tuple(record["isa"])})


@functools.cache
def fingerprint() -> Machine:
    """This machine, read once per process."""
    return Machine(
        cpu=processor().name,
        cores=usable_cores(),
        isa=processor().isa,
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        engines=dict(_engine_versions()),
    )


def _memory_bytes() -> int:
    """Memory that this process may use, bytes."""
    limits = [_total_memory()]
    for folder in control_groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                limits.append(int((folder / name).read_text()))
            except (OSError, ValueError):  # absent, or the word "max"
                continue
    return min(limits)


def _total_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        import psutil  # type: ignore[import-untyped]  # where there is no sysconf

        return int(psutil.virtual_memory().total)


def _engine_versions() -> Iterator[tuple[str, str]]:
    for name in ENGINE_DISTRIBUTIONS:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
