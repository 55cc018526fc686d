"""Which method fits a model, its data and this machine, before any search is begun."""

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from lepton_ai.pipeline.binding import bound, check_export
from lepton_ai.plan.advising.advice import Advice, ranked
from lepton_ai.plan.advising.observing import observe
from lepton_ai.plan.bench import Bench
from lepton_ai.plan.budget import Budget
from lepton_ai.plan.following import key_of
from lepton_ai.plan.job import Event, Job, Progress
from lepton_ai.plan.oracle import Oracle


def advise(
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
) -> Advice:
    """The methods that a search would try, ranked for ``model`` after a minute of measuring.

    Arguments are those of :func:`~lepton_ai.pipeline.optimize.optimize`, and ``budget`` is that of
    the search which the advice is for. A search of the same that follows does not try again what
    was tried here, and takes the compressors in the order advised.

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
        job.progress(Event(stage="measuring", text="the original"))
        with closing(Oracle(job)) as oracle:
            return _advise(job, oracle)


def _advise(job: Job, oracle: Oracle) -> Advice:
    if job.model.module is not None:
        check_export(job, oracle)
    facts = observe(job, oracle, Bench(job, oracle))
    advice = Advice(
        model=job.model.name,
        metric=job.metric.name,
        facts=facts,
        ranked=ranked(facts),
        machine=job.machine.to_json(),
        seconds=time.monotonic() - job.started,
        notes=(*job.model.notes, *facts.notes),
    )
    job.journal.record_trial(key_of(job.budget), advice.compressors)
    return advice
