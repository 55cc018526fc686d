"""A trained model, data and a budget in; a measured, certified bundle out."""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from lepton_ai.bundle.pack import BundleContents, pack
from lepton_ai.measure.size import parts
from lepton_ai.pipeline.binding import bound, check_export, noted
from lepton_ai.pipeline.record import record_of
from lepton_ai.pipeline.result import Result
from lepton_ai.plan.bench import Bench
from lepton_ai.plan.budget import Budget
from lepton_ai.plan.finals import conclude
from lepton_ai.plan.job import Job, Progress
from lepton_ai.plan.journal import Journal
from lepton_ai.plan.oracle import Oracle
from lepton_ai.plan.outcome import Outcome
from lepton_ai.plan.search import Search
from lepton_ai.report.render import render

_BUNDLE = "bundle.lepton"
_NO_BETTER = (
    "the original's {metric} is {score:.4f}, and one constant answer would have {chance:.4f}: are "
    "the labels in the order of the model's classes? A bound on the drop says little here"
)


def optimize(
    model: Any,
    data: Any,
    *,
    metric: Any = None,
    budget: Budget | None = None,
    text: str | None = None,
    label: str | None = None,
    engines: Sequence[str] | None = None,
    train: Any = None,
    progress: Progress | None = None,
) -> Result:
    """The fastest artifact of ``model`` that is proven to meet ``budget`` on this machine.

    ``model`` is an ONNX file, a Hugging Face folder or a ``torch.nn.Module``. ``data`` is a file or
    folder (``.npz``, CSV or Parquet with the columns ``text`` and ``label``, one folder of images
    per class) or arrays by input name, first axis the samples. ``metric`` is a name, a
    ``file.py:function`` or a function; accuracy where there are labels, otherwise agreement with
    the original. ``engines`` names those to try; by default, all that run here and need not be
    asked for by name. ``train`` are more samples, as ``data``, with labels or without: the original
    teaches thinner networks with those that are not in ``data`` as well. Trials are journalled by
    content: the same call again goes on, or returns at once.

    Raises:
        UserError: the model, data, metric, budget or engines cannot be used; the message says why.
    """
    with bound(
        model,
        data,
        metric=metric,
        budget=budget,
        text=text,
        label=label,
        engines=engines,
        train=train,
        progress=progress,
    ) as job:
        about = [job.model.name, job.budget.to_json(), job.threads, job.engines]
        key = json.dumps(about, sort_keys=True)
        finished = _finished(job.journal, key)
        return finished or _search(job, key)


def _search(job: Job, key: str) -> Result:
    with closing(Oracle(job)) as oracle:
        job = replace(job, model=noted(job.model, *_doubts(job, oracle)))
        if job.model.module is not None:
            check_export(job, oracle)
        search = Search(job=job, oracle=oracle, bench=Bench(job, oracle), trials=[])
        search.run()
        outcome = conclude(search)
        described = job.metric.describe(oracle.tune_outputs, oracle.tune_labels)
    seconds = time.monotonic() - job.started
    record = record_of(job, outcome, seconds=seconds, described=described)
    staged = _stage(job, outcome, record)
    record["staged"] = staged.parent.name
    job.journal.record_result(key, record)
    return Result(record=_public(record), staged=staged)


def _doubts(job: Job, oracle: Oracle) -> list[str]:
    """What speaks against the labels: an original no better than one constant answer."""
    labels, score = oracle.tune_labels, oracle.tune_score.value
    chance = None if labels is None else job.metric.chance(labels)
    if chance is None or score > chance:
        return []
    return [_NO_BETTER.format(metric=job.metric.name, score=score, chance=chance)]


def _finished(journal: Journal, key: str) -> Result | None:
    """The result of the same search, if it has ended and its bundle is still in the cache."""
    record = journal.result(key)
    if record is None:
        return None
    staged = journal.folder / "bundles" / record["staged"] / _BUNDLE
    return Result(record=_public(record), staged=staged) if staged.is_dir() else None


def _public(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "staged"}


def _stage(job: Job, outcome: Outcome, record: Mapping[str, Any]) -> Path:
    """Pack the bundle in the cache, from where it is copied to wherever it is wanted."""
    home = job.journal.folder / "bundles"
    home.mkdir(exist_ok=True)
    best = outcome.best
    companions = tuple(p for p in parts(outcome.artifact) if p != outcome.artifact)
    contents = BundleContents(
        artifact=outcome.artifact,
        artifact_data=companions,
        name=job.model.name,
        signature=job.model.signature,
        engine=best.recipe.engine,
        plan=best.recipe.plan,
        golden=outcome.golden,
        processing=job.model.processing,
        status=outcome.status,
        metric=record["metric"],
        recipe=best.recipe.to_json(),
        measurements={
            "baseline": record["baseline"]["measurement"],
            "best": record["best"]["measurement"],
        },
        certificate=record["certificate"],
        report_html=render(record),
        machine=record["machine"],
    )
    target = Path(tempfile.mkdtemp(prefix=f"{best.recipe.key}-", dir=home)) / _BUNDLE
    return pack(contents, target)
