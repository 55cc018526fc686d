from pathlib import Path

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.plan import space
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, FAILED, REJECTED, Trial


def trial(verdict=CANDIDATE, *, equal=False, ratio=1.0, **recipe) -> Trial:
    plan = EnginePlan(threads=2, precision=recipe.pop("precision", "fp32"))
    recipe = Recipe(**{"engine": "onnxruntime", "plan": plan, **recipe})
    return Trial(recipe=recipe, verdict=verdict, why="because", equal=equal, ratio=ratio)


def test_the_plain_graph_goes_into_every_engine_that_ships():
    assert {r.engine for r in space.plain(2)} == {"onnxruntime", "openvino"}
    assert all(r.rewrites == () and r.compressor is None for r in space.plain(2))


def test_a_rewrite_for_one_engine_is_tried_in_that_engine_alone():
    fused = [r for r in space.rewritten(2) if "fuse-attention" in r.rewrites]
    assert [r.engine for r in fused] == ["onnxruntime"]


def test_compressors_build_on_the_clean_graph_only_if_the_gate_let_it_through():
    passed = [trial(equal=True, rewrites=("clean",))]
    stopped = [trial(REJECTED, rewrites=("clean",))]
    assert space.base_of(passed) == ("clean",)
    assert space.base_of(stopped) == ()
    assert all(r.rewrites == ("clean",) for r in space.compressed(2, passed))
    assert all(r.rewrites == () for r in space.compressed(2, stopped))


def test_compressors_are_also_tried_on_an_engines_own_fused_graph():
    chain = ("clean", "fuse-attention")
    recipes = space.compressed(2, [trial(equal=True, rewrites=chain)])
    fused = [r for r in recipes if r.rewrites == chain]
    assert {r.engine for r in fused} == {"onnxruntime"}
    assert {r.compressor for r in fused} == {
        "int8-dynamic",
        "int8-static-ort",
        "int8-static-nncf",
    }


def test_no_recipe_occurs_twice_and_names_and_keys_tell_them_apart():
    recipes = [
        *space.plain(2),
        *space.rewritten(2),
        *space.lower_precision(2, []),
        *space.compressed(2, [trial(equal=True, rewrites=("clean", "fuse-attention"))]),
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


def test_other_plans_are_measured_for_the_fastest_and_the_fastest_equal_one(tmp_path: Path):
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"LayerNormalization")
    best = [
        trial(compressor="int8-dynamic", ratio=0.4),
        trial(compressor="int8-dynamic", rewrites=("clean",), ratio=0.5),
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
    graph.write_bytes(b"Relu")
    assert not any(r.plan.without for r in space.planned_anew(best, lambda _: graph))
