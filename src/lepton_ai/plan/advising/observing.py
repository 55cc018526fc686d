"""Facts are measured: the graph looked at, recipes tried as a search tries them, one step trained.

Everything runs in child processes. What a trial finds goes to the journal that a search of the same
model, data and budget reads, so that one which follows need not try it again. The measurements that
tell most come first; when their seconds are over, the rest is left to estimates.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ai.data.metric import Score
from lepton_ai.engines.engine import engines
from lepton_ai.errors import LeptonError
from lepton_ai.measure.child import Child
from lepton_ai.measure.profile import profile
from lepton_ai.measure.size import bytes_to_transfer
from lepton_ai.model.signature import Array
from lepton_ai.plan import space
from lepton_ai.plan.advising.facts import (
    PRODUCTS,
    Facts,
    GraphFacts,
    Noise,
    Piece,
    SampleCounts,
    Teachable,
)
from lepton_ai.plan.bench import Bench
from lepton_ai.plan.certify import Claim, certify
from lepton_ai.plan.classroom import products_on
from lepton_ai.plan.job import Event, Job
from lepton_ai.plan.oracle import Oracle
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import Trial

#: What measuring may take, once the original is measured; what has begun is finished.
SECONDS = 50.0
_STAGE = "measuring"
_LOOKING = "lepton_ai.plan.advising.looking:look"
_STEPPING = "lepton_ai.plan.teaching_process:step_seconds"
#: The quantiser that is tried: it takes seconds, where the other takes minutes.
PROBE = "int8-static-ort"
_DYNAMIC = "int8-dynamic"
_TIMEOUT = 60.0
_SECONDS_OF_NOISE = 8.0
#: Samples of the step that is trained, after one that warms up; a search takes more at once.
_BATCH, _STEPS = 16, 2
_MOST_LESSONS = 64


def observe(job: Job, oracle: Oracle, bench: Bench, *, seconds: float = SECONDS) -> Facts:
    """The facts of ``job``, measured for about ``seconds``; what fails is told in the notes."""
    watch = _Watch(job, oracle, bench, end=time.monotonic() + seconds)
    with tempfile.TemporaryDirectory(prefix="lepton-advise-") as folder:
        nodes = watch.look(Path(folder))
        watch.try_all("the engines", watch.plain)
        pieces = watch.pieces(Path(folder), nodes)
        teachable = watch.teachable(Path(folder))
        watch.try_all(
            "lower precision",
            lambda: space.lower_precision(job.engines, job.threads, watch.trials),
        )
        watch.try_all("static int8", lambda: watch.compressed(PROBE))
        noise = watch.noise()
        watch.try_all("dynamic int8", lambda: watch.compressed(_DYNAMIC))
        watch.try_all("rewrites", watch.rewritten)  # proving takes long, and little comes of it
    return Facts(
        engine=oracle.recipe.engine,
        milliseconds=oracle.milliseconds,
        isa=job.machine.isa,
        budget=job.budget,
        samples=counts(job, oracle.tune_score),
        precisions={name: engines.get(name)().precisions() for name in job.engines},
        trials=tuple(watch.trials),
        graph=watch.graph,
        pieces=pieces,
        profiled_in=watch.profiled_in,
        noise=noise,
        teachable=teachable,
        seconds={name: float(np.mean(each)) for name, each in watch.seconds.items()},
        notes=watch.all_notes(),
    )


def counts(job: Job, score: Score) -> SampleCounts:
    """How many samples there are for what, and the drop that they can show.

    ``score`` is the original's, for the range of its outcomes.
    """
    n = len(job.split.certify)
    metric = job.metric
    claim = Claim(
        metric=metric.name,
        max_drop=job.budget.max_drop,
        confidence=job.budget.confidence,
        bounds=metric.bounds,
        larger_is_better=metric.larger_is_better,
    )
    if score.per_sample is None:

        def constant(indices: Array) -> Array:
            return np.full(len(indices), score.value)

        found = certify(score, score, claim, n=n, resampled=(constant, constant))
    else:
        unchanged = Score(value=score.value, per_sample=np.resize(score.per_sample, n))
        found = certify(unchanged, unchanged, claim)
    return SampleCounts(
        calibrate=len(job.split.calibrate),
        tune=len(job.split.tune),
        certify=n,
        teach=len(job.teaching.indices),
        certifiable=found.bound,
        needed=found.more_samples_needed,
    )


@dataclass(kw_only=True)
class _Held:
    """What a watch gathers as it goes."""

    trials: list[Trial] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    #: What there was no time for.
    left_out: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)


class _Watch(_Held):
    """Measures one thing after another while there is time, and notes what fails."""

    def __init__(self, job: Job, oracle: Oracle, bench: Bench, *, end: float) -> None:
        super().__init__()
        self._job = job
        self._oracle = oracle
        self._bench = bench
        self._end = end
        self._log = job.journal.folder / "log.txt"
        self.graph: GraphFacts | None = None
        self.profiled_in = ""

    def look(self, folder: Path) -> list[dict[str, Any]]:
        """The nodes of the graph, which is kept in ``folder`` with each of them named."""
        with self._noting("the graph"), Child(self._log, title="the look at the graph") as child:
            words = str(self._job.model.path), str(folder / "looked.onnx")
            found = child.call(_LOOKING, *words, timeout=_TIMEOUT)
            bound = self._job.budget.max_transfer_mb is not None
            transfer = bytes_to_transfer(self._job.model.path) if bound else None
            self.graph = GraphFacts(**found["whole"], transfer_bytes=transfer)
            nodes: list[dict[str, Any]] = found["nodes"]
            return nodes
        return []

    def try_all(self, what: str, recipes: Callable[[], Sequence[Recipe]]) -> None:
        """Try ``recipes`` as a search does, while there is time."""
        with self._noting(what):
            every = recipes()
            for done, recipe in enumerate(every):
                if self._is_over(what):
                    return
                best = self._fastest()
                text = f"{what}: {recipe.name}"
                self._tell(text, done, len(every), "" if best is None else best.name)
                begin = time.monotonic()
                self._make(recipe)
                made = time.monotonic()
                self.trials.append(self._bench.measure(recipe, None))
                name = f"making {recipe.compressor or 'rewrites'}"
                self.seconds.setdefault(name, []).append(made - begin)
                self.seconds.setdefault("a trial", []).append(time.monotonic() - made)

    def plain(self) -> list[Recipe]:
        """The plain graph in every engine but the original's, which is timed beside each trial."""
        every = space.plain(self._job.engines, self._job.threads)
        return [recipe for recipe in every if recipe.engine != self._oracle.recipe.engine]

    def rewritten(self) -> list[Recipe]:
        """The rewritten graph in the engine that is fastest so far."""
        every = space.standard(self._job.engines, self._job.threads)
        fastest = self._fastest()
        faster = fastest is not None and fastest.slowness < 1
        engine = (fastest if fastest and faster else self._oracle).recipe.engine
        return [recipe for recipe in every if recipe.engine == engine]

    def compressed(self, compressor: str) -> list[Recipe]:
        """The recipes of one compressor that a search would try, in fp32.

        Of the graph as it came, since the rewrites come last: one graph for all engines.
        """
        every = space.compressed(self._job.engines, self._job.threads, self.trials)
        return [
            recipe
            for recipe in every
            if recipe.compressor == compressor and recipe.plan.precision == "fp32"
        ]

    def pieces(self, folder: Path, nodes: Sequence[Mapping[str, Any]]) -> tuple[Piece, ...]:
        """The kernels of the first engine that tells its times; else the nodes by their cost."""
        for name in self._job.engines:
            if not engines.get(name)().tells_times:
                continue
            if self._is_over("a profile"):
                break
            with self._noting(f"where the time of {name} goes"):
                self._tell(f"where the time of {name} goes")
                told = profile(
                    name,
                    folder / "looked.onnx",
                    self._oracle.feeds[0],
                    self._log,
                    threads=self._job.threads,
                    timeout=_TIMEOUT,
                )
                self.profiled_in = name
                kernels = [(k.operator, k.milliseconds, k.nodes) for k in told.kernels]
                return pieces_of(kernels, nodes)
        costs = [(node["operator"], float(node["weight"]), (node["name"],)) for node in nodes]
        return pieces_of(costs, nodes)

    def noise(self) -> Noise | None:
        """What static int8 disturbs, as a whole and node by node."""
        tried = [t.recipe for t in self.trials if t.recipe.compressor == PROBE and t.ratio]
        if not tried or self._is_over("what int8 disturbs"):
            return None
        with self._noting("what int8 disturbs"):
            self._tell("what int8 disturbs")
            found = self._bench.graphs.noise(tried[0], _SECONDS_OF_NOISE)
            nodes = tuple((name, float(each)) for name, each in found["nodes"])
            return Noise(compressor=PROBE, whole=float(found["whole"]), nodes=nodes)
        return None

    def teachable(self, folder: Path) -> Teachable | None:
        """One step of training the network to answer as it does; or why there is none."""
        if self._is_over("a step of training"):
            return None
        self._tell("a step of training")
        teaching, path = self._job.teaching, str(self._job.model.path)
        try:
            from lepton_ai.train.lessons import Lessons

            few = [int(index) for index in teaching.indices[:_MOST_LESSONS]]
            Lessons.write(folder / "lessons", teaching.samples.calls(few))
            batch = min(_BATCH, len(few))
            products = products_on(self._job.machine)[-1]
            config = {"batch": batch, "steps": _STEPS, "products": products}
            with Child(self._log, title="the step of training") as child:
                words = path, path, str(folder / "lessons"), config
                found = child.call(_STEPPING, *words, timeout=_TIMEOUT)
        except LeptonError as failure:
            return Teachable(seconds_per_sample=None, why_not=str(failure))
        return Teachable(seconds_per_sample=float(found) / batch)

    def _make(self, recipe: Recipe) -> None:
        """Make the graph of ``recipe``, to know how long that takes; its trial says what fails."""
        with suppress(LeptonError, OSError):
            self._bench.graphs.path(recipe)

    def _fastest(self) -> Trial | None:
        timed = [trial for trial in self.trials if trial.ratio is not None]
        return min(timed, key=lambda trial: trial.slowness, default=None)

    def _is_over(self, what: str) -> bool:
        """Whether the time is over, which is noted; ``what`` is then left out."""
        if time.monotonic() < self._end:
            return False
        self.left_out.append(what)
        return True

    def all_notes(self) -> tuple[str, ...]:
        """What failed, and what there was no time for."""
        if not self.left_out:
            return tuple(self.notes)
        return *self.notes, f"there was no time to measure {', '.join(self.left_out)}"

    def _tell(self, text: str, done: int = 0, total: int = 0, best: str = "") -> None:
        self._job.progress(Event(stage=_STAGE, text=text, done=done, total=total, best=best))

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except (LeptonError, OSError) as failure:
            self.notes.append(f"{what} could not be measured: {failure}")


def pieces_of(
    kernels: Sequence[tuple[str, float, Sequence[str]]], nodes: Sequence[Mapping[str, Any]]
) -> tuple[Piece, ...]:
    """Pieces of ``kernels`` (operator, time or cost, nodes), with what is known of ``nodes``."""
    known = {node["name"]: node for node in nodes}
    whole = sum(taken for _, taken, _ in kernels)
    found = []
    for operator, taken, names in kernels:
        held = [known[name] for name in names if name in known]
        products = [node["operator"] for node in held if node["operator"] in PRODUCTS]
        moved = sum(node["moved"] for node in held)
        counted = all(node["macs"] is not None for node in held) and moved > 0
        found.append(
            Piece(
                operator=(products or [operator])[0],
                share=taken / whole if whole else 0.0,
                nodes=tuple(names),
                intensity=2 * sum(n["macs"] for n in held) / moved if counted else None,
                removable=any(node["removable"] for node in held),
                redundant=bool(held) and all(node["redundant"] for node in held),
            )
        )
    return tuple(found)
