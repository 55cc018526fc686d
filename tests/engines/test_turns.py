"""Whose turn it is: as many at once as there are things, and none after the end."""

import threading
import time

import pytest

from lepton_ai.engines.turns import Turns
from lepton_ai.errors import EngineError


def test_as_many_at_once_as_there_are_things():
    turns, busy, most = Turns("engine", [1, 2]), [], []

    def call() -> None:
        thing = turns.take()
        busy.append(thing)
        most.append(len(busy))
        time.sleep(0.01)
        busy.remove(thing)
        turns.give(thing)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 2
    assert len(most) == 8


def test_after_the_end_all_who_ask_are_refused():
    turns = Turns("engine", [1])
    turns.close()
    turns.close()
    for _ in range(2):
        with pytest.raises(EngineError, match="closed"):
            turns.take()


def test_the_end_waits_for_who_is_running():
    turns = Turns("engine", ["thing"])
    thing = turns.take()
    ended = threading.Thread(target=turns.close)
    ended.start()
    ended.join(0.05)
    assert ended.is_alive()
    turns.give(thing)
    ended.join(5)
    assert not ended.is_alive()
