import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_ai.data.array_samples import ArraySamples
from lepton_ai.data.split import Shares, split
from lepton_ai.errors import DataError


def samples_of(values, labels=None):
    array = np.asarray(values, dtype=np.int64).reshape(-1, 1)
    return ArraySamples({"x": array}, batched=frozenset({"x"}), per_call=1, labels=labels)


def parts(values, **settings):
    done = split(samples_of(values), **settings)
    return done.calibrate, done.tune, done.certify


#: Lists with many duplicates and with few, never with fewer than three different values.
contents = st.lists(st.integers(0, 40), min_size=7, max_size=80).map(lambda v: [*v, 100, 101, 102])


@settings(deadline=None)
@given(contents)
def test_parts_are_disjoint_cover_everything_and_are_never_empty(values):
    done = parts(values)
    assert sorted(np.concatenate(done).tolist()) == list(range(len(values)))
    assert all(len(part) for part in done)


@settings(deadline=None)
@given(contents)
def test_duplicates_share_a_part(values):
    held = [{values[index] for index in part} for part in parts(values)]
    assert sum(map(len, held)) == len(set(values))


@settings(deadline=None)
@given(contents, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(values, random):
    shuffled = values[:]
    random.shuffle(shuffled)
    before = [sorted(values[index] for index in part) for part in parts(values)]
    after = [sorted(shuffled[index] for index in part) for part in parts(shuffled)]
    assert before == after


@settings(deadline=None)
@given(contents, st.integers(0, 5))
def test_the_same_samples_and_seed_give_the_same_split(values, seed):
    for one, other in zip(parts(values, seed=seed), parts(values, seed=seed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_labels_do_not_matter():
    labelled = split(samples_of(range(50), labels=np.arange(50)))
    np.testing.assert_array_equal(labelled.tune, split(samples_of(range(50))).tune)


def test_another_seed_splits_otherwise():
    assert parts(range(100), seed=0)[0].tolist() != parts(range(100), seed=1)[0].tolist()


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(10, (2, 4, 4)), (1000, (150, 350, 500)), (20_000, (512, 4000, 15_488))],
)
def test_shares_and_caps(count, sizes):
    assert tuple(map(len, parts(range(count)))) == sizes


def test_shares_of_ones_own():
    shares = Shares(calibrate=0.5, tune=0.2, calibrate_at_most=30)
    assert tuple(map(len, parts(range(100), shares=shares))) == (30, 20, 50)


def test_a_part_holds_no_order_of_the_source():
    tune = parts(range(1000))[1]
    assert abs(np.corrcoef(tune, np.arange(len(tune)))[0, 1]) < 0.2


def test_too_few_samples_are_refused():
    with pytest.raises(DataError, match="9 samples, and at least 10"):
        parts(range(9))


@pytest.mark.parametrize(
    ("values", "told"), [([7] * 20, "all samples are equal"), ([7] * 19 + [8], "only two")]
)
def test_samples_that_are_all_alike_are_refused(values, told):
    with pytest.raises(DataError, match=told):
        parts(values)
