import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from lepton_ai.data.macro_f1 import MacroF1

RNG = np.random.default_rng(0)


def one_hot(classes, count):
    return {"y": np.eye(count, dtype=np.float32)[classes]}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_it_is_the_known_macro_f1(pairs):
    labels, answers = (np.asarray(one) for one in zip(*pairs, strict=True))
    outputs = one_hot(answers, 5)
    score = MacroF1().score(outputs, labels, outputs)
    assert score.value == pytest.approx(f1_score(labels, answers, average="macro"))
    assert score.per_sample is None


def test_resamples_are_the_known_macro_f1_too():
    labels, answers = RNG.integers(0, 4, (2, 90))
    indices = RNG.integers(0, 90, (20, 90))
    values = MacroF1().resampled(one_hot(answers, 4), labels, one_hot(answers, 4), indices)
    expected = [f1_score(labels[i], answers[i], average="macro") for i in indices]
    np.testing.assert_allclose(values, expected)


def test_pieces_do_not_change_the_values(monkeypatch):
    labels, answers = RNG.integers(0, 4, (2, 90))
    outputs, indices = one_hot(answers, 4), RNG.integers(0, 90, (20, 90))
    whole = MacroF1().resampled(outputs, labels, outputs, indices)
    monkeypatch.setattr("lepton_ai.data.macro_f1._PIECE", 200)
    np.testing.assert_array_equal(whole, MacroF1().resampled(outputs, labels, outputs, indices))


def test_a_dense_sample_counts_all_its_positions():
    labels = RNG.integers(0, 3, (6, 5, 5))
    outputs = {"y": RNG.normal(size=(6, 3, 5, 5)).astype(np.float32)}
    expected = f1_score(labels.ravel(), outputs["y"].argmax(1).ravel(), average="macro")
    assert MacroF1().score(outputs, labels, outputs).value == pytest.approx(expected)


def test_names_are_classes_too():
    labels = np.asarray(["a", "b", "a", "c"])
    outputs = {"label": np.asarray(["a", "a", "a", "c"], dtype=object)}
    expected = f1_score(labels, outputs["label"].astype(str), average="macro")
    assert MacroF1().score(outputs, labels, outputs).value == pytest.approx(expected)


def test_nan_counts_as_no_answer_and_as_no_class():
    reference = one_hot(np.asarray([0, 1]), 2)
    broken = {"y": np.asarray([[1, 0], [np.nan, 1]], np.float32)}
    assert MacroF1().score(broken, np.asarray([0, 1]), reference).value == pytest.approx(0.5)


def test_thousands_of_resamples_take_seconds():
    labels, answers = RNG.integers(0, 100, (2, 5000))
    outputs = one_hot(answers, 100)
    start = time.perf_counter()
    MacroF1().resampled(outputs, labels, outputs, RNG.integers(0, 5000, (1000, 5000)))
    assert time.perf_counter() - start < 10
