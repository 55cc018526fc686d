import threading

import pytest

from lepton_ai.errors import OutputError
from lepton_ai.plan.journal import Journal, content_key


def test_records_come_back_and_others_do_not():
    journal = Journal("one")
    assert journal.trial("a") is None
    journal.record_trial("a", {"x": 1.5, "y": [None, "µ"]})
    assert Journal("one").trial("a") == {"x": 1.5, "y": [None, "µ"]}
    assert journal.result("a") is None
    assert Journal("two").trial("a") is None


def test_keys_follow_content_and_order():
    assert content_key(["a", "b"]) == content_key(["a", "b"])
    assert len({content_key(parts) for parts in (["a", "b"], ["b", "a"], ["ab"], [])}) == 4


def test_many_writers_lose_nothing():
    def write(start: int) -> None:
        for number in range(start, start + 20):
            Journal("busy").record_trial(str(number), {"number": number})

    writers = [threading.Thread(target=write, args=(20 * i,)) for i in range(5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert all(Journal("busy").trial(str(i)) == {"number": i} for i in range(100))


def test_a_cache_that_cannot_be_written_is_named(monkeypatch):
    monkeypatch.setenv("LEPTON_CACHE", "/proc/lepton")
    with pytest.raises(OutputError, match=r"/proc/lepton.*LEPTON_CACHE"):
        Journal("x")


def test_a_damaged_journal_is_told_from_one_that_cannot_be_written():
    file = Journal("damaged").folder / "journal.sqlite"
    file.write_bytes(b"not a database at all" * 100)
    with pytest.raises(OutputError, match="is damaged"):
        Journal("damaged")
    file.unlink()
    file.mkdir()  # sqlite cannot open it: an operational failure, not damage
    with pytest.raises(OutputError, match="cannot be written"):
        Journal("damaged")
