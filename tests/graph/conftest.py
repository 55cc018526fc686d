"""Small graphs written in ONNX's own text form."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from lepton_ai.errors import EngineError
from lepton_ai.graph.applying import apply_rule
from lepton_ai.graph.gate import check_equal
from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.onnx_file import operator_counts
from lepton_ai.graph.rule import Ledger, Rule

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A graph's text and its weights (by name) to an ONNX file."""

    def to_file(text: str, name: str = "net", **weights: np.ndarray) -> Path:
        model = parser.parse_model(text)
        for weight, values in weights.items():
            model.graph.initializer.append(numpy_helper.from_array(values, weight))
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        return path

    return to_file


@pytest.fixture
def run() -> Callable[..., dict[str, np.ndarray]]:
    def once(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    return once


@dataclass(frozen=True, kw_only=True)
class Applied:
    """A rule's work on one graph: what it did, what is left, and the answers of both."""

    ledger: Ledger
    operators: Counter[str]
    model: ir.Model
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]


@pytest.fixture
def apply(write: Write) -> Callable[..., Applied]:
    """Apply a rule to a graph's text; the answers must stay equal, and a second time finds nothing.

    ``feed`` holds the inputs; ``denied`` the sites that the rule must leave.
    """

    def once(
        rule: type[Rule],
        text: str,
        feed: dict[str, np.ndarray],
        weights: dict[str, np.ndarray] | None = None,
        denied: frozenset[str] = frozenset(),
    ) -> Applied:
        source = write(text, **(weights or {}))
        model = ir.load(source)
        infer_shapes(model)
        ledger = apply_rule(model, rule(), denied)
        target = source.with_name("rewritten.onnx")
        ir.save(model, target)
        before, after = answers(source, feed), answers(target, feed)
        equality = check_equal([before], [after])
        assert equality.equal, equality.why
        second = ir.load(target)
        infer_shapes(second)
        again = apply_rule(second, rule(), denied)
        assert again.firings == []
        return Applied(
            ledger=ledger,
            operators=operator_counts(model),
            model=model,
            before=before,
            after=after,
        )

    return once


def answers(path: Path, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime answers with none of its own optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


@pytest.fixture
def in_process() -> Callable[..., Callable[[ir.Model], list[dict[str, np.ndarray]]]]:
    """What a graph answers to some calls, as it is written, in this very process."""

    def asking(calls: list[dict[str, np.ndarray]]):
        def answer(model: ir.Model) -> list[dict[str, np.ndarray]]:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.log_severity_level = 4
            try:
                session = onnxruntime.InferenceSession(
                    ir.to_proto(model).SerializeToString(),
                    options,
                    providers=["CPUExecutionProvider"],
                )
                names = [output.name for output in session.get_outputs()]
                return [dict(zip(names, session.run(names, feed), strict=True)) for feed in calls]
            except Exception as failure:  # its exceptions share no base class
                raise EngineError(str(failure)) from failure

        return answer

    return asking
