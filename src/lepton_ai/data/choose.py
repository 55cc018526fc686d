"""Which metric is meant by a name, a file, a function, or by nothing at all."""

from collections.abc import Callable
from typing import Any

from lepton_ai.data.metric import Metric, metrics
from lepton_ai.data.user_metric import from_file, from_function
from lepton_ai.model.signature import Array


def choose_metric(wanted: str | Metric | Callable[..., Any] | None, labels: Array | None) -> Metric:
    """The metric that is ``wanted``, with the labels of all samples checked against it.

    ``None`` means accuracy where the labels are classes (whole numbers or names), else agreement
    with the original. A string is a registered name or ``path/to/file.py:function``.

    Raises:
        UnknownNameError: no metric has that name.
        MetricError: the file or function cannot be used.
        DataError: the labels are missing or cannot be scored against.
    """
    metric = _find(wanted, labels)
    metric.check_labels(labels)
    return metric


def _find(wanted: str | Metric | Callable[..., Any] | None, labels: Array | None) -> Metric:
    if wanted is None:
        has_classes = labels is not None and labels.dtype.kind in "biuU"
        wanted = "accuracy" if has_classes else "agreement"
    if isinstance(wanted, Metric):
        return wanted
    if not isinstance(wanted, str):
        return from_function(wanted)
    if ".py:" in wanted or wanted.endswith(".py"):
        return from_file(wanted)
    return metrics.get(wanted)()
