"""What to take out for a given time: where a millisecond costs the least of the answers.

The time of a node at any width is read off a curve that the engine itself was measured on; a width
shrinks in steps that kernels like. Greedy: of all next steps, the one that loses the least energy
of the answers per millisecond, until the time is reached.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lepton_ai.model.signature import Array

#: Shares of all widths at which an engine is measured.
SHARES = (1.0, 0.75, 0.5, 0.25)
#: Kernels compute so many channels at once; what is left of a width is a multiple. Wide ones are
#: computed in tiles: 1,400 units took four times as long as 1,408 in bf16 (AMX).
LANES, TILE, WIDE = 8, 32, 512
#: Below these a width is not thinned: what is left of it would not be the same layer.
LEAST_SHARE, LEAST_WIDTH = 0.2, 8
#: The share of what can be saved that is saved at most.
MOST_SAVED = 0.7
#: Losses that are added up are taken to interact: what was removed before makes the next dearer.
_INTERACTION = 2.0


@dataclass(frozen=True, kw_only=True)
class Width:
    """Components of one kind, those that matter least first, with the energy that each carries.

    ``nodes`` read or answer them.
    """

    components: Array
    energy: Array
    nodes: tuple[str, ...]

    def steps(self) -> list[int]:
        """How many may be removed: after each step a whole number of lanes is left."""
        total = len(self.components)
        least = max(1, round(LEAST_SHARE * total))
        if total < 2 * LEAST_WIDTH:  # heads: one at a time
            return list(range(1, total - least + 1))
        step = TILE if total >= WIDE else LANES
        left = range((total - 1) // step * step, max(least, LEAST_WIDTH) - 1, -step)
        return [total - each for each in left]


@dataclass(frozen=True, kw_only=True)
class Removable:
    """A block that can go whole: its name, its nodes, and the energy that the answers lose."""

    name: str
    nodes: tuple[str, ...]
    energy: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to take out, and the milliseconds that are expected afterwards."""

    components: tuple[int, ...]
    blocks: tuple[str, ...]
    milliseconds: float


@dataclass
class _State:
    """How far each width is thinned, and which blocks are gone."""

    removed: list[int]
    gone: set[str] = field(default_factory=set)
    blocks: list[str] = field(default_factory=list)


class Allocation:
    """Finds what to take out.

    ``curves`` are the milliseconds of each node at :data:`SHARES`.
    """

    def __init__(
        self,
        widths: Sequence[Width],
        blocks: Sequence[Removable],
        curves: Mapping[str, Sequence[float]],
    ) -> None:
        self._widths = [width for width in widths if width.steps()]
        self._blocks = list(blocks)
        self._curves = {name: np.asarray(curve)[::-1] for name, curve in curves.items()}
        self._least: float | None = None
        self._of_node: dict[str, list[int]] = {}
        for place, width in enumerate(self._widths):
            for name in width.nodes:
                self._of_node.setdefault(name, []).append(place)

    @property
    def milliseconds(self) -> float:
        """What all nodes take with nothing taken out."""
        return float(sum(curve[-1] for curve in self._curves.values()))

    def choose(self, milliseconds: float) -> Choice:
        """What to take out until the nodes together take ``milliseconds``, or nothing is left.

        Of all the time that can be saved, no more than :data:`MOST_SAVED` is: the rest is little,
        and would cost what the network is made of.
        """
        if self._least is None:
            self._least = self._taken_out(-1.0).milliseconds
        floor = self.milliseconds - MOST_SAVED * (self.milliseconds - self._least)
        return self._taken_out(max(milliseconds, floor))

    def _taken_out(self, milliseconds: float) -> Choice:
        state = _State(removed=[0] * len(self._widths))
        times = {name: self._time(name, state) for name in self._curves}
        total = sum(times.values())
        while total > milliseconds:
            moves = [*self._thinner(state, times), *self._shorter(state, times)]
            if not moves:
                break
            _, saved, place, removed = min(moves)
            total -= saved
            if place >= 0:
                state.removed[place] = removed
                touched: Sequence[str] = self._widths[place].nodes
            else:
                block = self._blocks[removed]
                state.blocks.append(block.name)
                state.gone.update(block.nodes)
                touched = block.nodes
            for name in touched:
                if name in times:
                    times[name] = self._time(name, state)
        components = [
            int(one)
            for width, count in zip(self._widths, state.removed, strict=True)
            for one in width.components[:count]
        ]
        return Choice(components=tuple(components), blocks=tuple(state.blocks), milliseconds=total)

    def _thinner(
        self, state: _State, times: Mapping[str, float]
    ) -> list[tuple[float, float, int, int]]:
        """For each width the next step worth taking: loss per millisecond, milliseconds, where."""
        moves = []
        for place, width in enumerate(self._widths):
            now = state.removed[place]
            options = [count for count in width.steps() if count > now]
            best: tuple[float, float, int, int] | None = None
            for count in options[:3]:  # one step alone may bring nothing
                saved = self._saved(width, place, count, state, times)
                share = count / len(width.components)
                lost = float(width.energy[now:count].sum()) * (1 + _INTERACTION * share)
                if saved > 0 and (best is None or lost / saved < best[0]):
                    best = (lost / saved, saved, place, count)
            if best is not None:
                moves.append(best)
        return moves

    def _saved(
        self, width: Width, place: int, count: int, state: _State, times: Mapping[str, float]
    ) -> float:
        before = state.removed[place]
        state.removed[place] = count
        saved = sum(times[name] - self._time(name, state) for name in width.nodes if name in times)
        state.removed[place] = before
        return saved

    def _shorter(
        self, state: _State, times: Mapping[str, float]
    ) -> list[tuple[float, float, int, int]]:
        moves = []
        share = len(state.blocks) / max(1, len(self._blocks))
        for number, block in enumerate(self._blocks):
            saved = sum(times.get(name, 0.0) for name in block.nodes)
            if block.name not in state.blocks and saved > 0:
                lost = block.energy * (1 + _INTERACTION * share)
                moves.append((lost / saved, saved, -1, number))
        return moves

    def _time(self, name: str, state: _State) -> float:
        if name in state.gone:
            return 0.0
        kept = [
            1 - state.removed[place] / len(self._widths[place].components)
            for place in self._of_node.get(name, ())
        ]
        share = float(np.prod(kept)) ** (1 / 2 if len(kept) > 1 else 1) if kept else 1.0
        return float(np.interp(share, SHARES[::-1], self._curves[name]))
