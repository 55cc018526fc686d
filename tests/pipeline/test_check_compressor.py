"""Every promise of a compressor, broken by one that does."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lepton_ai import check_compressor
from lepton_ai.compress.compressor import Compressor
from lepton_ai.compress.fp16_weights import Fp16Weights
from lepton_ai.engines.engine import Availability
from lepton_ai.errors import ModelError


class Faulty(Compressor):
    """Weights in half precision, and then something done to the original or to the result."""

    name = "faulty"
    needs_calibration = False

    def __init__(self, fault: Callable[[Path, Path], None]) -> None:
        self._fault = fault

    def compress(self, source, target, calibration) -> None:
        Fp16Weights().compress(source, target, calibration)
        self._fault(source, target)


def changed(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path, Path], None]:
    def fault(source: Path, target: Path) -> None:
        model = onnx.load(target)
        change(model)
        onnx.save(model, target)

    return fault


def rename(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.output[:] = ["z" if name == "y" else name for name in node.output]
    model.graph.output[0].name = "z"


def pad(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(200_000, np.float32), "pad"))


def scramble(model: onnx.ModelProto) -> None:
    for weight in model.graph.initializer:
        if weight.name.endswith("/stored"):
            values = numpy_helper.to_array(weight)
            weight.CopyFrom(
                numpy_helper.from_array(np.ascontiguousarray(values[::-1]), weight.name)
            )


def misspell(model: onnx.ModelProto) -> None:
    model.graph.node[-1].op_type = "Frobnicate"


def touch(source: Path, target: Path) -> None:
    with source.open("ab") as file:
        file.write(b"\n\x00")


def forget(source: Path, target: Path) -> None:
    target.unlink()


def crash(source: Path, target: Path) -> None:
    raise KeyError("a tensor nobody knows")


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (changed(rename), "signature"),
        (changed(pad), "bytes"),
        (changed(scramble), "answers in onnxruntime"),
        (changed(misspell), "answers in onnxruntime"),
        (forget, "takes"),
        (crash, "takes"),
        (touch, "source"),
    ],
)
def test_what_is_wrong_is_named(fault, named):
    report = check_compressor(Faulty(fault), engines=["onnxruntime"])
    assert named in {check.name for check in report.failed}
    with pytest.raises(ModelError, match=named):
        report.check()


def test_one_that_does_as_it_promises_passes():
    report = check_compressor(Fp16Weights(), engines=["onnxruntime"]).check()
    assert report.ok
    assert report.refused == ()
    assert {check.graph for check in report.checks} == {"convolutional", "attending", "recurrent"}


class Choosy(Compressor):
    name = "choosy"

    def __init__(self, refused: str) -> None:
        self._refused = refused

    def compress(self, source, target, calibration) -> None:
        if self._refused in source.parent.name:
            raise ModelError(f"no {self._refused} networks, please")
        Fp16Weights().compress(source, target, calibration)


def test_a_network_may_be_refused_and_one_may_not():
    report = check_compressor(Choosy("recurrent"), engines=["onnxruntime"]).check()
    assert report.refused == ("recurrent",)
    failed = check_compressor(Choosy("convolutional"), engines=["onnxruntime"]).failed
    assert [(check.name, check.graph) for check in failed] == [("takes", "convolutional")]


class Absent(Choosy):
    def available(self) -> Availability:
        return Availability(ok=False, reason="not today", remedy="pip install tomorrow")


def test_one_that_cannot_run_here_says_how_to_have_it():
    with pytest.raises(ModelError, match="pip install tomorrow"):
        check_compressor(Absent("")).check()


def test_what_the_docs_say_works():
    page = Path(__file__).parents[2] / "docs" / "compressing.md"
    [program] = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    names: dict = {}
    exec(program, names)  # a page of this repository
    names["test_it_keeps_the_promises_of_a_compressor"]()
