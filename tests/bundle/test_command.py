"""``lepton verify``, through the real command."""

import json
import subprocess
import sys

import pytest


def lepton(*words):
    command = [sys.executable, "-c", "from lepton_ai.cli import main; main()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_whole_bundle_exits_0_with_a_table(bundle):
    ended = lepton("verify", bundle)
    assert ended.returncode == 0, ended.stderr
    assert "toy, version 1" in ended.stdout
    assert "3 golden calls answered as recorded" in " ".join(ended.stdout.split())


def test_json_is_one_document(bundle):
    ended = lepton("verify", bundle, "--json")
    record = json.loads(ended.stdout)
    assert record["name"] == "toy"
    assert record["replayed"] == 3
    assert record["difference"] <= record["tolerance"]
    assert record["notes"] == []


@pytest.mark.parametrize("victim", ["artifact/model.onnx", "manifest.json", "golden/inputs.npz"])
def test_one_changed_byte_exits_2_with_one_sentence(bundle, victim):
    content = bytearray((bundle / victim).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / victim).write_bytes(content)
    ended = lepton("verify", bundle, "--json")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert victim in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_no_bundle_exits_2(tmp_path):
    ended = lepton("verify", tmp_path / "absent")
    assert ended.returncode == 2
    assert "nothing is at" in ended.stderr
