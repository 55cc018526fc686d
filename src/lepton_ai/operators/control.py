"""Branches and loops: what runs a subgraph.

What decides (a condition, a trip count, a length) is looked at where it can be, and the body is
then run as often as it says. Where a graph is being traced and it hangs on data, the library is
told to choose or to repeat.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from lepton_ai.errors import EngineError
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, integers, operator
from lepton_ai.operators.placing import known, looked_at, placed, stacked

#: The version of the operators in which Scan lost its batch axis.
SCAN_WITHOUT_BATCH = 9
#: Steps of a Scan that are traced one by one, so that what is known stays known; longer ones are
#: left to the library, whose graph then does not grow with their number.
UNROLLED = 4


@operator("If", as_is=True)
def if_(
    call: Call, condition: Tensor, *, then_branch: ir.Graph, else_branch: ir.Graph
) -> tuple[Any, ...]:
    """The outputs of one of two subgraphs."""
    xp, branches = call.xp, (then_branch, else_branch)
    decided = looked_at(xp, condition)
    if decided is not None:
        chosen = then_branch if bool(decided.reshape(-1)[0]) else else_branch
        return tuple(call.evaluate(chosen, []))
    then, otherwise = (
        lambda body=body: _arrays(call, call.evaluate(body, []), "an If") for body in branches
    )
    return tuple(xp.choose(xp.reshape(condition, ()), then, otherwise))


@operator("Loop", as_is=True)
def loop(
    call: Call, count: Tensor | None, condition: Tensor | None, *states: Any, body: ir.Graph
) -> tuple[Any, ...]:
    """A subgraph as many times as it is told to or wants to: the last states, all else stacked."""
    trips = _trips(call, count)
    going: Any = np.asarray(True) if condition is None else condition
    current: list[Any] = list(states)
    made: list[list[Any]] = [[] for _ in range(len(body.outputs) - 1 - len(states))]
    step = 0
    while trips is None or isinstance(trips, int):
        decided = looked_at(call.xp, going)
        if decided is None:
            break
        if not bool(decided.reshape(-1)[0]) or step == trips:
            outputs = body.outputs[1 + len(states) :]
            return *current, *map(_collected, [call] * len(made), made, outputs)
        going, *rest = call.evaluate(body, [np.asarray(step), going, *current])
        current = rest[: len(states)]
        for one, value in zip(made, rest[len(states) :], strict=True):
            one.append(value)
        step += 1
    if made:
        raise EngineError(
            "how often it runs is known only from data, so its stacked outputs have no size that "
            "could be traced"
        )
    return _repeated(call, trips, (step, going, current), body)


def _repeated(
    call: Call, trips: Any, start: tuple[int, Any, list[Any]], body: ir.Graph
) -> tuple[Any, ...]:
    """The last states of a loop that ends when data say so."""
    xp = call.xp

    def goes_on(carry: tuple[Tensor, ...]) -> Tensor:
        return carry[1] if trips is None else xp.logical_and(carry[1], carry[0] < trips)

    def turn(carry: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        going, *states = _arrays(call, call.evaluate(body, list(carry)), "a Loop")
        return carry[0] + 1, xp.reshape(going, ()), *states

    step, going, current = start
    first = placed(xp, np.asarray(step)), xp.reshape(placed(xp, going), ())
    return tuple(xp.repeat_while(goes_on, turn, (*first, *_arrays(call, current, "a Loop")))[2:])


def _trips(call: Call, count: Tensor | None) -> Any:
    """How often a loop runs at most: a number, a size known later, a traced count, or no limit."""
    if count is None:
        return None
    decided = looked_at(call.xp, count)
    return call.xp.reshape(count, ()) if decided is None else integers(decided)[0]


def _collected(call: Call, values: list[Any], output: ir.Value) -> Any:
    """What a body gave over all its runs; without runs, empty, of the type that it declares."""
    if values:
        return stacked(call.xp, values)
    sizes = [size if isinstance(size, int) else 0 for size in output.shape or ()]
    dtype = output.dtype or ir.DataType.FLOAT
    return np.zeros((0, *sizes), dtype.numpy())


def _arrays(call: Call, values: Sequence[Any], what: str) -> tuple[Tensor, ...]:
    if any(value is None or isinstance(value, list) for value in values):
        raise EngineError(f"{what} that hangs on data cannot carry sequences while it is traced")
    return tuple(placed(call.xp, value) for value in values)


@operator("Scan", as_is=True)
def scan(
    call: Call,
    *inputs: Any,
    body: ir.Graph,
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] | None = None,
    scan_input_directions: Sequence[int] | None = None,
    scan_output_axes: Sequence[int] | None = None,
    scan_output_directions: Sequence[int] | None = None,
    directions: Sequence[int] | None = None,
) -> tuple[Any, ...]:
    """A subgraph along an axis of its inputs: the last states, and what each step gave, stacked."""
    if call.opset < SCAN_WITHOUT_BATCH:
        backwards = directions or [0] * num_scan_inputs
        return _batched_scan(call, inputs[0], inputs[1:], body, backwards)
    states = len(inputs) - num_scan_inputs
    made = len(body.outputs) - states
    axes = scan_input_axes or [0] * num_scan_inputs
    backwards = scan_input_directions or [0] * num_scan_inputs
    along = [
        _turned(call, _to_front(call, x, axis), back)
        for x, axis, back in zip(inputs[states:], axes, backwards, strict=True)
    ]
    last, outputs = _scanned(call, list(inputs[:states]), along, body)
    axes, backwards = scan_output_axes or [0] * made, scan_output_directions or [0] * made
    moved = [
        _from_front(call, _turned(call, y, back), axis)
        for y, axis, back in zip(outputs, axes, backwards, strict=True)
    ]
    return *last, *moved


def _scanned(
    call: Call, states: list[Any], along: list[Any], body: ir.Graph
) -> tuple[list[Any], list[Any]]:
    """The last states and the stacked outputs of ``body`` along the first axis of ``along``."""
    length, xp = along[0].shape[0], call.xp
    unknown = not all(known(value) for value in (*states, *along))
    if not xp.eager and unknown and not (isinstance(length, int) and length <= UNROLLED):

        def step(carry: tuple[Tensor, ...], xs: tuple[Tensor, ...]) -> Any:
            values = _arrays(call, call.evaluate(body, [*carry, *xs]), "a Scan")
            return values[: len(states)], values[len(states) :]

        carry = _arrays(call, states, "a Scan")
        last, made = xp.scan(step, carry, _arrays(call, along, "a Scan"))
        return list(last), list(made)
    collected: list[list[Any]] = [[] for _ in range(len(body.outputs) - len(states))]
    for position in range(length):
        values = call.evaluate(body, [*states, *(x[position, ...] for x in along)])
        states = values[: len(states)]
        for one, value in zip(collected, values[len(states) :], strict=True):
            one.append(value)
    outputs = body.outputs[len(states) :]
    return states, list(map(_collected, [call] * len(collected), collected, outputs))


def _batched_scan(
    call: Call,
    lengths: Tensor | None,
    inputs: Sequence[Any],
    body: ir.Graph,
    backwards: Sequence[int],
) -> tuple[Any, ...]:
    """The first Scan: one for each sample, each of its own length, the rest filled with zeros."""
    xp, states = call.xp, len(inputs) - len(backwards)
    batch, longest = inputs[states].shape[0], inputs[states].shape[1]
    steps = [longest] * batch
    if lengths is not None:
        decided = looked_at(xp, lengths)
        if decided is None:
            raise EngineError("its sequence lengths have to be known before it is traced")
        steps = integers(decided)
    rows: list[list[Any]] = []
    for sample, length in enumerate(steps):
        along = [
            _turned(call, x[sample, :length, ...], back)
            for x, back in zip(inputs[states:], backwards, strict=True)
        ]
        last, made = _scanned(call, [state[sample, ...] for state in inputs[:states]], along, body)
        rows.append([*last, *(_filled(call, y, longest - length) for y in made)])
    return tuple(stacked(xp, column) for column in zip(*rows, strict=True))


def _filled(call: Call, y: Any, missing: int) -> Any:
    if not missing:
        return y
    own = placed(call.xp, y)
    return call.xp.pad(own, [(0, missing), *[(0, 0)] * (own.ndim - 1)], 0)


def _turned(call: Call, x: Any, backwards: int) -> Any:
    if not backwards:
        return x
    return x[::-1] if known(x) else call.xp.flip(x, axis=0)


def _to_front(call: Call, x: Any, axis: int) -> Any:
    if axis in (0, -x.ndim):
        return x
    return np.moveaxis(x, axis, 0) if known(x) else call.xp.moveaxis(x, axis, 0)


def _from_front(call: Call, x: Any, axis: int) -> Any:
    if axis in (0, -x.ndim):
        return x
    return np.moveaxis(x, 0, axis) if known(x) else call.xp.moveaxis(x, 0, axis)
