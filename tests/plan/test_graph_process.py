"""What a child process leaves of a compressed graph: the graph, and what engines want of it."""

from pathlib import Path

import pytest

from lepton_ai.compress.conformance_graphs import Case, write_cases
from lepton_ai.compress.finish import finished
from lepton_ai.compress.sensitivity import sensitivity
from lepton_ai.measure.size import bytes_on_disk
from lepton_ai.plan.calibration import CalibrationFolder
from lepton_ai.plan.graph_process import compress, put_back


@pytest.fixture
def case(tmp_path) -> Case:
    return next(case for case in write_cases(tmp_path) if case.name == "attending")


@pytest.fixture
def calibration(case, tmp_path) -> CalibrationFolder:
    folder = CalibrationFolder(tmp_path / "calls")
    folder.write(iter(case.calls))
    return folder


def compressed(name: str, case: Case, folder: Path) -> Path:
    target = folder / "small" / "model.onnx"
    target.parent.mkdir()
    compress(name, str(case.path), str(target), str(folder / "calls"))
    return target


def test_an_engine_gets_its_own_form_and_the_others_the_graph(case, calibration, tmp_path):
    target = compressed("int8-static-nncf", case, tmp_path)
    own = finished(target, "onnxruntime")
    assert own != target
    assert finished(target, "openvino") == target
    assert bytes_on_disk(target) == target.stat().st_size  # the form beside it counts for itself
    assert bytes_on_disk(own) == own.stat().st_size


def test_a_graph_with_a_node_put_back_has_its_own_form_too(case, calibration, tmp_path):
    target = compressed("int8-static-nncf", case, tmp_path)
    [(worst, _), *_] = sensitivity(case.path, target, calibration)
    mixed = tmp_path / "mixed" / "model.onnx"
    mixed.parent.mkdir()
    put_back("int8-static-nncf", str(case.path), str(mixed), str(target), [worst])
    assert finished(mixed, "onnxruntime") != mixed


def test_what_is_stored_alone_is_left_as_it_is(case, calibration, tmp_path):
    target = compressed("int8-weights", case, tmp_path)
    assert list(target.parent.iterdir()) == [target]
