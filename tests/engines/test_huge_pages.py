"""Weights in huge pages, where the system has some and a plan asks for them."""

import subprocess
import sys

import numpy as np
import pytest

from lepton_ai.engines import huge_pages
from lepton_ai.engines.engine import EnginePlan, engines

LARGE = """
import sys
from pathlib import Path
import numpy as np, onnx
from lepton_ai.engines.engine import EnginePlan, engines

def in_huge_pages():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages"))

before = in_huge_pages()
plan, cache = EnginePlan(huge_pages=True), Path(sys.argv[3])
executable = engines.get(sys.argv[1])().load(Path(sys.argv[2]), plan, cache)
assert in_huge_pages() - before > 8 << 10, (before, in_huge_pages())
executable.run({"x": np.ones((1, 2048), np.float32)})
"""


@pytest.mark.skipif(not huge_pages.huge_pages_here(), reason="this system gives no huge pages")
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_large_weights_lie_in_huge_pages_where_a_plan_says_so(large_graph, tmp_path, name):
    path = large_graph
    plan = EnginePlan(huge_pages=True)
    assert plan in engines.get(name)().plans(path, EnginePlan())
    words = [sys.executable, "-c", LARGE, name, str(path), str(tmp_path / "cache")]
    for _ in ("compiled", "from what was kept"):
        subprocess.run(words, check=True, timeout=60)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_system_without_huge_pages_runs_the_plan_without(
    large_graph, tmp_path, name, monkeypatch
):
    monkeypatch.setattr(huge_pages, "_SETTING", tmp_path / "missing")
    assert not huge_pages.huge_pages_here()
    path = large_graph
    assert all(not plan.huge_pages for plan in engines.get(name)().plans(path, EnginePlan()))
    executable = engines.get(name)().load(path, EnginePlan(huge_pages=True))
    assert executable.run({"x": np.ones((1, 2048), np.float32)})["y"].shape == (1, 2048)
