"""``lepton doctor``, by the real command."""

import json
import re
from typing import Any

from lepton_ai.engines.engine import engines


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
    assert {extra["name"] for extra in findings["extras"]} >= {"optimize", "train"}


def test_json_says_what_is_missing(lepton: Any) -> None:
    findings = json.loads(lepton("doctor", "--json").stdout)
    for extra in findings["extras"]:
        wanted = f"pip install 'lepton-ai[{extra['name']}]'" if extra["missing"] else ""
        assert extra["remedy"] == wanted
        assert extra["installed"] == (not extra["missing"])
