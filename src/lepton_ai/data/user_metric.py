"""A score of the user's own: a Python function in a file, or one passed from Python."""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lepton_ai.data.decisions import as_float
from lepton_ai.data.metric import Metric, Score
from lepton_ai.errors import MetricError
from lepton_ai.model.signature import Array, Arrays

Function = Callable[[Arrays, Array | None, Arrays], Any]


class UserMetric(Metric):
    """``function(outputs, labels, reference)``, one value per sample or one for all.

    ``outputs`` and ``reference`` are the outputs of the model and of the original by name, first
    axis samples; ``labels`` may be ``None``. The arrays are read-only. Larger is better unless the
    function has an attribute ``larger_is_better = False``.
    """

    needs_labels = False
    bounds = None

    def __init__(self, function: Function, *, name: str, source: bytes) -> None:
        self.function = function
        self.name = name
        self.source = source
        self.larger_is_better = bool(getattr(function, "larger_is_better", True))

    def content_key(self) -> str:
        """The name with a hash of the source, so that an edited function is another metric."""
        return f"{self.name}@{hashlib.sha256(self.source).hexdigest()[:16]}"

    def check(
        self, labels: Array | None, reference: Arrays, all_labels: Array | None = None
    ) -> None:
        """The function must score the original's own outputs; raises :class:`MetricError`."""
        self.score(reference, labels, reference)

    def score(self, outputs: Arrays, labels: Array | None, reference: Arrays) -> Score:
        """What the function answers; see :meth:`Metric.score`.

        Raises:
            MetricError: the function raises, or answers with something that is not one finite
                number or one per sample.
        """
        count = len(next(iter(outputs.values()), ()))
        shown = None if labels is None else _read_only(labels)
        try:
            answer = self.function(
                {name: _read_only(array) for name, array in outputs.items()},
                shown,
                {name: _read_only(array) for name, array in reference.items()},
            )
        except (Exception, SystemExit) as failure:  # sys.exit() must not end us with its own code
            reason = f"{type(failure).__name__}: {failure}"
            raise MetricError(f"metric {self.name} raised {reason}") from failure
        values = self._numbers(answer)
        if values.ndim == 0:
            return Score(value=float(values), per_sample=None)
        if values.shape != (count,):
            raise MetricError(
                f"metric {self.name} must answer with one number, or with one for each of the "
                f"{count} samples, and an array of shape {values.shape} came"
            )
        return Score(value=float(values.mean()), per_sample=values)

    def describe(self, reference: Arrays, labels: Array | None = None) -> str:
        """The function's own first line of documentation, if it has one."""
        lines = (inspect.getdoc(self.function) or "").splitlines()
        better = "larger" if self.larger_is_better else "smaller"
        return f"{lines[0] if lines else self.name} ({better} is better)"

    def _numbers(self, answer: Any) -> Array:
        try:
            came = as_float(np.asarray(answer))
        except (TypeError, ValueError, RuntimeError) as failure:
            reason = " ".join(str(failure).split())
            raise MetricError(
                f"metric {self.name} must answer with numbers, and what came is no array: {reason}"
            ) from failure
        if came.dtype.kind not in "biuf":
            what = type(answer).__name__ + ("" if came.ndim == 0 else f" of {came.dtype}")
            raise MetricError(f"metric {self.name} must answer with numbers, and a {what} came")
        values = came.astype(np.float64)
        if not np.isfinite(values).all():
            where = "" if values.ndim == 0 else f" for sample {int(np.argmin(np.isfinite(values)))}"
            raise MetricError(f"metric {self.name} answered NaN or an infinite value{where}")
        return values


def from_function(function: Function) -> UserMetric:
    """The metric that a Python callable computes."""
    name = getattr(function, "__name__", type(function).__name__)
    return UserMetric(function, name=name, source=_meaning(function))


def _meaning(function: Function) -> bytes:
    """What tells a callable from another: its source, and the values that it brings along."""
    code = getattr(function, "__code__", None)
    if code is None:  # an instance or a partial
        return repr(function).encode()
    try:
        text = inspect.getsource(function)
    except OSError:  # defined in a shell
        text = repr((code.co_code, code.co_consts, code.co_names))
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    # NumPy abbreviates an array in words.
    held = [cell.tobytes() if isinstance(cell, np.ndarray) else cell for cell in cells]
    defaults = (getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None))
    return repr((text, held, defaults)).encode()


def from_file(place: str) -> UserMetric:
    """The metric that the function named in ``path/to/file.py:function`` computes.

    Raises:
        MetricError: the file or the function is not there, or the file cannot be run.
    """
    path_text, _, function_name = place.rpartition(":")
    path = Path(path_text)
    if not path_text or not function_name.isidentifier():
        raise MetricError(f"a metric of your own is path/to/file.py:function, and {place!r} came")
    if not path.is_file():
        raise MetricError(f"metric {place}: there is no file {path}")
    function = getattr(_run(path, place), function_name, None)
    if not callable(function):
        raise MetricError(f"metric {place}: {path} has no function {function_name!r}")
    return UserMetric(function, name=f"{path.name}:{function_name}", source=path.read_bytes())


def _run(path: Path, place: str) -> ModuleType:
    name = f"lepton_user_metric_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MetricError(f"metric {place}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # While it runs, and no longer: a dataclass in the file looks its own module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as failure:
        reason = f"{type(failure).__name__}: {failure}"
        raise MetricError(f"metric {place}: {path} raised {reason}") from failure
    finally:
        del sys.modules[name]
    return module


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
