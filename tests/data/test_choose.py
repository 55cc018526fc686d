import numpy as np
import pytest

from lepton_ai.data.accuracy import Accuracy
from lepton_ai.data.choose import choose_metric
from lepton_ai.errors import DataError, MetricError, UnknownNameError


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (np.asarray([0, 1]), "accuracy"),
        (np.asarray(["a", "b"]), "accuracy"),
        (np.asarray([0.5, 1.5]), "agreement"),
        (None, "agreement"),
    ],
)
def test_labels_choose_where_nobody_does(labels, name):
    assert choose_metric(None, labels).name == name


@pytest.mark.parametrize("name", ["accuracy", "macro-f1", "agreement"])
def test_names(name):
    assert choose_metric(name, np.asarray([0, 1])).name == name


def test_files_functions_and_metrics(tmp_path):
    (tmp_path / "mine.py").write_text("def f(o, l, r): return 1.0\n")
    assert choose_metric(f"{tmp_path}/mine.py:f", None).name == "mine.py:f"
    assert choose_metric(lambda o, x, r: 1.0, None).name == "<lambda>"
    metric = Accuracy()
    assert choose_metric(metric, np.asarray([0, 1])) is metric


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UnknownNameError, match="accuracy, macro-f1, agreement"):
        choose_metric("f1", None)
    with pytest.raises(MetricError, match=r"path/to/file\.py:function"):
        choose_metric("mine.py", None)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (None, "needs labels"),
        (np.ones(9, int), "all 9 labels are 1"),
        (np.asarray([0.5, 1.0]), "whole numbers"),
    ],
)
def test_labels_that_cannot_be_scored_against_are_refused(labels, told):
    for name in ("accuracy", "macro-f1"):
        with pytest.raises(DataError, match=told):
            choose_metric(name, labels)
