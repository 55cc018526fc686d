"""The zoo of architectures in sizes that a test can afford: each is rewritten, proven, and runs."""

from pathlib import Path

import pytest

import lepton_ai
import zoo
from lepton_ai.engines.engine import EnginePlan, engines
from lepton_ai.errors import EngineError
from lepton_ai.graph.feeding.feeds import generate
from lepton_ai.graph.gate import check_equal
from lepton_ai.graph.onnx_file import load_graph

NAMES = tuple(zoo.architectures())
#: In every test run; the others, which take a minute to export, in the long one.
QUICK = ("mobilenet_v2", "bert", "if_and_loop", "dlrm", "tcn", "lstm")


def test_there_are_enough():
    assert len(NAMES) >= 16


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NAMES]
)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_rewritten_it_answers_as_before(tmp_path: Path, name: str, engine: str) -> None:
    source = zoo.export(name, tmp_path, small=True)
    target = tmp_path / "rewritten.onnx"
    report = lepton_ai.rewrite(source, target, engine=engine)

    assert report.steps[0].name == "standard"
    for step in report.steps:
        assert not step.rewriting.rolled_back, step.rewriting.rolled_back
        assert not step.rewriting.failed, step.rewriting.failed
    kind = engines.get(engine)()
    assert report.nodes_after <= report.nodes_before
    calls = generate(load_graph(source))
    try:
        before = kind.load(source, EnginePlan(threads=1))
    except EngineError:  # not the original, but what is made of it
        before = engines.get("onnxruntime")().load(source, EnginePlan(threads=1))
    after = kind.load(target, EnginePlan(threads=1))
    verdict = check_equal(
        [before.run(call) for call in calls], [after.run(call) for call in calls], rtol=1e-3
    )
    assert verdict.equal, verdict.why
