"""Each method's estimate: of facts that were measured, and of the same with one thing changed."""

import math
from dataclasses import replace

import pytest

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.plan.advising.facts import Facts, Noise, Piece, Teachable
from lepton_ai.plan.advising.method import DERIVED, GUESSED, MEASURED, Estimate, methods
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, FAILED, REJECTED, Trial

PLAN = EnginePlan(threads=2)


@pytest.fixture
def facts(advice) -> Facts:
    return advice.facts


def estimate(name: str, facts: Facts) -> Estimate:
    return methods.get(name)().estimate(facts)


def of(facts: Facts, compressor: str | None, *, precision: str = "fp32") -> Trial:
    """The trial of ``compressor`` that was made."""
    for trial in facts.trials:
        recipe = trial.recipe
        if recipe.compressor == compressor and recipe.plan.precision == precision:
            return trial
    raise AssertionError(f"{compressor} was not tried")


def plain_in(engine: str, ratio: float) -> Trial:
    """The plain graph in an engine, as if it were equal."""
    recipe = Recipe(engine=engine, plan=PLAN)
    return Trial(recipe=recipe, verdict=CANDIDATE, why="equal", equal=True, ratio=ratio)


def without(facts: Facts, compressor: str) -> Facts:
    """``facts`` as if there had been no time to try ``compressor``."""
    kept = tuple(t for t in facts.trials if t.recipe.compressor != compressor)
    return replace(facts, trials=kept)


def piece(operator: str, share: float, **is_) -> Piece:
    told = {"operator": operator, "share": share, "nodes": (), "intensity": 50.0}
    return Piece(**{**told, "removable": False, "redundant": False, **is_})


def with_int8_harmed(facts: Facts, *, ratio: float = 0.4, drop: float = 0.2) -> Facts:
    """``facts`` as if static int8 were fast, and lost ``drop``."""
    trial = of(facts, "int8-static-ort")
    assert trial.measurement is not None
    harmed = replace(
        trial,
        ratio=ratio,
        likely_bound=None,
        verdict=REJECTED,
        why=f"loses {drop:.4f}",
        measurement=replace(trial.measurement, drop=drop),
    )
    return replace(without(facts, "int8-static-ort"), trials=(harmed,))


@pytest.mark.parametrize("name", methods.names())
def test_a_method_says_what_it_thinks_of_a_network(name, facts):
    found = estimate(name, facts)
    assert found.method == methods.get(name).name == name
    assert found.against or found.reasons
    assert all(math.isfinite(v) for v in (found.ratio, found.bytes_ratio, found.minutes))
    assert found.ratio > 0
    assert found.bytes_ratio > 0
    assert found.minutes >= 0
    assert 0 <= found.chance <= 1
    assert found.basis in (MEASURED, DERIVED, GUESSED)


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        ({}, "another-engine"),
        ({"rewrites": ("standard",)}, "graph-rewrites"),
        ({"plan": EnginePlan(threads=2, precision="bf16")}, "lower-precision"),
        ({"compressor": "int8-dynamic", "rewrites": ("standard",)}, "int8-dynamic"),
        ({"compressor": "int8-static-ort"}, "int8-static-ort"),
        ({"compressor": "int8-static-nncf"}, "int8-static-nncf"),
        ({"compressor": "int8-static-nncf-minmax"}, "int8-mended"),
        ({"compressor": "int8-static-ort", "kept": ("a",)}, "int8-mended"),
        ({"compressor": "int8-static-ort", "rewrites": ("equalise-channels",)}, "int8-mended"),
        ({"compressor": "int8-static-ort", "taught": True}, "int8-taught"),
        ({"student": (50,), "compressor": "int8-static-ort"}, "slim"),
        ({"student": (50,)}, "slim"),
        ({"compressor": "fp16-weights"}, "fp16-weights"),
        ({"compressor": "int8-weights"}, "int8-weights"),
        ({"compressor": "int4-weights"}, "int4-weights"),
    ],
)
def test_each_recipe_is_of_one_method(recipe, name):
    whole = Recipe(**{"engine": "openvino", "plan": PLAN, **recipe})
    assert [key for key, kind in methods.items() if kind().covers(whole)] == [name]


def test_another_engine_is_what_a_race_says(facts):
    assert "no other engine" in estimate("another-engine", facts).against
    other = plain_in("openvino", 0.6)
    found = estimate("another-engine", replace(facts, trials=(*facts.trials, other)))
    assert (found.ratio, found.chance, found.basis) == (0.6, 1.0, MEASURED)


def test_lower_precision_needs_an_engine_that_computes_it(facts):
    assert "below fp32" in estimate("lower-precision", facts).against
    able = replace(facts, precisions={"openvino": ("fp32", "bf16")}, isa=("amx_bf16",))
    found = estimate("lower-precision", able)
    assert found.basis == GUESSED
    assert found.ratio < 0.8
    assert found.bytes_ratio == 1.0
    slower = estimate("lower-precision", replace(able, isa=("avx2",)))
    assert found.ratio < slower.ratio


def test_int8_that_was_tried_is_measured(facts):
    found = estimate("int8-static-ort", facts)
    trial = of(facts, "int8-static-ort")
    assert found.basis == MEASURED
    assert found.ratio == trial.ratio
    assert found.bytes_ratio < 0.5
    assert any("signal to noise" in reason for reason in found.reasons)


@pytest.mark.parametrize("name", ["int8-dynamic", "int8-static-ort"])
def test_int8_that_was_not_tried_is_guessed_by_the_instruction_set(name, facts):
    pieces = (piece("MatMul", 0.9), piece("Softmax", 0.1))
    untried = replace(facts, trials=(), pieces=pieces)
    with_vnni = estimate(name, replace(untried, isa=("avx2", "avx512_vnni")))
    with_none = estimate(name, replace(untried, isa=("avx2",)))
    assert with_vnni.basis == with_none.basis == GUESSED
    assert 0.1 < with_vnni.ratio < with_none.ratio <= 1


def test_dynamic_int8_slows_convolutions_and_static_int8_does_not(facts):
    conv = replace(facts, trials=(), pieces=(piece("Conv", 1.0),))
    assert estimate("int8-dynamic", conv).ratio > 2
    assert estimate("int8-static-ort", conv).ratio < 1
    products = replace(conv, pieces=(piece("MatMul", 1.0),), isa=("avx512_vnni",))
    assert (
        estimate("int8-static-ort", products).ratio < estimate("int8-dynamic", products).ratio < 1
    )


def test_what_is_guessed_is_gained_on_top_of_the_fastest_engine(facts):
    both = {"onnxruntime": ("fp32",), "openvino": ("fp32", "bf16")}
    alone = replace(facts, trials=(), precisions=both)
    beside = replace(alone, trials=(plain_in("openvino", 0.5),))
    for name in ("int8-static-ort", "int8-dynamic"):
        faster = estimate(name, beside).ratio / estimate(name, alone).ratio
        assert faster == pytest.approx(0.5)
    assert estimate("lower-precision", beside).ratio == pytest.approx(
        0.5 * estimate("lower-precision", alone).ratio
    ), "in the engine that computes it, which was not timed before"


def test_nncf_is_derived_of_the_other_quantiser(facts):
    found = estimate("int8-static-nncf", facts)
    assert found.basis == DERIVED
    assert found.ratio == of(facts, "int8-static-ort").ratio
    harmed = estimate("int8-static-nncf", with_int8_harmed(facts))
    assert 0.05 < harmed.chance < found.chance


def test_a_compressor_that_failed_is_refused_with_its_reason(facts):
    recipe = of(facts, "int8-dynamic").recipe
    failed = Trial(recipe=recipe, verdict=FAILED, why="it has no weights")
    found = estimate("int8-dynamic", replace(facts, trials=(failed,)))
    assert found.against == "it has no weights"


def test_int8_is_mended_by_the_nodes_that_suffer(facts):
    assert "needs no mending" in estimate("int8-mended", facts).against
    harmed = with_int8_harmed(facts)
    one_suffers = Noise(
        compressor="int8-static-ort", whole=0.5, nodes=(("n2", 0.5), ("n4", 1e-5), ("n0", 1e-6))
    )
    one = estimate("int8-mended", replace(harmed, noise=one_suffers))
    assert one.basis == DERIVED
    assert "with 1 of 3 nodes" in one.reasons[0]
    assert 0.4 < one.ratio < 1
    all_suffer = Noise(
        compressor="int8-static-ort", whole=1.5, nodes=(("n2", 0.5), ("n4", 0.5), ("n0", 0.5))
    )
    every = estimate("int8-mended", replace(harmed, noise=all_suffer))
    assert every.ratio > one.ratio
    assert every.chance < one.chance


def test_mending_is_of_no_use_where_int8_is_slow(facts):
    slow = with_int8_harmed(facts, ratio=1.2)
    assert "not faster" in estimate("int8-mended", slow).against
    assert "not faster" in estimate("int8-taught", slow).against


def test_teaching_takes_the_minutes_of_its_steps(facts):
    assert facts.teachable is not None
    assert facts.teachable.seconds_per_sample is not None
    harmed = with_int8_harmed(facts)
    quick = replace(harmed, teachable=Teachable(seconds_per_sample=0.01))
    slow = replace(harmed, teachable=Teachable(seconds_per_sample=1.0))
    never = replace(harmed, teachable=Teachable(seconds_per_sample=None, why_not="it is odd"))
    for name in ("int8-taught", "slim"):
        assert estimate(name, slow).minutes > 5 * estimate(name, quick).minutes
        assert "it is odd" in estimate(name, never).against


def test_what_cannot_be_thinned_is_not_advised_to_be(facts):
    share = sum(piece.share for piece in facts.pieces if piece.removable)
    assert share > 0.5, "the convolutions have channels that can go"
    found = estimate("slim", facts)
    assert found.ratio < 1 - share / 2 + 0.01
    fixed = tuple(replace(piece, removable=False) for piece in facts.pieces)
    assert "0% of the time" in estimate("slim", replace(facts, pieces=fixed)).against


def test_rewrites_are_guessed_by_what_an_inspection_found(facts):
    plain = replace(facts, trials=())
    assert facts.graph is not None
    none = replace(plain, graph=replace(facts.graph, findings=0))
    assert "nothing redundant" in estimate("graph-rewrites", none).against
    half = (piece("Add", 0.5, redundant=True), piece("Conv", 0.5))
    some = replace(plain, graph=replace(facts.graph, findings=3), pieces=half)
    found = estimate("graph-rewrites", some)
    assert 0.5 < found.ratio < 1
    assert found.equal


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("fp16-weights", 0.4, 0.6),
        ("int8-weights", 0.2, 0.4),
        ("int4-weights", 0.1, 0.3),
    ],
)
def test_storages_save_bytes_and_no_time(name, least, most, facts):
    found = estimate(name, facts)
    assert found.ratio == 1.0
    assert least < found.bytes_ratio < most
