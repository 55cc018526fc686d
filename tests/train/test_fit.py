import pytest
import torch

from lepton_ai.errors import DataError, DivergedError
from lepton_ai.train.fit import TrainStep, fit
from lepton_ai.train.loop import TrainConfig


def regression(seed=0):
    torch.manual_seed(seed)
    x = torch.randn(64, 4)
    y = x @ torch.tensor([1.0, -2.0, 0.5, 3.0])
    module = torch.nn.Linear(4, 1)

    def loss(batch):
        return torch.nn.functional.mse_loss(module(x[batch]).squeeze(-1), y[batch])

    return module, loss, [list(range(i, i + 16)) for i in range(0, 64, 16)] * 30


def run(module, loss, batches, **config):
    steps: list[TrainStep] = []
    final = fit(
        module,
        loss,
        batches,
        steps=len(batches),
        config=TrainConfig(**{"learning_rate": 0.1, **config}),
        progress=steps.append,
    )
    return final, steps


def test_it_learns_and_tells():
    module, loss, batches = regression()
    final, steps = run(module, loss, batches)
    assert final < steps[0].loss / 50
    assert [step.step for step in steps] == list(range(1, 121))
    assert steps[-1].samples_per_second > 0
    assert not module.training


def test_the_same_seed_gives_the_same_weights():
    weights = []
    for _ in range(2):
        module, loss, batches = regression()
        run(module, loss, batches)
        weights.append(module.weight.detach().clone())
    assert torch.equal(*weights)


def test_frozen_weights_stay():
    module, loss, batches = regression()
    module.weight.requires_grad_(False)
    before = module.weight.detach().clone()
    run(module, loss, batches)
    assert torch.equal(module.weight, before)


def test_a_loss_that_is_not_a_number_ends_it_at_that_step():
    module, loss, batches = regression()
    with torch.no_grad():
        module.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="step 1"):
        run(module, loss, batches)


def test_no_batches():
    module, loss, _ = regression()
    with pytest.raises(DataError):
        run(module, loss, [])
