"""Weights in huge pages, where the system has some and a plan asks for them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

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


def large_graph(folder: Path) -> Path:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    sides = [
        helper.make_tensor_value_info(side, TensorProto.FLOAT, ["n", 2048]) for side in ("x", "y")
    ]
    weights = np.random.default_rng(0).normal(size=(2048, 2048)).astype("f")
    made = helper.make_graph(
        nodes, "g", sides[:1], sides[1:], [numpy_helper.from_array(weights, "w")]
    )
    path = folder / "net.onnx"
    onnx.save(helper.make_model(made, ir_version=8), path)
    return path


@pytest.mark.skipif(not huge_pages.huge_pages_here(), reason="this system gives no huge pages")
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_large_weights_lie_in_huge_pages_where_a_plan_says_so(tmp_path, name):
    path = large_graph(tmp_path)
    plan = EnginePlan(huge_pages=True)
    assert plan in engines.get(name)().plans(path, EnginePlan())
    words = [sys.executable, "-c", LARGE, name, str(path), str(tmp_path / "cache")]
    for _ in ("compiled", "from what was kept"):
        subprocess.run(words, check=True, timeout=60)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_system_without_huge_pages_runs_the_plan_without(tmp_path, name, monkeypatch):
    monkeypatch.setattr(huge_pages, "_SETTING", tmp_path / "missing")
    assert not huge_pages.huge_pages_here()
    path = large_graph(tmp_path)
    assert all(not plan.huge_pages for plan in engines.get(name)().plans(path, EnginePlan()))
    executable = engines.get(name)().load(path, EnginePlan(huge_pages=True))
    assert executable.run({"x": np.ones((1, 2048), np.float32)})["y"].shape == (1, 2048)
