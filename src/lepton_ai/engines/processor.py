"""What this processor is, as far as engines and their plans are decided by it.

Read from what the operating system says: nothing is imported for it and nothing is run, except on
systems that only tell a program.
"""

import functools
import math
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
#: Of the extensions above, those that an ARM processor may have; the others are for x86.
ARM_ISA = ("neon", "dotprod", "i8mm", "bf16", "sve", "sve2", "sme")

#: With any of these, x86 sums products of int8 in 32 bits; else two of them in 16, which overflow.
_INT8_IN_32_BITS = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})

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
_CPUS = Path("/sys/devices/system/cpu")
_NODES = Path("/sys/devices/system/node")


@dataclass(frozen=True, kw_only=True)
class Processor:
    """A processor's name, and the instruction set extensions of it that matter to networks."""

    name: str
    isa: tuple[str, ...]


@functools.cache
def processor() -> Processor:
    """This processor, read once per process."""
    name, flags = _name_and_flags()
    return Processor(name=name or platform.processor() or platform.machine(), isa=_known(flags))


def int8_saturates() -> bool:
    """Whether sums of 8-bit products can overflow here, so that weights should have 7 bits."""
    isa = processor().isa
    return "avx2" in isa and _INT8_IN_32_BITS.isdisjoint(isa)


def isa_of_this_kind() -> tuple[str, ...]:
    """The extensions that a processor of this architecture may have."""
    arm = platform.machine().lower() in ("aarch64", "arm64")
    return tuple(name for name in ISA_MEANING if (name in ARM_ISA) == arm)


def usable_cores() -> int:
    """How many physical cores this process may keep busy; at least 1."""
    cores = len(one_cpu_per_core()) if hasattr(os, "sched_getaffinity") else _cores_elsewhere()
    quota = _quota()
    return cores if math.isinf(quota) else max(1, min(cores, math.floor(quota)))


def one_cpu_per_core() -> tuple[int, ...]:
    """A logical CPU of each physical core that this process may use; empty if it cannot be told."""
    if not hasattr(os, "sched_getaffinity"):
        return ()
    first: dict[tuple[str, str], int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        first.setdefault(_core_of(cpu), cpu)
    return tuple(first.values())


def logical_cpus() -> int:
    """How many threads of hardware this process may use at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def numa_nodes() -> int:
    """How many parts the memory has, as near to or far from a core; 1 where it is not told."""
    return max(1, sum(1 for node in _NODES.glob("node[0-9]*") if (node / "cpulist").exists()))


def control_groups(controller: str) -> Iterator[Path]:
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


def _core_of(cpu: int) -> tuple[str, str]:
    """The package and core of a logical CPU; the CPU itself where the kernel does not say."""
    topology = _CPUS / f"cpu{cpu}" / "topology"
    try:
        package = (topology / "physical_package_id").read_text().strip()
        return package, (topology / "core_id").read_text().strip()
    except OSError:
        return "cpu", str(cpu)


def _cores_elsewhere() -> int:
    import psutil  # type: ignore[import-untyped]  # Linux does without

    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def _quota() -> float:
    """The cores that the control group grants; infinite where there is no limit."""
    granted = math.inf
    for folder in control_groups("cpu"):
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


def _name_and_flags() -> tuple[str, str]:
    """The processor's name and its flags, lower case, separated by blanks."""
    if platform.system() == "Linux":
        return _linux()
    if platform.system() == "Darwin":
        return _macos()
    return "", ""


def _linux() -> tuple[str, str]:
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    name = fields.get("model name") or fields.get("cpu model", "")
    return name, (fields.get("flags") or fields.get("features", "")).lower()


def _macos() -> tuple[str, str]:
    answer = subprocess.run(["/usr/sbin/sysctl", "machdep.cpu", "hw.optional"], capture_output=True)
    fields = dict(
        line.split(": ", 1)
        for line in answer.stdout.decode(errors="replace").splitlines()
        if ": " in line
    )
    flags = [fields.get("machdep.cpu.features", ""), fields.get("machdep.cpu.leaf7_features", "")]
    flags += [name.rsplit(".", 1)[1] for name, value in fields.items() if value == "1"]
    return fields.get("machdep.cpu.brand_string", ""), " ".join(flags).lower()


def _known(flags: str) -> tuple[str, ...]:
    found = {_ALIASES.get(flag, flag) for flag in flags.split()}
    return tuple(name for name in ISA_MEANING if name in found)
