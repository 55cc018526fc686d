"""The rewrites that can be named, and the page that lists their rules."""

from pathlib import Path

import pytest

from lepton_ai.engines.engine import engines
from lepton_ai.errors import UnknownNameError
from lepton_ai.graph.rewrite import STANDARD, rewrites, rules_of
from lepton_ai.graph.rule import rules

PAGE = Path(__file__).parents[2] / "docs" / "rewriting.md"


def test_the_standard_rewrite_holds_every_rule_that_suits_all_engines():
    assert [rule.name for rule in rules_of(STANDARD)] == [
        name for name, rule in rules.items() if not rule.engines
    ]


def test_a_rule_for_some_engines_is_a_rewrite_of_its_own_there():
    for name in rewrites()[1:]:
        assert rules_of(name)[0].name == name
        wanted = rules.get(name).engines
        assert wanted
        for engine in engines.names():
            assert (name in rewrites(engine)) == (engine in wanted)


def test_an_unknown_rewrite_is_told_with_those_known():
    with pytest.raises(UnknownNameError, match="known are: standard"):
        rules_of("nonsense")


@pytest.mark.parametrize("name", rules.names())
def test_every_rule_says_what_it_is(name):
    rule = rules.get(name)
    assert rule.name == name
    assert rule.__module__.rpartition(".")[2].replace("_", "-") == name
    assert set(rule.engines) <= set(engines.names())
    for words in (rule.requires, rule.ensures):
        assert words
        assert not words.endswith(".")


def table() -> str:
    rows = ["| rule | requires | ensures | engines |", "|---|---|---|---|"]
    for name, rule in rules.items():
        wanted = ", ".join(rule.engines) or "all"
        rows.append(f"| `{name}` | {rule.requires} | {rule.ensures} | {wanted} |")
    return "\n".join(rows)


def test_the_page_lists_the_rules():
    held = PAGE.read_text().partition("<!-- rules -->\n")[2].partition("\n<!-- end")[0]
    assert held == table(), f"put this into {PAGE.name}:\n{table()}"
