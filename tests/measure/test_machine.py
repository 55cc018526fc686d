"""The fingerprint of this machine, against what the machine says by other ways."""

import json
import subprocess
import sys
from importlib.metadata import version

import psutil

from lepton_ai.measure.machine import Machine, fingerprint


def test_agrees_with_psutil() -> None:
    machine = fingerprint()
    assert 1 <= machine.cores <= (psutil.cpu_count(logical=True) or 1)
    assert 0 < machine.memory_bytes <= psutil.virtual_memory().total
    assert machine.cpu


def test_engine_versions_are_those_installed() -> None:
    engines = fingerprint().engines
    assert engines["onnxruntime"] == version("onnxruntime")
    assert engines["openvino"] == version("openvino")


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
