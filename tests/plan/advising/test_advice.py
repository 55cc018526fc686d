from dataclasses import replace

import pytest

from lepton_ai.compress.compressor import compressors
from lepton_ai.plan.advising.advice import ranked, within
from lepton_ai.plan.advising.facts import Facts
from lepton_ai.plan.advising.method import Estimate, Method, methods
from lepton_ai.plan.recipe import Recipe


def test_every_method_has_its_place(advice):
    assert sorted(one.method for one in advice.ranked) == sorted(methods.names())


def test_what_is_to_be_expected_decides_and_what_cannot_be_used_comes_last(advice):
    usable = [one for one in advice.ranked if not one.against]
    assert [round(one.expected, 3) for one in usable] == sorted(
        round(one.expected, 3) for one in usable
    )
    assert all(one.against for one in advice.ranked[len(usable) :])


def test_what_was_measured_is_in_the_document(advice):
    record = advice.to_json()
    assert record["facts"]["milliseconds"] > 0
    assert record["facts"]["profiled_in"] == "onnxruntime"
    assert sum(record["facts"]["time_by_operator"].values()) == pytest.approx(1.0)
    assert record["facts"]["time_by_operator"]["Conv"] > 0.5
    assert record["facts"]["noise"]["whole"] > 0
    assert record["facts"]["teachable"]["seconds_per_sample"] > 0
    assert record["facts"]["graph"]["product_bytes"] > 0.9 * record["facts"]["graph"]["float_bytes"]
    assert [one["rank"] for one in record["ranked"]] == list(range(1, len(methods.names()) + 1))
    assert set(record["compressors"]) == set(compressors.names())
    assert advice.seconds < 90


def test_static_int8_is_found_to_disturb_the_convolutions(advice):
    assert advice.facts.noise is not None
    assert {name for name, _ in advice.facts.noise.nodes} <= {f"n{i}" for i in range(9)}
    assert {"n2", "n4"} <= {name for name, _ in advice.facts.noise.nodes}


def test_what_breaks_the_budget_has_no_chance(advice):
    facts = advice.facts
    lossy = Estimate(method="it", ratio=0.5, bytes_ratio=0.5, minutes=8.0, chance=0.9)
    equal = replace(lossy, equal=True, minutes=1.0)
    assert within(lossy, facts).chance == 0.0, "of five minutes"
    assert within(replace(lossy, minutes=1.0), facts).chance == 0.9
    strict = replace(facts, budget=replace(facts.budget, max_drop=0.0001))
    assert "cannot show a drop" in within(replace(lossy, minutes=1.0), strict).reasons[0]
    assert within(equal, strict).chance == 0.9
    assert facts.graph is not None
    small = replace(facts.budget, max_size_mb=facts.graph.bytes * 0.4 / 1e6)
    assert "MB are more than" in within(equal, replace(facts, budget=small)).reasons[0]
    sent = replace(facts.graph, transfer_bytes=8_000_000)
    bound = replace(facts.budget, max_transfer_mb=3.9)
    found = within(equal, replace(facts, budget=bound, graph=sent)).reasons[0]
    assert found == "4.0 MB to transfer are more than 3.9"


def test_a_bound_on_the_size_brings_storages_to_the_front(advice):
    facts = advice.facts
    assert facts.graph is not None
    budget = replace(facts.budget, max_size_mb=facts.graph.bytes * 0.2 / 1e6)
    slow = tuple(t if t.recipe.compressor is None else replace(t, ratio=1.5) for t in facts.trials)
    found = ranked(replace(facts, budget=budget, trials=slow))
    assert found[0].method == "int4-weights"


class Tomorrow(Method):
    """A method of somebody else."""

    name = "tomorrow"
    what = "half the time, by a rule that nobody here knows"

    def covers(self, recipe: Recipe) -> bool:
        return recipe.compressor == "tomorrow"

    def estimate(self, facts: Facts) -> Estimate:
        return Estimate(method=self.name, ratio=0.001, chance=1.0, equal=True, reasons=("so",))


def test_a_method_of_a_plug_in_is_ranked_like_the_others(advice, monkeypatch):
    monkeypatch.setitem(methods._targets, "tomorrow", f"{__name__}:Tomorrow")
    found = ranked(advice.facts)
    assert found[0].method == "tomorrow"
    assert len(found) == len(advice.ranked) + 1
