from dataclasses import replace

import pytest

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.plan.recipe import Recipe

RECIPE = Recipe(
    engine="onnxruntime",
    plan=EnginePlan(threads=1, without=("SomeFusion",)),
    rewrites=("standard",),
    compressor="int8-dynamic",
)


MIXED = replace(RECIPE, kept=("conv1", "head"))


STUDENT = replace(RECIPE, student=(50, 65, "2:4"), taught=True, small_tables=True)


@pytest.mark.parametrize("recipe", [RECIPE, MIXED, STUDENT])
def test_it_survives_json(recipe):
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_a_record_from_before_nodes_could_be_kept_is_read():
    record = RECIPE.to_json()
    del record["kept"]
    assert Recipe.from_json(record) == RECIPE


def test_nodes_that_are_kept_make_another_graph_and_another_name():
    assert "int8-dynamic but 2 nodes" in MIXED.name
    others = [replace(RECIPE, kept=kept) for kept in (("conv1",), ("head",), ("conv1", "head"))]
    assert len({recipe.graph_key for recipe in (RECIPE, *others)}) == 4


def test_its_name_says_everything():
    assert RECIPE.name == "standard · int8-dynamic · onnxruntime · 1 thread · without SomeFusion"
    assert STUDENT.name.startswith("slim 50·65 % · sparse 2:4 · standard · int8-dynamic taught + i")
    longer = replace(RECIPE, student=(50, "longer", 65))
    assert longer.name.startswith("slim 50 % · taught longer · slim 65 % · standard")
    assert STUDENT.graph_key == ("student-50-65-2of4+standard+int8-dynamic-taught-tables"), (
        "a name that every file system takes"
    )


def test_recipes_that_differ_in_the_engine_alone_share_their_graph():
    other = Recipe(
        engine="openvino", plan=EnginePlan(), rewrites=("standard",), compressor="int8-dynamic"
    )
    assert other.graph_key == RECIPE.graph_key
    assert other.key != RECIPE.key
