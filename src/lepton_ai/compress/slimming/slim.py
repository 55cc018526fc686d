"""A graph made faster by taking out what its answers miss least: channels, heads, blocks.

What is taken out is chosen by the time of a real engine and, at the end, measured in it; a graph
that is not faster is not written. The answers differ afterwards: recovery is the training room's.
"""

import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from lepton_ai.compress.compressor import named_compressor
from lepton_ai.compress.finish import finish, finished
from lepton_ai.compress.running import answers
from lepton_ai.compress.slimming.allocation import Allocation, Choice, Removable, Width
from lepton_ai.compress.slimming.blocks import Block, blocks_of, without_blocks
from lepton_ai.compress.slimming.components import components_of
from lepton_ai.compress.slimming.costs import Shipping, node_curves
from lepton_ai.compress.slimming.coupling import Components
from lepton_ai.compress.slimming.importance import importance
from lepton_ai.compress.slimming.removal import without_components
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.errors import LeptonError, ModelError
from lepton_ai.graph.inspection.cost import infer_shapes
from lepton_ai.graph.onnx_file import load_graph, save_graph
from lepton_ai.measure.latency import race
from lepton_ai.measure.runner import ProcessRunner
from lepton_ai.model.signature import Array, Arrays

#: Calls that importance is measured on, and the seconds for it; calls that blocks are compared on.
_CALLS, _SECONDS = 128, 90.0
_BLOCK_CALLS = 8
#: Thinner graphs that are measured until one takes the wanted time, and how near is near enough.
_TRIES = 4
_NEAR, _LEAST_AIM = 0.07, 0.02
#: A graph that is not faster by this much is not worth recovering.
LEAST_GAIN = 0.95
_RACE_SECONDS = 1.0
_TIMEOUT = 240.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where and how the graph is to be fast: an engine with its threads, quantised or not."""

    engine: str
    threads: int
    compressor: str | None = None

    @property
    def form(self) -> str:
        """The compressor's name, or what a graph without one is."""
        return self.compressor or "plain"


@dataclass(frozen=True, kw_only=True)
class Slimmed:
    """What was taken out: components of all there are, blocks by name, and the measured share.

    ``share`` is the median time of a call over that of the graph as it came, raced in turns.
    """

    components: int
    of: int
    blocks: tuple[str, ...]
    share: float


def slim(
    source: Path,
    target: Path,
    calls: Iterable[Arrays],
    *,
    share: float,
    on: Target,
    cache: Path,
) -> Slimmed:
    """Write to ``target`` what takes about ``share`` of the time that ``source`` takes.

    ``calls`` can be iterated more than once. Measured times of nodes are kept in ``cache``.

    Raises:
        ModelError: nothing can be taken out, or what is left is not faster.
        EngineError: the engine does not tell its times, or refuses a graph.
        WorkerError: a process of the engine died or took too long.
    """
    model = ready(load_graph(source))
    feeds = list(islice(calls, _BLOCK_CALLS))
    components = components_of(model)
    widths = _widths(model, components, calls)
    blocks = _removable(model, feeds)
    if not widths and not blocks:
        raise ModelError("no channel, head or block of this graph can be taken out by itself")

    def as_shipped(path: Path, folder: Path) -> Path:
        if on.compressor is None:
            return path
        done = folder / f"{path.stem}-{on.compressor}.onnx"
        named_compressor(on.compressor).compress(path, done, feeds)
        finish(done)
        return finished(done, on.engine)

    curves = node_curves(
        model,
        widths,
        feeds[0],
        engine=on.engine,
        threads=on.threads,
        as_shipped=as_shipped,
        form=on.form,
        cache=cache,
    )
    allocation = Allocation(widths, blocks, curves)
    found, choice = _aimed(model, allocation, feeds, on, as_shipped, share)
    if found > LEAST_GAIN:
        raise ModelError(
            f"with all taken out that can be, it takes {found:.2f} of the time in {on.engine}"
        )
    save_graph(without(model, choice), target)
    return Slimmed(
        components=len(choice.components),
        of=sum(len(width.components) for width in widths),
        blocks=choice.blocks,
        share=found,
    )


def _aimed(
    model: ir.Model,
    allocation: Allocation,
    feeds: Sequence[Arrays],
    on: Target,
    as_shipped: Shipping,
    share: float,
) -> tuple[float, Choice]:
    """What comes nearest to ``share`` of the time, measured, and the share that it takes."""
    aim = share
    tried: list[tuple[float, Choice]] = []
    with (
        tempfile.TemporaryDirectory(prefix="lepton-slim-") as scratch,
        closing(_Racing(model, feeds, on, as_shipped, Path(scratch))) as racing,
    ):
        for _ in range(_TRIES):
            choice = allocation.choose(aim * allocation.milliseconds)
            if any(choice == earlier for _, earlier in tried):
                break
            found = racing.share_of(choice)
            tried.append((found, choice))
            if abs(found - share) <= _NEAR * share:
                break
            aim = max(_LEAST_AIM, aim + (share - found))
    return min(tried, key=lambda pair: abs(pair[0] - share))


def ready(model: ir.Model) -> ir.Model:
    """``model`` with constants as initialisers, its shapes inferred, and each node named."""
    passes.LiftConstantsToInitializersPass()(model)
    infer_shapes(model)
    names: set[str] = set()
    for place, node in enumerate(model.graph):
        if not node.name or node.name in names:
            node.name = f"{node.op_type}_{place}"
            while node.name in names:
                node.name += "_"
        names.add(node.name)
    return model


def without(model: ir.Model, choice: Choice) -> ir.Model:
    """A copy of ``model`` without what was chosen."""
    thinner = without_components(model, choice.components)
    shorter = without_blocks(thinner, choice.blocks)
    infer_shapes(shorter)
    return shorter


def _widths(model: ir.Model, components: Components, calls: Iterable[Arrays]) -> list[Width]:
    kinds = components.widths()
    if not kinds:
        return []
    energy = importance(model, components, _in_time(calls))
    touching: dict[int, list[str]] = {}
    of_component = {int(one): place for place, kind in enumerate(kinds) for one in kind}
    for node in model.graph:
        for place in {of_component[one] for one in components.touched(node) & of_component.keys()}:
            touching.setdefault(place, []).append(str(node.name))
    widths = []
    for place, kind in enumerate(kinds):
        order = np.argsort(energy[kind], kind="stable")
        widths.append(
            Width(
                components=kind[order],
                energy=energy[kind][order],
                nodes=tuple(touching.get(place, ())),
            )
        )
    return widths


def _in_time(calls: Iterable[Arrays]) -> Iterator[Arrays]:
    end = time.monotonic() + _SECONDS
    for feed in islice(calls, _CALLS):
        yield feed
        if time.monotonic() > end:
            return


def _removable(model: ir.Model, feeds: Sequence[Arrays]) -> list[Removable]:
    """The blocks that can go, with what the answers lose without each alone."""
    blocks = blocks_of(model)
    if not blocks:
        return []
    before = _answered(model, feeds)
    return [
        Removable(name=block.name, nodes=block.nodes, energy=_lost(model, block, feeds, before))
        for block in blocks
    ]


def _lost(model: ir.Model, block: Block, feeds: Sequence[Arrays], before: Sequence[Array]) -> float:
    """What the answers change by, as a share of their energy; summed over the outputs."""
    try:
        after = _answered(without_blocks(model, [block.name]), feeds)
    except LeptonError:  # what is left does not run
        return math.inf
    lost = 0.0
    for was, now in zip(before, after, strict=True):
        energy = float(np.square(was - was.mean()).sum())
        if was.shape != now.shape or not np.isfinite(now).all():
            return math.inf
        lost += float(np.square(now - was).sum()) / energy if energy > 0 else 0.0
    return lost


def _answered(model: ir.Model, feeds: Sequence[Arrays]) -> list[Array]:
    """Each output in floating point, for all of ``feeds`` in a row."""
    calls = list(answers(ir.to_proto(model), feeds))
    return [
        np.concatenate([np.asarray(one, dtype=np.float64).reshape(-1) for one in outputs])
        for outputs in zip(*calls, strict=True)
        if np.asarray(outputs[0]).dtype.kind == "f"
    ]


class _Racing:
    """Thinner graphs beside the one they were made of, in turns, in processes of their own."""

    def __init__(
        self,
        model: ir.Model,
        feeds: Sequence[Arrays],
        on: Target,
        as_shipped: Shipping,
        folder: Path,
    ) -> None:
        self._model = model
        self._feeds = list(feeds)
        self._on = on
        self._as_shipped = as_shipped
        self._made = 0
        self._folder = folder
        self._whole = self._runner(model, "whole")

    def share_of(self, choice: Choice) -> float:
        """The median time without what is chosen, over that with all."""
        thin = self._runner(without(self._model, choice), "thin")
        try:
            times = race({"whole": self._whole, "thin": thin}, self._feeds, seconds=_RACE_SECONDS)
        finally:
            thin.close()
        return times["thin"].p50_ms / times["whole"].p50_ms

    def close(self) -> None:
        """End its process."""
        self._whole.close()

    def _runner(self, model: ir.Model, name: str) -> ProcessRunner:
        self._made += 1
        path = self._folder / f"{name}-{self._made}.onnx"
        save_graph(model, path)
        return ProcessRunner(
            self._on.engine,
            self._as_shipped(path, self._folder),
            EnginePlan(threads=self._on.threads),
            self._folder / "log.txt",
            deadline=_TIMEOUT,
        )
