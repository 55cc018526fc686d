from pathlib import Path

import pytest
import torch

from lepton_ai.errors import DivergedError
from lepton_ai.train.loop import Loop, TrainConfig


def loop_of(steps: int = 20) -> tuple[Loop, torch.nn.Linear]:
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 1)
    return Loop(module, steps=steps, config=TrainConfig(learning_rate=0.1)), module


def advance(loop: Loop, module: torch.nn.Linear, steps: int) -> list[float]:
    x = torch.ones(4, 3)
    return [loop.advance(lambda: (module(x) - 2.0).square().mean()) for _ in range(steps)]


def test_it_goes_on_from_where_it_was_saved(tmp_path: Path):
    whole, kept = loop_of()
    advance(whole, kept, 20)
    first, module = loop_of()
    advance(first, module, 7)
    first.save(tmp_path / "state")
    second, resumed = loop_of()
    second.resume(tmp_path / "state")
    assert second.step == 7
    advance(second, resumed, 13)
    assert torch.allclose(kept.weight, resumed.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_schedule_can_end_sooner_and_the_rate_falls_to_zero_all_the_same(tmp_path: Path):
    loop, module = loop_of(1000)
    advance(loop, module, 200)
    loop.end_after(10)
    assert loop.steps == 210
    loop.save(tmp_path / "state")
    again, other = loop_of(1000)
    again.resume(tmp_path / "state")
    assert again.steps == 210
    advance(again, other, 10)
    before = other.weight.detach().clone()
    advance(again, other, 1)
    assert torch.equal(before, other.weight), "beyond the end nothing moves"


def test_a_schedule_never_gets_longer():
    loop, module = loop_of(20)
    advance(loop, module, 15)
    loop.end_after(100)
    assert loop.steps == 20


def test_a_loss_that_is_no_number_changes_nothing():
    loop, module = loop_of()
    before = module.weight.detach().clone()
    with pytest.raises(DivergedError, match="step 1"):
        loop.advance(lambda: module.weight.sum() * float("nan"))
    assert torch.equal(before, module.weight)
