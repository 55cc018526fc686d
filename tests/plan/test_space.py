from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from onnx import parser

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.errors import UnknownNameError
from lepton_ai.graph.rewrite import rewrites
from lepton_ai.plan import space
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, FAILED, REJECTED, Trial

BOTH = ("onnxruntime", "openvino")


def trial(verdict=CANDIDATE, *, equal=False, ratio=1.0, **recipe) -> Trial:
    plan = EnginePlan(threads=2, precision=recipe.pop("precision", "fp32"))
    recipe = Recipe(**{"engine": "onnxruntime", "plan": plan, **recipe})
    return Trial(recipe=recipe, verdict=verdict, why="because", equal=equal, ratio=ratio)


def test_the_plain_graph_goes_into_every_engine_that_ships():
    assert {r.engine for r in space.plain(space.asked_engines(None), 2)} == set(BOTH)
    assert all(r.rewrites == () and r.compressor is None for r in space.plain(BOTH, 2))


def test_engines_that_are_named_are_those_that_are_tried():
    assert space.asked_engines(["openvino", "openvino"]) == ("openvino",)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["tensorflow"], "known are"),
        (["reference"], "goes into no bundle"),
        (["ctranslate2"], "takes no graph"),
        ([], "a list of names"),
        ("openvino", "a list of names"),
    ],
)
def test_engines_that_cannot_be_tried_are_refused(names, why):
    with pytest.raises(UnknownNameError, match=why):
        space.asked_engines(names)


def everything(recipe: Recipe) -> Sequence[str]:
    """As if every rewrite that the engine wants would fire."""
    return rewrites(recipe.engine)[1:]


def test_a_rewrite_for_one_engine_is_tried_in_that_engine_on_top_of_the_fastest():
    best = [
        trial(compressor="int8-dynamic", rewrites=("standard",), ratio=0.4),
        trial(equal=True, engine="openvino", rewrites=("standard",), ratio=0.8),
        trial(equal=True, rewrites=("standard",), ratio=0.9),
    ]
    recipes = space.for_one_engine(best, everything)
    assert {(r.engine, r.compressor) for r in recipes} == {
        ("onnxruntime", "int8-dynamic"),
        ("openvino", None),
    }
    for recipe in recipes:
        assert recipe.rewrites[:-1] == ("standard",)
        assert recipe.rewrites[-1] in rewrites(recipe.engine)[1:]


def test_a_rewrite_that_would_not_fire_is_not_tried():
    assert space.for_one_engine([trial(equal=True)], lambda recipe: ()) == []
    assert space.for_one_engine([], everything) == []


def test_one_engines_rewrites_are_tried_together_if_they_were_faster_alone():
    trials = [
        trial(equal=True, rewrites=("standard",), ratio=0.9),
        trial(equal=True, rewrites=("standard", "fuse-attention"), ratio=0.8),
        trial(equal=True, rewrites=("standard", "swish"), ratio=0.95),
        trial(REJECTED, rewrites=("standard", "global-pooling"), ratio=0.5),
        trial(compressor="int8-dynamic", rewrites=("standard", "ort-skip-norm"), ratio=0.3),
    ]
    assert space.combined(trials) == []
    trials.append(trial(equal=True, rewrites=("standard", "merge-siblings"), ratio=0.85))
    together = ("standard", "fuse-attention", "merge-siblings")
    assert [r.rewrites for r in space.combined(trials)] == [together]


def test_compressors_build_on_the_rewritten_graph_only_if_the_gate_let_it_through():
    passed = [trial(equal=True, rewrites=("standard",))]
    stopped = [trial(REJECTED, rewrites=("standard",))]
    assert space.base_of(passed, "onnxruntime") == ("standard",)
    assert space.base_of(stopped, "onnxruntime") == ()
    of_one = [r for r in space.compressed(BOTH, 2, passed) if r.engine == "onnxruntime"]
    assert {r.rewrites for r in of_one} == {("standard",)}
    assert {r.rewrites for r in space.compressed(BOTH, 2, stopped)} == {()}


def test_what_saves_bytes_alone_is_tried_where_the_size_counts():
    def tried(**budget: bool) -> set[str | None]:
        return {recipe.compressor for recipe in space.compressed(BOTH, 2, [], **budget)}

    assert tried(for_size=True) - tried() == {"fp16-weights", "int8-weights", "int4-weights"}


def test_other_ranges_are_not_tried_before_the_plain_ones_have_harmed():
    tried = {recipe.compressor for recipe in space.compressed(BOTH, 2, [], for_size=True)}
    assert "int8-static-nncf" in tried
    assert "int8-static-nncf-minmax" not in tried


def test_a_rewritten_graph_that_is_slower_in_an_engine_is_not_built_on_there():
    trials = [
        trial(equal=True, ratio=1.0),
        trial(equal=True, rewrites=("standard",), ratio=1.2),
        trial(equal=True, engine="openvino", ratio=1.0),
        trial(equal=True, engine="openvino", rewrites=("standard",), ratio=1.02),
    ]
    assert space.base_of(trials, "onnxruntime") == ()
    assert space.base_of(trials, "openvino") == ("standard",)


def test_no_recipe_occurs_twice_and_names_and_keys_tell_them_apart():
    recipes = [
        *space.plain(BOTH, 2),
        *space.standard(BOTH, 2),
        *space.for_one_engine([trial(equal=True, rewrites=("standard",))], everything),
        *space.lower_precision(BOTH, 2, []),
        *space.compressed(BOTH, 2, [trial(equal=True, rewrites=("standard",))]),
    ]
    assert len({r.name for r in recipes}) == len({r.key for r in recipes}) == len(recipes)


def test_lower_precision_is_not_tried_where_fp32_failed_already():
    low = trial(compressor="int8-dynamic", engine="openvino", precision="bf16").recipe
    for verdict in (REJECTED, FAILED):
        failed = [trial(verdict, compressor="int8-dynamic", engine="openvino")]
        assert "because" in (space.not_worth_it(low, failed) or "")
    worked = [trial(compressor="int8-dynamic", engine="openvino")]
    assert space.not_worth_it(low, worked) is None
    assert space.not_worth_it(worked[0].recipe, []) is None


def of_one_node(path: Path, call: str) -> Path:
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y)'
    onnx.save(parser.parse_model(f"{head} {{ y = {call} }}"), path)
    return path


def test_other_plans_are_measured_for_the_fastest_and_the_fastest_equal_one(tmp_path: Path):
    graph = of_one_node(tmp_path / "norm.onnx", "LayerNormalization (x, x)")
    best = [
        trial(compressor="int8-dynamic", ratio=0.4),
        trial(compressor="int8-dynamic", rewrites=("standard",), ratio=0.5),
        trial(compressor="int8-static-ort", ratio=0.6),
        trial(engine="openvino", precision="bf16", ratio=0.7),
        trial(compressor="int8-static-nncf", ratio=0.8),
        trial(equal=True),
    ]
    recipes = space.planned_anew(best, lambda _: graph)
    planned = {(r.compressor, r.rewrites, r.engine) for r in recipes}
    assert planned == {
        ("int8-dynamic", (), "onnxruntime"),
        ("int8-static-ort", (), "onnxruntime"),
        (None, (), "openvino"),
        (None, (), "onnxruntime"),
    }
    assert all(r.plan != EnginePlan(threads=2) for r in recipes)
    assert any(r.plan.without for r in recipes)
    graph = of_one_node(tmp_path / "relu.onnx", "Relu (x)")
    assert not any(r.plan.without for r in space.planned_anew(best, lambda _: graph))


def test_what_is_too_large_gets_smaller_tables_but_for_what_is_stored_small_already():
    trials = [trial(compressor="int8-static-ort"), trial(compressor="int4-weights"), trial()]
    found = space.with_small_tables(trials)
    assert [(r.compressor, r.small_tables) for r in found] == [
        ("int8-static-ort", True),
        (None, True),
    ]
