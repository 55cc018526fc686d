"""The processor, against what the machine says by other ways."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lepton_ai.engines.processor import (
    ISA_MEANING,
    Processor,
    int8_saturates,
    isa_of_this_kind,
    logical_cpus,
    numa_nodes,
    one_cpu_per_core,
    processor,
    usable_cores,
)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux has affinity")


@linux_only
def test_isa_is_what_the_kernel_lists() -> None:
    flags = Path("/proc/cpuinfo").read_text().lower().split()
    found = set(processor().isa)
    assert found <= set(ISA_MEANING)
    assert found <= set(isa_of_this_kind())
    for name in ("avx2", "avx512_vnni", "avx512_bf16", "amx_int8", "sve"):
        assert (name in found) == (name in flags)


@pytest.mark.parametrize(
    ("isa", "saturates"),
    [
        (("avx2",), True),
        (("avx2", "avx512f"), True),
        (("avx2", "avx_vnni"), False),
        (("avx2", "avx512f", "avx512_vnni", "amx_int8"), False),
        (("neon", "dotprod"), False),
        ((), False),
    ],
)
def test_int8_overflows_on_x86_without_its_dot_products(isa, saturates, monkeypatch) -> None:
    machine = Processor(name="any", isa=isa)
    monkeypatch.setattr("lepton_ai.engines.processor.processor", lambda: machine)
    assert int8_saturates() is saturates


@linux_only
def test_affinity_counts() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from lepton_ai.engines.processor import one_cpu_per_core, usable_cores\n"
        "print(usable_cores(), len(one_cpu_per_core()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "1 1", done.stderr


@linux_only
def test_cores_are_at_most_the_logical_ones() -> None:
    assert 1 <= usable_cores() <= logical_cpus() <= len(os.sched_getaffinity(0))
    assert set(one_cpu_per_core()) <= os.sched_getaffinity(0)


def test_agrees_with_psutil() -> None:
    assert processor().name
    assert usable_cores() <= (psutil.cpu_count(logical=True) or 1)
    assert numa_nodes() >= 1
