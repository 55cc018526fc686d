import functools
import sys

import numpy as np
import pytest

from lepton_ai.data.user_metric import from_file, from_function
from lepton_ai.errors import MetricError

OUT = {"y": np.asarray([1.0, 2.0, 4.0])}
REFERENCE = {"y": np.asarray([1.0, 2.0, 3.0])}
LABELS = np.asarray([0, 1, 1])


def write(tmp_path, body):
    path = tmp_path / "mine.py"
    path.write_text(body)
    return path


def test_a_function_in_a_file_scores_each_sample(tmp_path):
    path = write(
        tmp_path,
        "def near(outputs, labels, reference):\n"
        "    'How near it is.'\n"
        "    return -abs(outputs['y'] - reference['y'])\n",
    )
    metric = from_file(f"{path}:near")
    score = metric.score(OUT, LABELS, REFERENCE)
    assert score.per_sample is not None
    assert score.per_sample.tolist() == [0, 0, -1]
    assert score.value == pytest.approx(-1 / 3)
    assert metric.name == "mine.py:near"
    assert metric.larger_is_better
    assert "How near it is. (larger" in metric.describe(REFERENCE)


def test_an_overall_score_and_its_direction(tmp_path):
    path = write(
        tmp_path,
        "def error(outputs, labels, reference):\n"
        "    return float(abs(outputs['y'] - reference['y']).max())\n"
        "error.larger_is_better = False\n",
    )
    metric = from_file(f"{path}:error")
    score = metric.score(OUT, None, REFERENCE)
    assert (score.value, score.per_sample) == (1.0, None)
    assert not metric.larger_is_better
    indices = np.asarray([[0, 1, 1], [2, 0, 0]])
    assert metric.resampled(OUT, None, REFERENCE, indices).tolist() == [0, 1]


def test_a_callable_from_python_will_do():
    score = from_function(lambda outputs, labels, reference: labels == 1).score(OUT, LABELS, OUT)
    assert score.value == pytest.approx(2 / 3)


def test_an_edited_file_is_another_metric(tmp_path):
    path = write(tmp_path, "def f(o, l, r): return 1.0\n")
    key = from_file(f"{path}:f").content_key()
    assert from_file(f"{path}:f").content_key() == key
    write(tmp_path, "def f(o, l, r): return 2.0\n")
    assert from_file(f"{path}:f").content_key() != key


def test_functions_that_differ_in_what_they_bring_along_are_different_metrics():
    def scaled(by, held):
        return lambda outputs, labels, reference: by * held.sum() * np.ones(3)

    arrays = np.zeros(5_000), np.zeros(5_000)
    arrays[1][2_500] = 1.0
    made = [scaled(1, arrays[0]), scaled(2, arrays[0]), scaled(1, arrays[1])]
    made += [functools.partial(print, number) for number in (1, 2)]
    made += [eval(f"lambda o, l, r: {number}") for number in (1.0, 2.0)]
    assert len({from_function(one).content_key() for one in made}) == len(made)
    again = from_function(scaled(1, arrays[0])).content_key()
    assert again == from_function(made[0]).content_key()


def test_modules_and_path_are_left_as_they_were(tmp_path):
    path = write(
        tmp_path,
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Setting:\n    weight: int = 1\n"
        "def f(o, l, r): return float(Setting().weight)\n",
    )
    modules, places = set(sys.modules), list(sys.path)
    assert from_file(f"{path}:f").score(OUT, None, OUT).value == 1
    assert set(sys.modules) == modules
    assert sys.path == places


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("gone.py:f", "there is no file gone.py"),
        ("gone.py", "path/to/file.py:function"),
        ("mine.py:", "path/to/file.py:function"),
        ("mine.py:g", "has no function 'g'"),
        ("mine.py:number", "has no function 'number'"),
    ],
)
def test_a_place_with_no_function_is_told(tmp_path, monkeypatch, place, told):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "number = 3\ndef f(o, l, r): return 1.0\n")
    with pytest.raises(MetricError, match=told):
        from_file(place)


@pytest.mark.parametrize(
    "body", ["1 / 0", "def f(:", "import a_module_that_is_nowhere", "raise SystemExit(0)"]
)
def test_a_file_that_cannot_run_tells_why(tmp_path, body):
    with pytest.raises(
        MetricError, match=r"mine\.py raised (ZeroDivision|Syntax|ModuleNotFound|SystemExit)"
    ):
        from_file(f"{write(tmp_path, body)}:f")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("o['z']", "raised KeyError: 'z'"),
        ("__import__('sys').exit(0)", "raised SystemExit: 0"),
        ("[1.0, 2.0]", r"one for each of the 3 samples, and an array of shape \(2,\)"),
        ("[[1.0], [2.0], [3.0]]", r"shape \(3, 1\)"),
        ("float('nan')", "answered NaN"),
        ("[0.0, 1.0, float('inf')]", "infinite value for sample 2"),
        ("None", "a NoneType came"),
        ("'0.5'", "a str came"),
        ("['a', 'b', 'c']", "a list of <U1 came"),
        ("[[1.0], [1.0, 2.0]]", "is no array"),
        ("o['y'].sort()", "read-only"),
    ],
)
def test_a_function_that_misbehaves_is_told(tmp_path, answer, told):
    metric = from_file(f"{write(tmp_path, f'def f(o, l, r): return {answer}')}:f")
    with pytest.raises(MetricError, match=told):
        metric.score(OUT, LABELS, REFERENCE)
    with pytest.raises(MetricError, match=told):
        metric.check(LABELS, REFERENCE)
