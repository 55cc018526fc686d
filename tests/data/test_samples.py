import numpy as np

from lepton_ai.data.array_samples import ArraySamples
from lepton_ai.data.samples import gather


def samples(count=5, per_call=2, batched=("x",), labels=None):
    x = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    return ArraySamples({"x": x}, batched=frozenset(batched), per_call=per_call, labels=labels)


def test_a_last_call_that_is_not_full_repeats_its_last_sample():
    calls = [call["x"][:, 0].tolist() for call in samples().calls(range(5))]
    assert calls == [[0, 3], [6, 9], [12, 12]]


def test_answers_are_gathered_without_the_repeats():
    held = samples()
    answers = [{"y": call["x"] * 2} for call in held.calls(range(5))]
    np.testing.assert_array_equal(gather(answers, held, 5)["y"], held.arrays["x"] * 2)


def test_answers_with_no_batch_axis_are_stacked():
    held = samples(per_call=1, batched=())
    answers = [{"y": call["x"].sum()} for call in held.calls(range(5))]
    assert gather(answers, held, 5)["y"].shape == (5,)


def test_answers_of_unequal_shape_become_one_array_per_sample():
    held = samples(count=2, per_call=1)
    gathered = gather([{"y": np.zeros((1, 2))}, {"y": np.zeros((1, 3))}], held, 2)["y"]
    assert [row.shape for row in gathered] == [(2,), (3,)]


def test_the_content_key_follows_content_order_and_labels():
    key = samples().content_key()
    assert key == samples().content_key()
    assert key != samples(count=6).content_key()
    assert key != samples(labels=np.arange(5)).content_key()
    assert samples(labels=np.arange(5)).content_key() != samples(labels=np.ones(5)).content_key()
