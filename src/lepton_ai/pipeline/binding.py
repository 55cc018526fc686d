"""What every search begins with: a model read, bound to its samples, and where to keep things."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.data.bind import bind
from lepton_ai.data.choose import choose_metric
from lepton_ai.data.raw import RawData, check_enough
from lepton_ai.data.samples import Samples
from lepton_ai.data.source import read_data
from lepton_ai.data.split import Split, split
from lepton_ai.engines.eager import Eager
from lepton_ai.errors import BudgetError, DataError, ModelError
from lepton_ai.formats.read import read
from lepton_ai.formats.torch_module import left_as_found
from lepton_ai.graph.gate import check_equal
from lepton_ai.measure.machine import fingerprint
from lepton_ai.measure.size import parts
from lepton_ai.model.model import Model
from lepton_ai.model.signature import Arrays
from lepton_ai.plan.budget import Budget
from lepton_ai.plan.job import Event, Job, Progress, Teaching
from lepton_ai.plan.journal import Journal, content_key
from lepton_ai.plan.oracle import Oracle
from lepton_ai.plan.space import asked_engines

#: Relative to an output's scale: eager and exported kernels add in another order, and in deep
#: networks that shows in the fourth digit.
_EXPORT_RTOL = 1e-3
_EXPORT_ATOL = 1e-5
_EXPORT_SAMPLES = 8
_EXAMPLE_ROWS = 2
_LABELS_UNUSED = (
    "the labels ({labels.dtype} of shape {labels.shape}) are not classes, so agreement with the "
    "original was measured, which needs none; name a metric to use them"
)


@contextmanager
def bound(
    model: Any,
    data: Any,
    *,
    metric: Any,
    budget: Budget | None,
    text: str | None,
    label: str | None,
    engines: Sequence[str] | None,
    train: Any,
    progress: Progress | None,
) -> Iterator[Job]:
    """All that a search of ``model`` needs, while this lasts; arguments as for ``optimize``.

    Raises:
        UserError: the model, data, metric, budget or engines cannot be used; the message says why.
    """
    started = time.monotonic()
    tell = progress or _silent
    if budget is not None and not isinstance(budget, Budget):
        raise BudgetError(f"budget wants a lepton_ai.Budget, and a {type(budget).__name__} came")
    budget = (budget or Budget()).check()
    names = asked_engines(engines)
    tell(Event(stage="read", text=str(model) if isinstance(model, str | Path) else "module"))
    raw = read_data(data, text=text, label=label)
    check_enough(len(raw), raw.name)
    with tempfile.TemporaryDirectory(prefix="lepton-") as folder, left_as_found(model):
        held = read(model, Path(folder), _example(raw))
        more = None if train is None else read_data(train, text=text, label=label)
        yield bind_job(held, (raw, more), metric, budget, names, started, tell)


def bind_job(
    model: Model,
    data: tuple[RawData, RawData | None],
    metric: Any,
    budget: Budget,
    engines: tuple[str, ...],
    started: float,
    tell: Progress,
) -> Job:
    """Everything that a search needs, with the model's file moved in beside the journal."""
    raw, more = data
    samples = bind(raw, model.signature, model.processing)
    parts_of_it = split(samples)
    teaching = Teaching(samples=samples, indices=parts_of_it.calibrate)
    if more is not None:
        teaching = _teaching(bind(more, model.signature, model.processing), samples, parts_of_it)
    chosen = choose_metric(metric, samples.labels)
    if metric is None and samples.labels is not None and not chosen.needs_labels:
        model = noted(model, _LABELS_UNUSED.format(labels=samples.labels))
    machine = fingerprint()
    key = content_key(
        (
            model.content_key(),
            samples.content_key(),
            "" if more is None else teaching.samples.content_key(),
            chosen.content_key(),
            machine.key,
        )
    )
    journal = Journal(key)
    return Job(
        model=_kept(model, journal.folder),
        samples=samples,
        split=parts_of_it,
        teaching=teaching,
        metric=chosen,
        budget=budget,
        machine=machine,
        journal=journal,
        threads=machine.cores,
        engines=engines,
        started=started,
        progress=tell,
    )


def _teaching(more: Samples, samples: Samples, parts_of_it: Split) -> Teaching:
    """What a network may be taught with: nothing that chooses it, or that it is certified on.

    Raises:
        DataError: nothing is left.
    """
    held = {samples.digest(int(i)) for i in (*parts_of_it.tune, *parts_of_it.certify)}
    indices = [index for index in range(len(more)) if more.digest(index) not in held]
    if not indices:
        raise DataError(
            "every sample to train with is among the data as well, which the result is chosen by "
            "and certified on; give others"
        )
    return Teaching(samples=more, indices=np.array(indices, dtype=np.int64))


def check_export(job: Job, oracle: Oracle) -> None:
    """Raise :class:`ModelError` unless the exported graph answers as the live module does."""
    indices = [int(index) for index in oracle.tune[:_EXPORT_SAMPLES]]
    calls = list(job.samples.calls(indices))
    module = Eager(job.model, job.threads)
    verdict = check_equal(
        [module.run(call) for call in calls],
        oracle.runner.answer(calls),
        rtol=_EXPORT_RTOL,
        atol=_EXPORT_ATOL,
    )
    if not verdict.equal:
        raise ModelError(
            f"the graph exported from {job.model.name} does not answer as the module does "
            f"({verdict.why}); does its forward depend on values or on training mode?"
        )


def noted(model: Model, *notes: str) -> Model:
    """``model`` with more sentences that its owner should read."""
    return replace(model, notes=(*model.notes, *notes))


def _silent(_: Event) -> None:
    """No progress is shown."""


def _example(raw: RawData) -> Arrays | None:
    """A few rows for an exporter to trace with; PyTorch's own width for floats."""
    if raw.arrays is None:
        return None
    rows = {name: array[:_EXAMPLE_ROWS] for name, array in raw.arrays.items()}
    with np.errstate(over="ignore"):  # binding says so in words
        return {
            name: array.astype("float32") if array.dtype == "float64" else array
            for name, array in rows.items()
        }


def _kept(model: Model, folder: Path) -> Model:
    """The model with its file beside the journal, moved there in one step."""
    home = folder / "model"
    if not home.exists():
        partial = Path(tempfile.mkdtemp(prefix=".model.", dir=folder))
        for part in parts(model.path):
            shutil.copyfile(part, partial / part.name)
        try:
            partial.replace(home)
        except OSError:  # another search of the same model was first
            shutil.rmtree(partial, ignore_errors=True)
    return replace(model, path=home / model.path.name)
