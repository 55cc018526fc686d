import numpy as np

from lepton_ai.data.bind import bind
from lepton_ai.data.source import read_data
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.formats.read import read
from lepton_ai.measure.runner import ProcessRunner, chunks

BALLAST = 600_000_000


def test_a_process_answers_and_is_timed_and_weighed_on_its_own(digits, tmp_path):
    ballast = np.ones(BALLAST, np.uint8)  # what this process holds is not the child's
    model = read(str(digits / "model.onnx"), tmp_path, None)
    samples = bind(read_data(digits / "val.npz"), model.signature, None)
    plan = EnginePlan(threads=1)
    runner = ProcessRunner("onnxruntime", model.path, plan, tmp_path / "log", deadline=60)
    try:
        outputs = runner.outputs(samples, range(10))
        assert outputs["scores"].shape == (10, 10)
        assert (outputs["scores"].argmax(-1) == samples.labels[:10]).mean() > 0.7
        assert len(runner.clock([samples.feed([0])] * 7)) == 7
        assert 0 < runner.load_seconds < 60
        assert 20 < runner.peak_memory_mb() < ballast.nbytes / 1e6
    finally:
        runner.close()


def test_chunks_hold_every_call_once(digits, tmp_path):
    model = read(str(digits / "model.onnx"), tmp_path, None)
    samples = bind(read_data(digits / "val.npz"), model.signature, None)
    found = [feed["x"] for chunk in chunks(samples, range(150)) for feed in chunk]
    assert len(found) == 150
    np.testing.assert_array_equal(found[149], samples.feed([149])["x"])
    assert max(len(chunk) for chunk in chunks(samples, range(150))) <= 64
