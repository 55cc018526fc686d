import io

import pytest
from rich.console import Console

from lepton_ai.cli.before_after import before_after, in_words, lost


def measured(p50, size, score):
    return {
        "latency": {"p50_ms": p50},
        "bytes_on_disk": size,
        "throughput": 1000 / p50,
        "score": score,
    }


@pytest.fixture
def record():
    return {
        "name": "[red]net[/red]",
        "metric": {"name": "accuracy"},
        "baseline": {"name": "eager", "measurement": measured(12.0, 40_000_000, 0.8)},
        "plain": [{"name": "plain engine", "latency": {"p50_ms": 6.0}}],
        "best": {
            "name": "int8",
            "measurement": measured(3.0, 10_000_000, 0.79),
            "speedup": 4.0,
            "speedup_over_plain": {"plain engine": 2.0, "int8": 1.0},
            "bytes_of_baseline": 0.25,
        },
        "tried": [
            {
                "name": "int8",
                "measurement": measured(3.0, 1, 0.8),
                "verdict": "shipped",
                "why": "a",
            },
            {"name": "bad", "measurement": None, "verdict": "failed", "why": "it [broke]"},
        ],
    }


def text(table) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue()


def test_before_and_after_stand_side_by_side(record):
    shown = text(before_after(record))
    for wanted in ("before: eager", "40.0 MB", "12.00 ms", "plain: plain engine", "4.0×", "[red]"):
        assert wanted in shown


def test_the_sentence_says_how_much_faster_and_smaller(record):
    assert in_words(record) == (
        "4.00× as fast as eager, 2.00× as fast as plain engine; 25% of the bytes."
    )


def test_every_loser_has_its_reason(record):
    assert "it [broke]" in text(lost(record))
