"""``lepton doctor``, by the real command."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from typing import Any

from lepton_ai.engines.engine import engines

GONE = ("openvino", "torch", "jax", "ctranslate2")


def test_words(lepton: Any) -> None:
    done = lepton("doctor")
    assert done.returncode == 0, done.stderr
    for name in (*engines.names(), "Instruction sets", "optimize", "train"):
        assert name in done.stdout


def test_json_says_what_runs(lepton: Any) -> None:
    done = lepton("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    findings = json.loads(done.stdout)
    assert re.fullmatch("[0-9a-f]{12}", findings["machine"]["key"])
    assert findings["machine"]["cores"] >= 1
    assert set(findings["isa"]) == set(findings["machine"]["isa"])
    assert all(findings["isa"].values())
    found = {engine["name"]: engine for engine in findings["engines"]}
    assert set(found) == set(engines.names())
    assert found["onnxruntime"]["available"]
    assert found["onnxruntime"]["precisions"][0] == "fp32"
    assert found["onnxruntime"]["devices"][0] == "cpu"
    assert found["onnxruntime"]["version"] == version("onnxruntime")
    assert not found["reference"]["ships"]
    assert all(engine["unlocks"] for engine in found.values() if engine["ships"])
    assert {extra["name"] for extra in findings["extras"]} >= {"optimize", "train"}


def test_json_says_what_the_machine_is(lepton: Any) -> None:
    findings = json.loads(lepton("doctor", "--json").stdout)
    topology = findings["topology"]
    assert 1 <= topology["cores"] <= topology["threads"]
    assert topology["numa_nodes"] >= 1
    assert not set(findings["isa"]) & set(findings["isa_missing"])
    assert all(device["kind"] for device in findings["accelerators"])


def test_an_engine_whose_library_is_missing_is_not_imported() -> None:
    program = f"""
import importlib.util, sys
find = importlib.util.find_spec
gone = {GONE!r}
def without(name, *more):
    return None if name.partition(".")[0] in gone else find(name, *more)
importlib.util.find_spec = without
from lepton_ai.cli.doctor import examine
found = {{engine["name"]: engine for engine in examine()["engines"]}}
for name in ("openvino", "inductor", "xla", "ctranslate2"):
    assert not found[name]["available"], name
    assert found[name]["reason"] and found[name]["remedy"].startswith("pip install"), found[name]
print(sorted(set(gone) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_json_says_what_is_missing(lepton: Any) -> None:
    findings = json.loads(lepton("doctor", "--json").stdout)
    for extra in findings["extras"]:
        wanted = f"pip install 'lepton-ai[{extra['name']}]'" if extra["missing"] else ""
        assert extra["remedy"] == wanted
        assert extra["installed"] == (not extra["missing"])
