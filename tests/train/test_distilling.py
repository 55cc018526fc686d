from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import numpy_helper, parser

from lepton_ai.errors import DivergedError, ModelError
from lepton_ai.operators.module import GraphModule
from lepton_ai.train.distilling import DistilConfig, Distilling, answer_loss, difference
from lepton_ai.train.lessons import Lessons

TEXT = """
<ir_version: 8, opset_import: ["" : 18]>
g (float[BATCH, 6] x) => (float[BATCH, 5] y) {
    a = Gemm (x, w, b)
    c = Tanh (a)
    y = MatMul (c, v)
}
"""


def network(width: int, *, batch: str = "n", seed: int = 0) -> ir.Model:
    model = parser.parse_model(TEXT.replace("BATCH", batch))
    rng = np.random.default_rng(seed)
    for name, shape in {"w": (6, width), "b": (width,), "v": (width, 5)}.items():
        values = rng.normal(size=shape).astype(np.float32) / 2
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    from lepton_ai.compress.slimming.slim import ready

    return ready(ir.from_proto(model))


@pytest.fixture
def lessons(tmp_path: Path) -> Lessons:
    rng = np.random.default_rng(1)
    calls = ({"x": rng.normal(size=(1, 6)).astype(np.float32)} for _ in range(400))
    return Lessons.write(tmp_path / "lessons", calls)


def weights(distilling: Distilling) -> dict[str, np.ndarray]:
    held = distilling.student().graph.initializers.items()
    return {name: value.const_value.numpy() for name, value in held}


def test_a_narrower_student_learns_to_answer_as_its_teacher_does(lessons):
    teacher, student = network(24), network(12, seed=1)
    config = DistilConfig(steps=300, batch=32, learning_rate=1e-2)
    distilling = Distilling(teacher, student, lessons, config)
    first = distilling.advance(1)
    last = distilling.advance(299)
    assert distilling.step == 300
    assert last < first / 4
    x = torch.from_numpy(np.random.default_rng(9).normal(size=(200, 6)).astype(np.float32))
    wanted = GraphModule(teacher)(x)[0]
    errors = [
        difference(GraphModule(m)(x)[0], wanted).item() for m in (student, distilling.student())
    ]
    assert errors[1] < 0.1 * errors[0]
    assert distilling.advance(5) == 0.0, "the schedule has ended"


def test_the_student_that_came_stays_as_it_is(lessons):
    student = network(12)
    before = {n: v.const_value.numpy().copy() for n, v in student.graph.initializers.items()}
    Distilling(network(24), student, lessons, DistilConfig(steps=5)).advance(5)
    for name, value in student.graph.initializers.items():
        np.testing.assert_array_equal(value.const_value.numpy(), before[name])


def test_the_same_seed_gives_the_same_student(lessons):
    made = []
    for _ in range(2):
        distilling = Distilling(network(24), network(12), lessons, DistilConfig(steps=8, batch=16))
        distilling.advance(8)
        made.append(weights(distilling))
    for name, one in made[0].items():
        np.testing.assert_array_equal(one, made[1][name])


def test_killed_and_resumed_it_makes_the_same_student(lessons, tmp_path):
    config = DistilConfig(steps=10, batch=16)
    whole = Distilling(network(24), network(12), lessons, config)
    whole.advance(10)
    killed = Distilling(network(24), network(12), lessons, config)
    killed.advance(4)
    killed.save(tmp_path / "checkpoint")
    resumed = Distilling(network(24), network(12), lessons, config)
    resumed.resume(tmp_path / "checkpoint")
    assert resumed.step == 4
    resumed.advance(10)
    for name, one in weights(whole).items():
        np.testing.assert_allclose(one, weights(resumed)[name], rtol=1e-5, atol=1e-6)


def test_a_network_of_a_fixed_batch_is_taught_call_by_call(lessons):
    taught = Distilling(
        network(24, batch="1"), network(12, batch="1"), lessons, DistilConfig(steps=4)
    )
    assert taught.batch == 64, "nothing in this one depends on the batch being one"
    text = TEXT.replace("BATCH", "1").replace("c = Tanh (a)", "e = Tanh (a) c = Reshape (e, flat)")
    models = []
    for width in (24, 12):
        model = parser.parse_model(text)
        shapes = {"w": (6, width), "b": (width,), "v": (width, 5)}
        for name, shape in shapes.items():
            values = np.full(shape, 0.1, dtype=np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
        flat = numpy_helper.from_array(np.array([1, width]), "flat")
        model.graph.initializer.append(flat)
        models.append(ir.from_proto(model))
    taught = Distilling(*models, lessons, DistilConfig(steps=4))
    assert taught.batch == 1
    assert np.isfinite(taught.advance(4))


def test_a_loss_that_is_no_number_is_said_so(lessons):
    teacher = network(24)
    broken = teacher.graph.initializers["v"]
    broken.const_value = ir.tensor(np.full((24, 5), np.nan, dtype=np.float32), name="v")
    distilling = Distilling(teacher, network(12), lessons, DistilConfig(steps=4))
    with pytest.raises(DivergedError, match="step 1"):
        distilling.advance(1)


def test_a_network_without_weights_is_refused(lessons):
    head, _, _ = TEXT.partition("{")
    model = ir.from_proto(parser.parse_model(head.replace("BATCH", "n") + "{ y = Relu (x) }"))
    with pytest.raises(ModelError, match="no weights"):
        Distilling(model, model, lessons, DistilConfig(steps=4))


def test_probabilities_are_compared_as_such():
    wanted = torch.softmax(torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    near = torch.softmax(torch.log(wanted) + 0.01, dim=1)
    assert float(answer_loss(wanted, wanted)) == pytest.approx(0, abs=1e-6)
    assert float(answer_loss(near, wanted)) < float(answer_loss(wanted.flip(1), wanted)) / 10


@pytest.mark.parametrize(("right", "counts"), [(0.9, True), (0.2, False)])
def test_labels_count_where_the_teacher_has_most_of_them_right(tmp_path, right, counts):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    teacher = network(16)
    with torch.no_grad():
        classes = GraphModule(teacher)(torch.from_numpy(x))[0].argmax(1).numpy()
    wrong = (classes + rng.integers(1, 5, size=400)) % 5
    labels = np.where(rng.random(400) < right, classes, wrong)
    calls = ({"x": row[None]} for row in x)
    lessons = Lessons.write(tmp_path / "labelled", calls, labels=labels.tolist())
    losses = []
    for each in (lessons, Lessons.write(tmp_path / "bare", ({"x": row[None]} for row in x))):
        config = DistilConfig(steps=1, batch=32, features=False)
        losses.append(Distilling(teacher, network(4, seed=1), each, config).advance(1))
    assert (losses[0] > losses[1] * 1.01) == counts


def normal(path: Path, calls: int, seed: int) -> Lessons:
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(1, 6)).astype(np.float32) for _ in range(calls))
    return Lessons.write(path, ({"x": row} for row in rows))


@pytest.mark.parametrize(("taught", "ends_early"), [(4, True), (2000, False)])
def test_teaching_ends_where_what_is_held_out_gets_no_better(tmp_path, taught, ends_early):
    """Four samples are learnt by heart; two thousand go on to help."""
    config = DistilConfig(steps=400, batch=4, learning_rate=1e-2, features=False)
    lessons = normal(tmp_path / "taught", taught, 5)
    distilling = Distilling(network(16), network(16, seed=1), lessons, config)
    distilling.watch(normal(tmp_path / "held out", 64, 6))
    distilling.advance(400)
    assert (distilling.steps < 400) == ends_early
    assert distilling.step == distilling.steps


def test_what_was_seen_is_known_again_after_a_checkpoint(tmp_path):
    config = DistilConfig(steps=400, batch=4, learning_rate=1e-2, features=False)
    lessons, held_out = normal(tmp_path / "taught", 4, 5), normal(tmp_path / "held out", 64, 6)

    def begun() -> Distilling:
        distilling = Distilling(network(16), network(16, seed=1), lessons, config)
        distilling.watch(held_out)
        return distilling

    whole, first, second = begun(), begun(), begun()
    whole.advance(400)
    first.advance(90)
    first.save(tmp_path / "checkpoint")
    second.resume(tmp_path / "checkpoint")
    second.advance(400)
    assert second.steps == whole.steps
    for name, array in weights(whole).items():
        np.testing.assert_array_equal(array, weights(second)[name])


def test_weights_that_are_zero_stay_zero_if_they_are_to(lessons):
    student = network(16, seed=1)
    assert made_sparse_by_hand(student) == 48
    for keep in (True, False):
        config = DistilConfig(steps=20, batch=16, features=False, keep_zeros=keep)
        distilling = Distilling(network(16), student.clone(), lessons, config)
        distilling.advance(20)
        zeros = int((weights(distilling)["w"] == 0).sum())
        assert zeros == (48 if keep else 0)


def made_sparse_by_hand(model: ir.Model) -> int:
    """Half of one weight is zero afterwards."""
    value = model.graph.initializers["w"]
    array = value.const_value.numpy().copy()
    array[:, ::2] = 0
    value.const_value = ir.tensor(array)
    return int((array == 0).sum())
