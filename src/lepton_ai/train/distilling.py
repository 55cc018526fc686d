"""A student that learns to answer as its teacher does: no labels are needed, and no code of either.

Both are graphs. The loss has up to three parts, each a share of what the teacher's own answers vary
by, so that none needs a weight of its own: what the answers differ by; for answers that are scores
of classes, the Kullback-Leibler divergence at a temperature (Hinton et al. 2015, arXiv:1503.02531);
and what values between the layers differ by, through a learned projection where the student's are
narrower (FitNets, Romero et al. 2014, arXiv:1412.6550). Where the lessons have labels, and they are
what the teacher's scores are about, their cross entropy is added.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch.nn import functional

from lepton_ai.errors import ModelError
from lepton_ai.model.signature import Array, Arrays
from lepton_ai.operators.dtypes import is_floating
from lepton_ai.operators.module import GraphModule
from lepton_ai.train.lessons import Lessons
from lepton_ai.train.loop import Loop, TrainConfig
from lepton_ai.train.lowering import lowered
from lepton_ai.train.watching import LOOKS, Answer, Watching, has_stalled

TEMPERATURE = 2.0
#: Values between the layers that are compared, evenly over the depth.
MOST_FEATURES = 6
#: Operators whose answers are worth comparing: what a layer or a block ends with.
_ENDS = frozenset({"Add", "Conv", "Gemm", "LayerNormalization", "MatMul"})
_LEAST_VARIANCE = 1e-12
#: What part of the steps that are done is taken to end, where more of them would not help.
_LAST_PART = 10
#: What the labels weigh beside the teacher's own answers; samples on which it is asked whether they
#: are classes of those; of these the share that it has to know, and of what the commonest class
#: leaves open, the share that it may miss.
_LABELS_WEIGH, _ASKED, _KNOWN, _MISSED = 0.5, 256, 0.5, 0.7
#: Calls on which batches are compared with calls one by one.
_CALLS_JOINED = 2
_JOINED_RTOL = 1e-3


@dataclass(frozen=True, kw_only=True)
class DistilConfig:
    """How long and how: ``batch`` samples a step, products in ``products`` if not in fp32.

    With ``keep_zeros``, weights that are zero stay zero.
    """

    steps: int
    batch: int = 64
    learning_rate: float = 1e-3
    seed: int = 0
    products: str | None = None
    features: bool = True
    keep_zeros: bool = False


class Distilling:
    """A student in training; :meth:`advance` it, and take what it has become from :meth:`student`.

    The initialisers named in ``frozen`` stay as they are, and so do tables that rows are looked up
    in: most rows are in no lesson, and would only decay.

    Raises:
        EngineError: an operator of either graph has no meaning in PyTorch.
        ModelError: nothing in the student can be trained.
    """

    def __init__(
        self,
        teacher: ir.Model,
        student: ir.Model,
        lessons: Lessons,
        config: DistilConfig,
        *,
        frozen: Container[str] = (),
    ) -> None:
        torch.manual_seed(config.seed)
        self._config = config
        self._model = student
        self._lessons = lessons
        pairs = _features(teacher, student) if config.features else []
        self._answers = len(student.graph.outputs)
        self._teacher = _module(teacher, pairs, config.products).eval().requires_grad_(False)
        self._student = _module(student, pairs, config.products)
        tables = _tables(student)
        for field, name in self._student.initialisers.items():
            if name in frozen or name in tables:
                getattr(self._student.weights, field).requires_grad_(False)
        if not any(weight.requires_grad for weight in self._student.parameters()):
            raise ModelError("the network holds no weights that can be trained")
        self._joined = _takes_batches(student, lessons)
        self._feed_names = self._student.input_names
        self._order = lessons.order(config.batch, seed=config.seed, joined=self._joined)
        self._heads = self._projections()
        self._labelled = self._labelled_answer()
        self._trained = torch.nn.ModuleDict({"student": self._student, "heads": self._heads})
        self._kept = [
            (weight, weight.detach() != 0)
            for weight in (self._student.parameters() if config.keep_zeros else ())
            if weight.requires_grad and weight.ndim > 1
        ]
        self._watching: Watching | None = None
        self._seen: list[float] = []
        self._every = max(1, config.steps // LOOKS)
        self._loop = Loop(
            self._trained,
            steps=config.steps,
            config=TrainConfig(learning_rate=config.learning_rate, seed=config.seed),
        )

    @property
    def step(self) -> int:
        """Steps that are done."""
        return self._loop.step

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self._loop.steps

    @property
    def batch(self) -> int:
        """Samples of a step."""
        return self._config.batch if self._joined else 1

    def advance(self, steps: int) -> float:
        """Take up to ``steps`` steps, to the end of the schedule at most; their mean loss.

        Raises:
            DivergedError: the loss is no longer a number.
        """
        losses: list[float] = []
        while len(losses) < steps and self._loop.step < self._loop.steps:
            pick = next(self._order)
            inputs, labels = self._inputs(self._lessons.read(pick)), self._lessons.labels(pick)
            losses.append(self._loop.advance(partial(self._loss, inputs, labels)))
            self._put_zeros_back()
            self._look()
        return float(np.mean(losses)) if losses else 0.0

    def end_after(self, steps: int) -> None:
        """End the schedule after ``steps`` more, the learning rate falling to zero over them."""
        self._loop.end_after(steps)

    def watch(self, held_out: Lessons) -> None:
        """End the schedule early where the answers to lessons that are not taught get no better."""
        taught = self._loop.steps * self.batch
        self._watching = Watching(
            held_out, self._asked(self._teacher), batch=self.batch, taught=taught
        )

    def save(self, path: Path) -> None:
        """Keep all that is needed to go on; ``path`` appears whole or not at all."""
        self._loop.save(path, {"seen": self._seen})

    def resume(self, path: Path) -> None:
        """Go on from where :meth:`save` left off, with the batch that would have come next."""
        self._seen = list(self._loop.resume(path)["seen"])
        for _ in range(self._loop.step):
            next(self._order)

    def student(self) -> ir.Model:
        """The student's graph with the weights that it has now."""
        return lowered(self._student, self._model)

    def _put_zeros_back(self) -> None:
        with torch.no_grad():
            for weight, kept in self._kept:
                weight.mul_(kept)

    def _look(self) -> None:
        """Ask what is held out, if it is time, and end where teaching has stopped to help."""
        begins = self._loop.step % self._every or self._loop.step == self._loop.steps
        if self._watching is None or begins or self._loop.is_ending:
            return
        self._seen.append(self._watching.loss(self._asked(self._student)))
        if has_stalled(self._seen):
            self._loop.end_after(self._loop.step // _LAST_PART)

    def _asked(self, module: GraphModule) -> Answer:
        """The answers of ``module`` to calls, without what lies between its layers."""
        return lambda feed: module(*self._inputs(feed))[: self._answers]

    def _inputs(self, feed: Arrays) -> list[torch.Tensor]:
        return [_images_last(torch.from_numpy(np.array(feed[name]))) for name in self._feed_names]

    def _loss(self, inputs: list[torch.Tensor], labels: Array | None) -> torch.Tensor:
        with torch.no_grad():
            wanted = self._teacher(*inputs)
        given = self._student(*inputs)
        loss = torch.zeros(())
        for one, other in zip(given[: self._answers], wanted[: self._answers], strict=True):
            if one.dtype.is_floating_point:
                loss = loss + answer_loss(one, other)
        if labels is not None and self._labelled is not None:
            scores = _logarithms(given[self._labelled])
            loss = loss + _LABELS_WEIGH * functional.cross_entropy(scores, torch.from_numpy(labels))
        features = list(zip(given[self._answers :], wanted[self._answers :], strict=True))
        for place, (one, other) in enumerate(features):
            head = self._heads[place]
            loss = loss + difference(head(one), other) / len(features)
        return loss

    def _labelled_answer(self) -> int | None:
        """The answer that holds scores of the labels' classes, if the teacher knows them."""
        every = self._lessons.classes
        if every is None or not self._joined or every.min() < 0:
            return None
        picks = list(self._lessons.whole(self._config.batch, _ASKED))
        classes = torch.from_numpy(np.concatenate([self._lessons.labels(pick) for pick in picks]))
        with torch.no_grad():
            asked = [self._teacher(*self._inputs(self._lessons.read(pick))) for pick in picks]
        for place in range(self._answers):
            parts = [answers[place] for answers in asked]
            if any(each.ndim != 2 or not each.dtype.is_floating_point for each in parts):
                continue
            scores = torch.cat(parts)
            if int(every.max()) < scores.shape[1] and _knows(scores, classes):
                return place
        return None

    def _projections(self) -> torch.nn.ModuleList:
        """What brings each of the student's features to the size of the teacher's."""
        first = self._inputs(self._lessons.example(1))
        with torch.no_grad():
            mine, theirs = self._student(*first), self._teacher(*first)
        pairs = zip(mine[self._answers :], theirs[self._answers :], strict=True)
        return torch.nn.ModuleList([_head(one.shape, other.shape) for one, other in pairs])


def difference(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The mean square of what differs, as a share of the variance of what is ``wanted``."""
    given, wanted = given.float(), wanted.float()
    return functional.mse_loss(given, wanted) / (wanted.var() + _LEAST_VARIANCE)


def answer_loss(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """What answers differ by; as scores of classes as well, where they are [samples, classes]."""
    loss = difference(given, wanted)
    if wanted.ndim != 2 or wanted.shape[1] < 2:
        return loss
    probable = _are_probabilities(wanted)
    one, other = (_logarithms(each, probable) for each in (given, wanted))
    divergence = functional.kl_div(
        functional.log_softmax(one / TEMPERATURE, dim=1),
        functional.log_softmax(other / TEMPERATURE, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return loss + divergence * TEMPERATURE**2


def _knows(scores: torch.Tensor, classes: torch.Tensor) -> bool:
    """Whether the highest score is mostly that of the class, and more often than by chance."""
    if len(scores) != len(classes):
        return False
    commonest = float(classes.bincount().max()) / len(classes)
    right = float(torch.eq(scores.argmax(1), classes).float().mean())
    return right >= max(_KNOWN, 1 - _MISSED * (1 - commonest))


def _logarithms(scores: torch.Tensor, probable: bool | None = None) -> torch.Tensor:
    """Scores whose softmax they are: logits as they come, and probabilities' logarithms."""
    probable = _are_probabilities(scores) if probable is None else probable
    return torch.log(scores.float().clamp_min(1e-9)) if probable else scores.float()


def _are_probabilities(scores: torch.Tensor) -> bool:
    return bool((scores >= 0).all()) and bool(((scores.sum(dim=1) - 1).abs() < 1e-3).all())


def _module(model: ir.Model, features: Sequence[str], products: str | None) -> GraphModule:
    watched = model.clone()
    made = {value.name: value for node in watched.graph for value in node.outputs}
    watched.graph.outputs.extend(made[name] for name in features)
    module = GraphModule(watched, products=products)
    for weight in module.parameters():
        weight.data = _images_last(weight.data)
    return module


def _tables(model: ir.Model) -> set[str]:
    """The initialisers that rows are looked up in, and nothing else is done with."""
    return {
        name
        for name, value in model.graph.initializers.items()
        if value.uses() and all(_looks_up_rows(node, place) for node, place in value.uses())
    }


def _looks_up_rows(node: ir.Node, place: int) -> bool:
    rows = node.op_type == "Gather" and node.domain in ("", "ai.onnx")
    return rows and place == 0 and node.attributes.get_int("axis", 0) == 0


def _images_last(x: torch.Tensor) -> torch.Tensor:
    """Channels last in memory, where convolutions on CPUs are several times as fast."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _features(teacher: ir.Model, student: ir.Model) -> list[str]:
    """Values in both graphs to compare: of one rank, with one axis narrower at most."""
    theirs = {value.name: value for node in teacher.graph for value in node.outputs}
    answers = {value.name for value in student.graph.outputs}
    found = []
    for node in student.graph:
        mine = node.outputs[0] if node.outputs else None
        other = theirs.get(mine.name) if mine is not None else None
        if mine is None or other is None or node.op_type not in _ENDS or mine.name in answers:
            continue
        if mine.shape is None or other.shape is None or len(mine.shape) != len(other.shape):
            continue
        unlike = [a for a, b in zip(mine.shape, other.shape, strict=True) if a != b]
        floats = mine.dtype is None or is_floating(mine.dtype.numpy())
        if len(mine.shape) > 1 and len(unlike) <= 1 and floats:
            found.append(str(mine.name))
    if len(found) <= MOST_FEATURES:
        return found
    places = np.linspace(0, len(found) - 1, MOST_FEATURES).round().astype(int)
    return [found[place] for place in dict.fromkeys(places.tolist())]


class _Along(torch.nn.Module):
    """A linear map along one axis, without a bias."""

    def __init__(self, axis: int, narrow: int, wide: int) -> None:
        super().__init__()
        self._axis = axis
        self.map = torch.nn.Linear(narrow, wide, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with the axis as wide as wanted."""
        done: torch.Tensor = self.map(x.movedim(self._axis, -1)).movedim(-1, self._axis)
        return done


def _head(mine: Sequence[int], theirs: Sequence[int]) -> torch.nn.Module:
    for axis, (narrow, wide) in enumerate(zip(mine, theirs, strict=True)):
        if narrow != wide:
            return _Along(axis, narrow, wide)
    return torch.nn.Identity()


def _takes_batches(model: ir.Model, lessons: Lessons) -> bool:
    """Whether calls can be joined along their first axes: the answers are the same, joined."""
    module = GraphModule(model).eval()
    joined = lessons.example(_CALLS_JOINED)
    sizes = {array.shape[0] if array.ndim else 0 for array in joined.values()}
    if len(sizes) != 1 or sizes == {0} or sizes == {1}:
        return False
    rows = next(iter(sizes)) // _CALLS_JOINED
    if not rows:
        return False
    apart = [
        {name: array[rows * one : rows * (one + 1)] for name, array in joined.items()}
        for one in range(_CALLS_JOINED)
    ]
    try:
        whole = _answers(module, joined)
        parts = [_answers(module, feed) for feed in apart]
    except Exception:  # a graph of a fixed batch fails in whichever way it does
        return False
    return all(_are_alike(one, list(others)) for one, *others in zip(whole, *parts, strict=True))


def _are_alike(whole: torch.Tensor, parts: Sequence[torch.Tensor]) -> bool:
    if whole.ndim == 0 or any(part.ndim == 0 for part in parts):
        return False
    together = torch.cat(list(parts))
    return whole.shape == together.shape and torch.allclose(
        whole.double(), together.double(), rtol=_JOINED_RTOL, atol=_JOINED_RTOL
    )


def _answers(module: GraphModule, feed: Mapping[str, np.ndarray]) -> Iterator[torch.Tensor]:
    with torch.no_grad():
        return iter(module(*(torch.from_numpy(np.array(feed[n])) for n in module.input_names)))
