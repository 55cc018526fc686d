from hypothesis import given
from hypothesis import strategies as st

from lepton_ai import Budget
from lepton_ai.engines.engine import EnginePlan
from lepton_ai.plan.following import followed, key_of
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, Trial

NAMES = ("int8-dynamic", "int8-static-ort", "int8-static-nncf")
ENGINES = ("onnxruntime", "openvino")


def recipe(compressor: str | None, engine: str, precision: str = "fp32") -> Recipe:
    plan = EnginePlan(threads=2, precision=precision)
    return Recipe(compressor=compressor, engine=engine, plan=plan)


def trial(engine: str, ratio: float) -> Trial:
    return Trial(recipe=recipe(None, engine), verdict=CANDIDATE, why="", ratio=ratio)


RECIPES = [recipe(name, engine) for name in NAMES for engine in ENGINES]


def test_without_advice_and_trials_nothing_changes():
    assert followed(RECIPES, None, []) == RECIPES
    assert followed([], {"int8-dynamic": 0.5}, []) == []


def test_what_is_expected_to_be_fast_is_tried_first():
    advice = {"int8-static-nncf": 0.3, "int8-dynamic": 0.9, "int8-static-ort": 0.5}
    found = followed(RECIPES, advice, [])
    assert [each.compressor for each in found[::2]] == [NAMES[2], NAMES[1], NAMES[0]]


def test_what_advice_does_not_know_is_taken_to_gain_nothing():
    found = followed(RECIPES, {"int8-static-nncf": 0.3, "int8-dynamic": 1.4}, [])
    assert [each.compressor for each in found[::2]] == [NAMES[2], NAMES[1], NAMES[0]]


def test_an_engine_that_is_far_behind_comes_last_within_a_compressor():
    trials = [trial("onnxruntime", 3.0), trial("openvino", 1.0)]
    found = followed(RECIPES, None, trials)
    assert [each.engine for each in found] == ["openvino", "onnxruntime"] * 3
    near = [trial("onnxruntime", 1.2), trial("openvino", 1.0)]
    assert followed(RECIPES, None, near) == RECIPES


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0.1, 3.0)), st.floats(0.1, 10))
def test_nothing_is_lost_and_precisions_stay_in_their_order(advice, ratio):
    recipes = [recipe(n, e, p) for n in NAMES for e in ENGINES for p in ("fp32", "bf16")]
    found = followed(recipes, advice, [trial("onnxruntime", ratio), trial("openvino", 1.0)])
    assert sorted(r.key for r in found) == sorted(r.key for r in recipes)
    for name in NAMES:
        for engine in ENGINES:
            of_it = [r for r in found if (r.compressor, r.engine) == (name, engine)]
            assert [r.plan.precision for r in of_it] == ["fp32", "bf16"]


def test_advice_is_for_one_budget():
    assert key_of(Budget()) == key_of(Budget())
    assert key_of(Budget()) != key_of(Budget(max_size_mb=1.0))
