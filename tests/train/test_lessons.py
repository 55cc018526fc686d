import tracemalloc

import numpy as np
import pytest

from lepton_ai.errors import DataError
from lepton_ai.train.lessons import Lessons


def calls(lengths, width=3):
    rng = np.random.default_rng(0)
    for number, length in enumerate(lengths):
        x = rng.normal(size=(1, length, width)).astype(np.float32)
        yield {"x": x, "number": np.array([[number]])}


def test_each_pass_takes_every_call_of_a_shape_once(tmp_path):
    lessons = Lessons.write(tmp_path / "lessons", calls([4] * 6 + [7] * 4))
    assert len(lessons) == 10
    batches = lessons.batches(2, seed=1)
    taken = [next(batches) for _ in range(5)]
    assert {batch["x"].shape[1] for batch in taken} == {4, 7}
    assert all(len(batch["x"]) == len(batch["number"]) == 2 for batch in taken)
    assert sorted(int(n) for batch in taken for n in batch["number"].reshape(-1)) == list(range(10))


def test_what_is_read_is_what_was_written(tmp_path):
    lessons = Lessons.write(tmp_path / "lessons", calls([4, 7, 4]))
    held = {int(feed["number"][0, 0]): feed["x"] for feed in calls([4, 7, 4])}
    for batch in (next(lessons.batches(1, seed=seed)) for seed in range(9)):
        np.testing.assert_array_equal(batch["x"], held[int(batch["number"][0, 0])])


def test_each_call_keeps_its_class(tmp_path):
    lessons = Lessons.write(tmp_path / "lessons", calls([4, 7, 4, 4]), labels=[0, 10, 20, 30])
    for pick, _ in zip(lessons.order(2, seed=0), range(4), strict=False):
        numbers = lessons.read(pick)["number"].reshape(-1)
        np.testing.assert_array_equal(lessons.labels(pick), numbers * 10)
    assert Lessons.write(tmp_path / "unlabelled", calls([4])).labels((0, np.array([0]))) is None


def test_the_same_seed_gives_the_same_batches(tmp_path):
    lessons = Lessons.write(tmp_path / "lessons", calls([4] * 9))
    again = Lessons(tmp_path / "lessons")
    for one, other, _ in zip(
        *(each.batches(3, seed=2) for each in (lessons, again)), range(7), strict=False
    ):
        np.testing.assert_array_equal(one["number"], other["number"])


def test_calls_that_cannot_be_joined_come_one_by_one(tmp_path):
    lessons = Lessons.write(tmp_path / "lessons", calls([4] * 5))
    assert len(next(lessons.batches(3, seed=0, joined=False))["x"]) == 1


def test_memory_does_not_grow_with_the_samples(tmp_path):
    row = np.zeros((1, 256), dtype=np.float32)

    def many(count):
        for number in range(count):
            row[0, 0] = number
            yield {"x": row}

    peaks = []
    for count in (500, 50_000):
        tracemalloc.start()
        lessons = Lessons.write(tmp_path / str(count), many(count))
        for batch, _ in zip(lessons.batches(32, seed=0), range(100), strict=False):
            assert batch["x"].shape == (32, 256)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    whole = 50_000 * row.nbytes
    assert peaks[1] < whole / 20
    assert peaks[1] < peaks[0] + 5e6


@pytest.mark.parametrize(
    ("given", "why"),
    [([], "no samples"), ([{"t": np.array([["text"]], dtype=object)}], "texts")],
)
def test_what_cannot_be_taught_with_is_refused(tmp_path, given, why):
    with pytest.raises(DataError, match=why):
        Lessons.write(tmp_path / "lessons", given)
