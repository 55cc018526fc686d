from dataclasses import replace
from types import SimpleNamespace

import pytest

from lepton_ai.engines.engine import EnginePlan
from lepton_ai.plan import classroom, space, students
from lepton_ai.plan.recipe import Recipe
from lepton_ai.plan.trial import CANDIDATE, FAILED, REJECTED, Trial


def trial(verdict=CANDIDATE, *, ratio=1.0, precision="fp32", **recipe) -> Trial:
    plan = EnginePlan(threads=2, precision=precision)
    recipe = Recipe(**{"engine": "onnxruntime", "plan": plan, **recipe})
    return Trial(recipe=recipe, verdict=verdict, why="because", ratio=ratio)


@pytest.mark.parametrize(
    ("tried", "next_one"),
    [
        ([], (50,)),
        ([((50,), True)], (50, 65)),
        ([((50,), True), ((50, 65), True)], (50, 65, 65)),
        ([((50,), False)], (50, "longer")),
        ([((50,), False), ((50, "longer"), True)], (50, "longer", 65)),
        ([((50,), False), ((50, "longer"), False)], (75,)),
        ([((75,), True)], (75, 65)),
        ([((75, "longer"), False)], None),
        ([((50, 65), False)], (50, 65, "longer")),
        ([((50, 65, "longer"), False)], (50, 85)),
        ([((50, 85, "longer"), False)], None),
    ],
)
def test_what_kept_the_budget_is_thinned_further(tried, next_one):
    assert students.following(tried) == next_one


def test_a_student_gets_its_share_of_what_is_left_if_that_is_enough():
    assert students.seconds_for((50,), 600) == 180
    assert students.seconds_for((50, 65), 600) == 300
    assert students.seconds_for((75,), 60) == 45
    assert students.seconds_for((50,), 20) is None


def test_what_is_to_be_fast_is_made_as_the_fastest_in_an_engine_that_tells_its_times():
    best = [
        trial(engine="xla", ratio=0.1),
        trial(ratio=0.3, compressor="int8-static-ort", kept=("a",), rewrites=("standard",)),
    ]
    found = students.like(best, best)
    assert found is not None
    assert (found.engine, found.compressor, found.kept) == ("onnxruntime", "int8-static-ort", ())
    assert found.rewrites == ("standard",)
    assert students.like([], [trial(engine="xla")]) is None


def test_a_student_is_tried_in_the_forms_that_were_fastest():
    trials = [
        trial(ratio=0.9, rewrites=("standard",)),
        trial(REJECTED, ratio=0.5, compressor="int8-static-ort", rewrites=("standard",)),
        trial(REJECTED, ratio=0.6, compressor="int8-static-ort"),
        trial(ratio=0.7, compressor="int8-static-ort", kept=("a",)),
        trial(ratio=0.55, compressor="int8-static-nncf", engine="openvino", precision="bf16"),
        trial(ratio=20.0, compressor="int8-dynamic"),
        trial(FAILED, ratio=None, compressor="int8-static-nncf"),
        trial(ratio=0.2, student=(50,)),
    ]
    recipes = space.of_student((50, 65), trials)
    assert [(r.engine, r.compressor, r.plan.precision) for r in recipes] == [
        ("onnxruntime", "int8-static-ort", "fp32"),
        ("openvino", "int8-static-nncf", "bf16"),
        ("onnxruntime", None, "fp32"),
    ]
    assert all(recipe.student == (50, 65) and recipe.rewrites == () for recipe in recipes)


def test_a_student_and_what_was_taught_have_names_and_keys_of_their_own():
    plan = EnginePlan(threads=2)
    plain = Recipe(engine="onnxruntime", plan=plan, compressor="int8-static-ort")
    student = Recipe(
        engine="onnxruntime", plan=plan, compressor="int8-static-ort", student=(50, 65), taught=True
    )
    assert student.name == "slim 50·65 % · int8-static-ort taught · onnxruntime · 2 threads"
    assert student.graph_key == "student-50-65+int8-static-ort-taught"
    assert len({plain.key, student.key}) == 2
    assert Recipe.from_json(student.to_json()) == student
    assert Recipe.from_json({**plain.to_json(), "student": []}) == plain


def sized(student, megabytes) -> Trial:
    measured = SimpleNamespace(bytes_to_transfer=megabytes * 1e6)
    return replace(trial(student=student), measurement=measured)


def test_zeros_go_into_what_takes_the_fewest_bytes_and_only_once():
    found = students.sparser([sized((50,), 3), sized((50, 65), 2), sized((50, "2:4"), 1)], 0.5)
    assert found == [(50, 65, "half"), (50, 65, "2:4")]
    assert students.sparser([sized((), 9)], 8.0) == [("half",), ("2:4",)]
    assert students.sparser([sized((), 9)], 10.0) == []


@pytest.mark.parametrize(
    ("seconds", "each", "batch"), [(400, 1 / 32, 32), (400, 0.1, 8), (9, 9, 4)]
)
def test_a_step_takes_as_many_samples_as_leave_enough_steps(seconds, each, batch):
    assert classroom._batch(seconds, each) == batch
