"""How many nodes are put back, and of which graphs."""

from dataclasses import replace

import pytest

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.measure.measurement import Latency, Measurement
from lepton_ai.plan.mixing import (
    disappoints,
    harmed,
    in_words,
    least_harmed,
    mixed,
    with_other_ranges,
)
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, FAILED, REJECTED, Trial

BASE = Recipe(engine="openvino", plan=EnginePlan(threads=2), compressor="int8-static-nncf")
NODES = [f"node{number}" for number in range(40)]


def trial(verdict=REJECTED, *, ratio=0.5, bound=None, **recipe) -> Trial:
    return Trial(
        recipe=replace(BASE, **recipe), verdict=verdict, why="", ratio=ratio, likely_bound=bound
    )


def measurement(drop: float) -> Measurement:
    return Measurement(
        latency=Latency(p50_ms=1.0, p90_ms=1.0, p99_ms=1.0, low_ms=1.0, high_ms=1.0, runs=1),
        throughput=1.0,
        bytes_on_disk=1,
        bytes_to_transfer=1,
        peak_memory_mb=None,
        load_seconds=0.0,
        score=1.0,
        drop=drop,
        samples=1,
        machine="",
    )


def counts(mends_from: int) -> list[int]:
    """How many nodes were kept in each try, where ``mends_from`` of them and more are enough."""
    return [
        len(recipe.kept)
        for recipe in mixed(BASE, NODES, lambda recipe: len(recipe.kept) >= mends_from)
    ]


@pytest.mark.parametrize("mends_from", range(1, 17))
def test_the_fewest_are_found_within_a_share(mends_from):
    tried = counts(mends_from)
    mended = min(count for count in tried if count >= mends_from)
    assert mended - mends_from <= 0.15 * mended
    assert len(tried) <= 8
    assert len(set(tried)) == len(tried)


def test_the_worst_are_kept_first():
    for recipe in mixed(BASE, NODES, lambda _: False):
        assert recipe.kept == tuple(NODES[: len(recipe.kept)])


def test_with_half_of_the_nodes_back_it_is_given_up():
    assert counts(1000) == [1, 2, 4, 8, 16]


def test_it_ends_where_going_on_is_of_no_use():
    tried = list(mixed(BASE, NODES, lambda recipe: None if len(recipe.kept) == 4 else False))
    assert [len(recipe.kept) for recipe in tried] == [1, 2, 4]


def test_it_ends_too_where_the_minutes_run_out_while_the_fewest_are_looked_for():
    outcomes = {1: False, 2: False, 4: False, 8: True, 6: None}
    tried = [
        len(recipe.kept) for recipe in mixed(BASE, NODES, lambda recipe: outcomes[len(recipe.kept)])
    ]
    assert tried == [1, 2, 4, 8, 6]


def test_a_graph_without_nodes_to_put_back_is_left():
    assert not list(mixed(BASE, [], lambda _: True))


def test_the_fastest_harmed_graph_of_each_compressor_is_taken():
    best = trial(CANDIDATE, ratio=0.7, bound=0.0, compressor=None)
    found = harmed(
        [
            best,
            trial(ratio=0.4),
            trial(ratio=0.3, engine="onnxruntime"),
            trial(ratio=0.35, compressor="int8-static-ort", bound=0.2),
            trial(ratio=0.2, compressor="int8-dynamic", bound=0.001),
            trial(FAILED, ratio=None, compressor="another"),
            trial(ratio=0.1, kept=("node1",)),
            trial(ratio=0.1, compressor="int8-weights"),
        ],
        best,
        0.01,
    )
    assert [(recipe.engine, recipe.compressor) for recipe in found] == [
        ("onnxruntime", "int8-static-nncf"),
        ("openvino", "int8-static-ort"),
    ]


def test_what_is_slower_than_the_best_in_hand_is_not_mended():
    best = trial(CANDIDATE, ratio=0.3, bound=0.0, compressor=None)
    assert harmed([best, trial(ratio=0.31)], best, 0.01) == []


def test_those_that_suffer_are_named_with_what_is_left_of_the_signal():
    words = in_words([("conv3", 0.5), ("conv1", 0.001), ("head", 1e-4), ("other", 1e-5)])
    assert words == "int8 disturbs 'conv3' (3 dB) and 'conv1' (30 dB) and 'head' (40 dB) most"
    assert "(not finite)" in in_words([("conv3", float("inf"))])


def test_other_ranges_are_those_of_the_same_quantiser():
    found = [recipe.compressor for recipe in with_other_ranges(BASE)]
    assert found == ["int8-static-nncf-minmax"]
    assert with_other_ranges(replace(BASE, compressor="int8-static-nncf-minmax")) == []
    assert with_other_ranges(replace(BASE, compressor=None)) == []


def test_nodes_are_put_back_into_what_lost_least():
    other = replace(BASE, compressor="int8-static-nncf-minmax")
    measured = {
        BASE: replace(trial(), measurement=measurement(drop=0.2)),
        other: replace(trial(compressor=other.compressor), measurement=measurement(drop=0.1)),
    }
    assert least_harmed([BASE, other], list(measured.values())) == other
    assert least_harmed([BASE, other], [measured[BASE]]) == BASE
    assert least_harmed([BASE, other], []) == BASE


@pytest.mark.parametrize(("ratio", "slow"), [(0.9, True), (0.4, False)])
def test_int8_disappoints_beside_floating_point_in_its_own_engine(ratio, slow):
    plain = trial(CANDIDATE, ratio=1.0, compressor=None)
    mine = trial(CANDIDATE, ratio=ratio, compressor="int8-static-ort")
    elsewhere = trial(CANDIDATE, ratio=0.1, engine="onnxruntime", compressor=None)
    student = trial(CANDIDATE, ratio=0.1, student=(50,), compressor=None)
    assert disappoints(mine.recipe, [plain, mine, elsewhere, student]) == slow
