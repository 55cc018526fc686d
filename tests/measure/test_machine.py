"""The fingerprint of this machine, against what the machine says by other ways."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from lepton_ai.measure.machine import ISA_MEANING, Machine, fingerprint, usable_cores

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux has affinity")


def test_agrees_with_psutil() -> None:
    machine = fingerprint()
    assert 1 <= machine.cores <= (psutil.cpu_count(logical=True) or 1)
    assert 0 < machine.memory_bytes <= psutil.virtual_memory().total
    assert machine.cpu


def test_engine_versions_are_those_installed() -> None:
    engines = fingerprint().engines
    assert engines["onnxruntime"] == version("onnxruntime")
    assert engines["openvino"] == version("openvino")


@linux_only
def test_isa_is_what_the_kernel_lists() -> None:
    flags = Path("/proc/cpuinfo").read_text().lower().split()
    found = set(fingerprint().isa)
    assert found <= set(ISA_MEANING)
    for name in ("avx2", "avx512_vnni", "avx512_bf16", "amx_int8", "sve"):
        assert (name in found) == (name in flags)


@linux_only
def test_affinity_counts() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from lepton_ai.measure.machine import usable_cores\n"
        "print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


@linux_only
def test_cores_are_at_most_the_logical_ones() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


def test_json_round_trip() -> None:
    machine = fingerprint()
    again = Machine.from_json(json.loads(json.dumps(machine.to_json())))
    assert again == machine
    assert again.key == machine.key


def test_key_follows_what_decides_speed() -> None:
    record = fingerprint().to_json()
    key = fingerprint().key
    assert len(key) == 12
    assert Machine.from_json({**record, "memory_bytes": 1}).key == key
    for change in ({"cores": 4096}, {"cpu": "abacus"}, {"isa": []}, {"engines": {}}):
        assert Machine.from_json({**record, **change}).key != key


def test_loads_no_engine() -> None:
    program = (
        "import sys\n"
        "from lepton_ai.measure.machine import fingerprint; fingerprint()\n"
        "print({'torch', 'onnx', 'onnxruntime', 'openvino', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
