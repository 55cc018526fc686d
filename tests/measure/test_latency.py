import time

import numpy as np
import pytest

from lepton_ai.engines.engine import Executable
from lepton_ai.measure.latency import race, summarise
from lepton_ai.measure.runner import LocalRunner


class Sleeper(Executable):
    """Answers after a fixed time, and remembers what it was asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked: list[int] = []

    def run(self, inputs):
        self.asked.append(int(inputs["x"]))
        time.sleep(self.seconds)
        return {"y": inputs["x"]}


def test_the_slower_one_takes_longer_and_both_get_the_same_calls():
    feeds = [{"x": np.array(i)} for i in range(5)]
    fast, slow = Sleeper(0.001), Sleeper(0.004)
    times = race({"fast": LocalRunner(fast), "slow": LocalRunner(slow)}, feeds, seconds=0.05)
    assert times["slow"].p50_ms > 2 * times["fast"].p50_ms
    assert set(fast.asked) == set(slow.asked) == set(range(5))
    assert times["fast"].runs >= 30
    assert times["slow"].runs >= 30


def test_a_slow_one_gets_fewer_calls_so_that_the_race_ends():
    slow = Sleeper(0.05)
    start = time.perf_counter()
    times = race({"slow": LocalRunner(slow)}, [{"x": np.array(0)}], seconds=0.1)
    assert 10 <= times["slow"].runs < 30
    assert time.perf_counter() - start < 2.5


class LateStarter(Sleeper):
    """Takes long for the first call, as what compiles then does."""

    def run(self, inputs):
        if not self.asked:
            time.sleep(0.6)
        return super().run(inputs)


def test_a_first_call_that_compiles_does_not_leave_it_with_one_call_a_turn():
    late = LateStarter(0.0001)
    start = time.perf_counter()
    race({"late": LocalRunner(late)}, [{"x": np.array(0)}], seconds=0.3)
    # By single calls it would be a pause for each of more than a thousand.
    assert time.perf_counter() - start < 20
    assert len(late.asked) > 1000


def test_percentiles_and_the_interval_of_the_median():
    latency = summarise([float(i) for i in range(1, 102)])
    assert latency.p50_ms == 51
    assert latency.p90_ms == pytest.approx(91)
    assert latency.low_ms < latency.p50_ms < latency.high_ms
    assert latency.runs == 101


def test_the_interval_covers_the_true_median_as_often_as_it_says():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        latency = summarise(random.lognormal(0.0, 1.0, 61).tolist())
        covered += latency.low_ms <= 1.0 <= latency.high_ms
    assert covered / 400 > 0.93


def test_one_time_is_its_own_median():
    assert summarise([2.0]).p50_ms == 2.0
