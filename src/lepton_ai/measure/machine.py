"""What this machine is, as far as it decides how fast a network runs.

A measurement holds for the machine it was made on; its fingerprint says which that was. It is read
from what the operating system and the package metadata say: no engine is imported.
"""

import functools
import hashlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: What each instruction set extension unlocks, in words; the names are those of Linux.
ISA_MEANING = {
    "avx2": "256-bit vectors: fp32 at full width",
    "avx512f": "512-bit vectors: fp32 at twice the width of avx2",
    "avx_vnni": "int8 dot products in 256-bit vectors: int8 pays off",
    "avx512_vnni": "int8 dot products in 512-bit vectors: int8 pays off",
    "avx512_bf16": "bf16 dot products: half the bytes of fp32, about its accuracy",
    "avx512_fp16": "fp16 arithmetic in 512-bit vectors",
    "amx_bf16": "bf16 matrix tiles: bf16 many times faster than fp32",
    "amx_int8": "int8 matrix tiles: int8 many times faster than fp32",
    "neon": "128-bit vectors: fp32 at full width",
    "dotprod": "int8 dot products: int8 pays off",
    "i8mm": "int8 matrix products: int8 pays off twice over",
    "bf16": "bf16 dot and matrix products: half the bytes of fp32, about its accuracy",
    "sve": "scalable vectors",
    "sve2": "scalable vectors, second edition",
    "sme": "matrix tiles",
}

#: The distributions whose version can change a measured time or an answer.
ENGINE_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "openvino", "torch")

#: Other names that operating systems give to the extensions above.
_ALIASES = {
    "asimd": "neon",
    "asimddp": "dotprod",
    "feat_dotprod": "dotprod",
    "feat_i8mm": "i8mm",
    "feat_bf16": "bf16",
    "feat_sme": "sme",
    "neon_hpfp": "neon",
}


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
    facts = _processor_facts()
    return Machine(
        cpu=facts["cpu"] or platform.processor() or platform.machine(),
        cores=usable_cores(),
        isa=_known_isa(facts["flags"]),
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        engines=dict(_engine_versions()),
    )


def usable_cores() -> int:
    """How many physical cores this process may keep busy; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
        cores = len({_core_of(cpu) for cpu in allowed})
    else:
        cores = _physical_cores_elsewhere()
    quota = _quota()
    return cores if math.isinf(quota) else max(1, min(cores, math.floor(quota)))


def _core_of(cpu: int) -> tuple[str, str]:
    """The package and core of a logical CPU; the CPU itself where the kernel does not say."""
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        package = (topology / "physical_package_id").read_text().strip()
        return package, (topology / "core_id").read_text().strip()
    except OSError:
        return "cpu", str(cpu)


def _physical_cores_elsewhere() -> int:
    import psutil  # type: ignore[import-untyped]  # Linux does without

    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def _quota() -> float:
    """The cores that the control group grants; infinite where there is no limit."""
    granted = math.inf
    for folder in _control_groups("cpu"):
        granted = min(granted, _quota_of(folder))
    return granted


def _quota_of(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    if quota in ("max", "-1"):
        return math.inf
    return int(quota) / int(period)


def _control_groups(controller: str) -> Iterator[Path]:
    """The folders that may limit this process, for both versions of control groups."""
    root = Path("/sys/fs/cgroup")
    yield from (root, root / controller)
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if names == "":
            yield root / path.lstrip("/")
        elif controller in names.split(","):
            yield root / controller / path.lstrip("/")


def _memory_bytes() -> int:
    """Memory that this process may use, bytes."""
    limits = [_total_memory()]
    for folder in _control_groups("memory"):
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
        import psutil  # where there is no sysconf

        return int(psutil.virtual_memory().total)


def _processor_facts() -> dict[str, str]:
    """The processor's name and its flags, lower case, separated by blanks."""
    if platform.system() == "Linux":
        return _linux_facts()
    if platform.system() == "Darwin":
        return _macos_facts()
    return {"cpu": "", "flags": ""}


def _linux_facts() -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    return {
        "cpu": fields.get("model name") or fields.get("cpu model", ""),
        "flags": (fields.get("flags") or fields.get("features", "")).lower(),
    }


def _macos_facts() -> dict[str, str]:
    answer = subprocess.run(["/usr/sbin/sysctl", "machdep.cpu", "hw.optional"], capture_output=True)
    fields = dict(
        line.split(": ", 1)
        for line in answer.stdout.decode(errors="replace").splitlines()
        if ": " in line
    )
    flags = [fields.get("machdep.cpu.features", ""), fields.get("machdep.cpu.leaf7_features", "")]
    flags += [name.rsplit(".", 1)[1] for name, value in fields.items() if value == "1"]
    return {"cpu": fields.get("machdep.cpu.brand_string", ""), "flags": " ".join(flags).lower()}


def _known_isa(flags: str) -> tuple[str, ...]:
    found = {_ALIASES.get(flag, flag) for flag in flags.split()}
    return tuple(name for name in ISA_MEANING if name in found)


def _engine_versions() -> Iterator[tuple[str, str]]:
    for name in ENGINE_DISTRIBUTIONS:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
