import pytest

from lepton_ai.errors import BudgetError
from lepton_ai.plan.budget import Budget


def test_the_default_makes_sense():
    assert Budget().check() == Budget()


@pytest.mark.parametrize(
    "bad",
    [
        {"max_drop": -0.1},
        {"max_drop": float("nan")},
        {"confidence": 1.0},
        {"confidence": 0.4},
        {"minutes": 0},
        {"minutes": float("inf")},
        {"max_latency_ms": 0},
        {"max_size_mb": -1},
        {"max_transfer_mb": 0},
        {"max_memory_mb": 0},
    ],
)
def test_what_has_no_meaning_is_refused_by_name(bad):
    with pytest.raises(BudgetError, match=next(iter(bad))):
        Budget(**bad).check()


def test_it_survives_json():
    budget = Budget(max_drop=0.02, max_size_mb=3.0)
    assert Budget(**budget.to_json()) == budget
