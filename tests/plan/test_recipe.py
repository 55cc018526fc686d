from lepton_ai.engines.engine import EnginePlan
from lepton_ai.plan.recipe import Recipe

RECIPE = Recipe(
    engine="onnxruntime",
    plan=EnginePlan(threads=1, without=("SomeFusion",)),
    rewrites=("standard",),
    compressor="int8-dynamic",
)


def test_it_survives_json():
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE


def test_its_name_says_everything():
    assert RECIPE.name == "standard · int8-dynamic · onnxruntime · 1 thread · without SomeFusion"


def test_recipes_that_differ_in_the_engine_alone_share_their_graph():
    other = Recipe(
        engine="openvino", plan=EnginePlan(), rewrites=("standard",), compressor="int8-dynamic"
    )
    assert other.graph_key == RECIPE.graph_key
    assert other.key != RECIPE.key
