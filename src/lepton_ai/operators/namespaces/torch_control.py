"""Branches and loops in a trace of ``torch.export``.

PyTorch's operators for them want functions that are closed: whatever these read must be passed in.
Ours read what lies around them. So each is tried once to see which tensors of its surroundings it
reads, and once more, for the trace, with what is passed in standing for those.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._higher_order_ops.cond import cond_op
from torch._higher_order_ops.scan import scan_op
from torch._higher_order_ops.while_loop import while_loop_op
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

Tensors = Sequence[torch.Tensor]


def conditional(
    condition: torch.Tensor, then: Callable[[], Tensors], otherwise: Callable[[], Tensors]
) -> Tensors:
    """What ``then`` or ``otherwise`` answers, decided when the program runs."""
    outside = _surroundings([then, otherwise])

    def closed(branch: Callable[[], Tensors]) -> Callable[..., tuple[torch.Tensor, ...]]:
        return lambda *given: _within(branch, outside, given)

    chosen: Tensors = cond_op(condition, closed(then), closed(otherwise), tuple(_apart(outside)))
    return chosen


def loop(
    condition: Callable[[tuple[torch.Tensor, ...]], torch.Tensor],
    body: Callable[[tuple[torch.Tensor, ...]], tuple[torch.Tensor, ...]],
    carry: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, ...]:
    """``carry = body(carry)`` for as long as ``condition(carry)`` holds when the program runs."""
    count = len(carry)
    with disable_proxy_modes_tracing():
        state = tuple(map(_copied, carry))  # what it carries may be read as itself as well
    outside = _surroundings([lambda: [condition(state)], lambda: body(state)], known=state)

    def goes_on(*given: torch.Tensor) -> torch.Tensor:
        return _within(lambda: [condition(given[:count])], outside, given[count:])[0]

    def once(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _within(lambda: body(given[:count]), outside, given[count:])

    begin = tuple(map(_copied, carry))
    run: Callable[..., tuple[torch.Tensor, ...]] = while_loop_op  # its own types say one carry
    return run(goes_on, once, begin, tuple(_apart(outside)))


def along(
    step: Callable[[Tensors, Tensors], tuple[Tensors, Tensors]], carry: Tensors, xs: Tensors
) -> tuple[Tensors, Tensors]:
    """``carry, y = step(carry, x)`` along the first axis of ``xs``: the last carry, all ``y``."""
    states, series = len(carry), len(xs)

    def flat(state: Tensors, x: Tensors) -> list[torch.Tensor]:
        after, y = step(state, x)
        return [*after, *y]

    with disable_proxy_modes_tracing():
        state, first = [_copied(one) for one in carry], [_copied(x[0]) for x in xs]
    outside = _surroundings([lambda: flat(state, first)], known=(*state, *first))
    # The compiler makes room for all ``y`` from what is passed in, sizes among it.
    every: list[Any] = [size for one in (*carry, *xs, *outside) for size in one.shape]
    sizes = {size.node.expr: size for size in every if isinstance(size, torch.SymInt)}

    def once(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        state, x = given[:states], given[states : states + series]
        around = given[states + series : states + series + len(outside)]
        return _within(lambda: flat(state, x), outside, around)

    begin = list(map(_copied, carry))
    run: Callable[..., Tensors] = scan_op
    given = _apart([*xs, *outside])
    answer = run(once, begin, given[:series], (*given[series:], *sizes.values()))
    return answer[:states], answer[states:]


def _surroundings(
    functions: Sequence[Callable[[], Tensors]], known: Tensors = ()
) -> list[torch.Tensor]:
    """The tensors that ``functions`` read and did not make; ``known`` are given to them."""
    found: dict[int, torch.Tensor] = {}
    for function in functions:
        watch = _Watch(known)
        with disable_proxy_modes_tracing(), watch:
            watch.read(function())
        found |= watch.outside
    return list(found.values())


def _within(
    function: Callable[[], Tensors], outside: Tensors, given: Tensors
) -> tuple[torch.Tensor, ...]:
    """What ``function`` answers with ``given`` for what it reads ``outside``, in memory of its own.

    PyTorch's operators want branches to answer with new tensors that are laid out alike.
    """
    instead = {id(one): other for one, other in zip(outside, given, strict=True)}
    with _Replacement(instead):
        answer = [instead.get(id(one), one) for one in function()]
    return tuple(map(_copied, answer))


def _apart(tensors: Tensors) -> list[torch.Tensor]:
    """``tensors``, those copied that share memory with one before them: that is not allowed."""
    taken: set[int] = set()
    mine = []
    for one in tensors:
        memory = int(one.untyped_storage()._cdata)
        mine.append(_copied(one) if memory in taken else one)
        taken.add(memory)
    return mine


def _copied(x: torch.Tensor) -> torch.Tensor:
    return x.clone(memory_format=torch.contiguous_format)


class _Watch(TorchFunctionMode):
    """Notes the tensors that functions of PyTorch are called with and did not make."""

    def __init__(self, known: Tensors) -> None:
        super().__init__()
        self.outside: dict[int, torch.Tensor] = {}
        # The tensors are kept, lest another get the identity of one that is gone.
        self._made = {id(one): one for one in known}

    def read(self, values: Any) -> None:
        """Note every tensor in ``values`` that was not made while watching."""
        for one in pytree.tree_leaves(values):
            if isinstance(one, torch.Tensor) and id(one) not in self._made:
                self.outside.setdefault(id(one), one)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.read((args, kwargs))
        result = func(*args, **(kwargs or {}))
        for one in pytree.tree_leaves(result):
            if isinstance(one, torch.Tensor) and id(one) not in self.outside:
                self._made[id(one)] = one
        return result


class _Replacement(TorchFunctionMode):
    """Calls functions of PyTorch with other tensors, by the identity of those they are given."""

    def __init__(self, instead: Mapping[int, torch.Tensor]) -> None:
        super().__init__()
        self._instead = instead

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        args, kwargs = pytree.tree_map_only(
            torch.Tensor, lambda one: self._instead.get(id(one), one), (args, dict(kwargs or {}))
        )
        return func(*args, **kwargs)
