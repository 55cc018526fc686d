"""Fair clocks: many runners timed in turns on the same real samples.

Machines drift: what is timed first in a hot minute loses to what is timed in a cool one. So the
runners take turns in short blocks, in an order that rotates, and each walks through the same calls,
the faster ones more often. The median and its interval come from order statistics (David &
Nagaraja, *Order Statistics*, 7.1).
"""

import math
import time
from collections.abc import Mapping, Sequence

import numpy as np

from lepton_ai.measure.measurement import Latency
from lepton_ai.measure.runner import Runner
from lepton_ai.model.signature import Arrays

_BLOCK_SECONDS = 0.2
_LONGEST_BLOCK = 1000
_LEAST_CALLS = 30
#: A slow network gets fewer calls than that, once it has had its seconds this many times over.
_PATIENCE = 2.0
_FEWEST_CALLS = 10
_MOST_CALLS = 3000
_MOST_WARM_UP_ROUNDS = 3
_STEADY = 0.05
_WARM_UP_SECONDS = 0.5
#: ONNX Runtime's threads spin for 40 ms after a call (measured, 1.32), OpenMP's for 9.
_PAUSE_SECONDS = 0.06
_Z95 = 1.96


def race(
    runners: Mapping[str, Runner], feeds: Sequence[Arrays], *, seconds: float
) -> dict[str, Latency]:
    """Time every runner on ``feeds`` for about ``seconds`` each, in turns, after a warm-up."""
    blocks = {name: _Block(runner, feeds) for name, runner in runners.items()}
    for block in blocks.values():
        block.warm_up()
    names = list(blocks)
    rounds = 0
    while any(block.wants_more(seconds) for block in blocks.values()):
        turn = rounds % len(names)
        for name in names[turn:] + names[:turn]:
            blocks[name].take_turn()
        rounds += 1
    return {name: summarise(block.times) for name, block in blocks.items()}


def summarise(times: Sequence[float]) -> Latency:
    """Percentiles of call times in milliseconds, with a 95 % interval of the median."""
    ordered = np.sort(np.asarray(times, dtype=np.float64))
    half_width = _Z95 * math.sqrt(len(ordered)) / 2
    low = max(0, math.floor(len(ordered) / 2 - half_width))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half_width))
    p50, p90, p99 = np.percentile(ordered, [50, 90, 99])
    return Latency(
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        low_ms=float(ordered[low]),
        high_ms=float(ordered[high]),
        runs=len(ordered),
    )


class _Block:
    """One runner's share of the race: it walks through the feeds, a block at a time."""

    def __init__(self, runner: Runner, feeds: Sequence[Arrays]) -> None:
        self.times: list[float] = []
        self._runner = runner
        self._feeds = feeds
        self._size = 1
        self._position = 0

    def warm_up(self) -> None:
        """Run until a round over the feeds is no longer faster than the one before."""
        before = math.inf
        for _ in range(_MOST_WARM_UP_ROUNDS):
            start = time.perf_counter()
            times = self._runner.clock(self._feeds)
            now = float(np.median(times))
            self._size = _size_of_block(now)
            if now > before * (1 - _STEADY) or time.perf_counter() - start > _WARM_UP_SECONDS:
                return
            before = now

    def wants_more(self, seconds: float) -> bool:
        """Whether it has had neither its seconds nor its calls."""
        calls, share = len(self.times), sum(self.times) / (seconds * 1000)
        if calls >= _MOST_CALLS:
            return False
        if calls < _FEWEST_CALLS:
            return True
        return share < (_PATIENCE if calls < _LEAST_CALLS else 1.0)

    def take_turn(self) -> None:
        """Time one block, after a pause in which the last runner's threads go to sleep.

        The first call of a block finds cold caches and sleeping threads, and is not counted.
        """
        time.sleep(_PAUSE_SECONDS)
        end = self._position + self._size
        block = [self._feeds[index % len(self._feeds)] for index in range(self._position, end)]
        self._position = end % len(self._feeds)
        times = self._runner.clock(block[-1:] + block)[1:]
        self.times.extend(times)
        # A first call that compiles would otherwise leave it with blocks of one call for ever.
        self._size = _size_of_block(float(np.median(times)))


def _size_of_block(milliseconds: float) -> int:
    """How many calls that take so long fill a block."""
    return max(1, min(_LONGEST_BLOCK, int(_BLOCK_SECONDS * 1000 / max(milliseconds, 1e-6))))
