"""A cell run along a batch of sequences, whatever it computes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespace import Namespace, Tensor

State = tuple[Tensor, ...]
GateFunction = Callable[[Tensor], Tensor]
#: The next state from the state so far and the gates' part that comes from the input.
Cell = Callable[[State, Tensor], State]


@dataclass(frozen=True, kw_only=True)
class Direction:
    """What one direction has of its own."""

    xp: Namespace
    recurrent: Tensor
    bias: Tensor
    recurrent_bias: Tensor
    peepholes: Sequence[Tensor]
    activations: Sequence[GateFunction]

    def from_state(self, state: Tensor, gates: slice | None = None) -> Tensor:
        """The part of the gates that comes from the state."""
        weight = self.recurrent if gates is None else self.recurrent[gates, :]
        return self.xp.matmul(state, self.xp.matrix_transpose(weight))


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """What the directions share: the input [T, N, I], and how long it is for each of the batch."""

    xp: Namespace
    x: Tensor
    lengths: Tensor | None
    layout: int
    direction: str

    @property
    def directions(self) -> int:
        """One or two."""
        return 2 if self.direction == "bidirectional" else 1


def sequences_of(
    xp: Namespace, x: Tensor, lengths: Tensor | None, layout: int, direction: str
) -> Sequences:
    """The sequences of an operator's input; with a ``layout`` the batch comes first in it.

    Raises:
        EngineError: there is no such direction.
    """
    if direction not in ("forward", "reverse", "bidirectional"):
        raise EngineError(f"direction {direction!r} is not forward, reverse or bidirectional")
    x = xp.permute_dims(x, (1, 0, 2)) if layout else x
    return Sequences(xp=xp, x=x, lengths=lengths, layout=layout, direction=direction)


def run(
    sequence: Sequences,
    parts: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    initial: Sequence[Tensor | None],
    functions: Sequence[GateFunction],
    cell: Callable[[Direction], Cell],
    *,
    gates: int,
) -> State:
    """The states of every step [T, D, N, H], and the last ones [D, N, H] of each kind.

    ``parts`` are the weights of the input and of the state, the biases and the peepholes, as the
    operators take them.
    """
    xp, layout = sequence.xp, sequence.layout
    weight, recurrent, bias, peepholes = parts
    size, each = recurrent.shape[-1], len(functions) // sequence.directions
    states, lasts = [], []
    for d in range(sequence.directions):
        nothing = xp.zeros_like(weight[d, :, 0])
        own = Direction(
            xp=xp,
            recurrent=recurrent[d, ...],
            bias=nothing if bias is None else bias[d, : gates * size],
            recurrent_bias=nothing if bias is None else bias[d, gates * size :],
            peepholes=()
            if peepholes is None
            else [peepholes[d, k * size : (k + 1) * size] for k in range(3)],
            activations=functions[d * each : (d + 1) * each],
        )
        start = tuple(_start(sequence, one, d, size) for one in initial)
        backwards = sequence.direction == "reverse" or d == 1
        every, last = _along(sequence, weight[d, ...], own.bias, start, cell(own), backwards)
        states.append(every)
        lasts.append(last)
    y = xp.stack(states, axis=1)
    final = [xp.stack([last[k] for last in lasts], axis=0) for k in range(len(initial))]
    if layout:
        y = xp.permute_dims(y, (2, 0, 1, 3))
        final = [xp.permute_dims(one, (1, 0, 2)) for one in final]
    return (y, *final)


def _start(sequence: Sequences, given: Tensor | None, direction: int, size: Any) -> Tensor:
    if given is not None:
        return given[:, direction, :] if sequence.layout else given[direction, :, :]
    xp, batch = sequence.xp, sequence.x.shape[1]
    return xp.broadcast_to(xp.scalar(0, sequence.x), (batch, size))


def _along(
    sequence: Sequences,
    weight: Tensor,
    bias: Tensor,
    start: State,
    cell: Cell,
    backwards: bool,
) -> tuple[Tensor, State]:
    """The first state after every step, in the order of the input, and the last of every state.

    Steps beyond a sequence's own length leave its state alone, and answer zeros: read backwards,
    a sequence thereby begins at its own end.
    """
    xp, x = sequence.xp, sequence.x
    # The input's part of every step is one product, outside of the loop.
    gates = xp.matmul(x, xp.matrix_transpose(weight)) + bias
    xs: tuple[Tensor, ...] = (gates,)
    if sequence.lengths is not None:
        times = xp.reshape(xp.positions(x.shape[0]), (-1, 1, 1))
        xs = (gates, times < xp.reshape(sequence.lengths, (1, -1, 1)))
    if backwards:
        xs = tuple(xp.flip(one, axis=0) for one in xs)

    def step(state: State, x: State) -> tuple[State, State]:
        after = cell(state, x[0])
        if len(x) == 1:
            return after, (after[0],)
        runs = x[1]
        kept = tuple(xp.where(runs, new, old) for new, old in zip(after, state, strict=True))
        return kept, (xp.where(runs, after[0], xp.zeros_like(after[0])),)

    last, (every,) = xp.scan(step, start, xs)
    return xp.flip(every, axis=0) if backwards else every, last
