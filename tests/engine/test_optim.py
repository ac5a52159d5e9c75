"""CoOp's schedule to the digit, and the stacked optimiser against torch's own SGD."""

import pytest
import torch

from bench.engine.optim import StackedSGD, learning_rate
from bench.spec import TrainSpec


def test_learning_rates_of_coop():
    rates = [learning_rate(TrainSpec(epochs=50), epoch) for epoch in range(50)]
    assert rates[:2] == [1e-5, 2e-3]
    assert rates[2] == pytest.approx(1.998e-3, abs=5e-7)
    assert rates[-1] == pytest.approx(7.9e-6, abs=5e-8)


def test_the_cosine_is_torchs():
    train = TrainSpec(epochs=20)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=train.lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, train.epochs)
    expected = [train.warmup_lr]
    for _ in range(train.epochs - 1):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        cosine.step()
    assert [learning_rate(train, epoch) for epoch in range(train.epochs)] == pytest.approx(expected, rel=1e-9)


def test_stacked_sgd_is_torchs_sgd_for_every_context():
    trains = [TrainSpec(epochs=9), TrainSpec(epochs=9, lr=0.1, momentum=0.5, weight_decay=0.1)]
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    stacked = start.clone()
    ours = StackedSGD(stacked, trains)
    alone = [start[i].clone().requires_grad_() for i in range(2)]
    theirs = [
        torch.optim.SGD([p], lr=t.lr, momentum=t.momentum, weight_decay=t.weight_decay) for p, t in zip(alone, trains, strict=True)
    ]
    for epoch in range(9):
        ours.start_epoch(epoch)
        gradients = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
        active = [0, 1] if epoch % 3 else [1]  # a run without a batch is left as it is, momentum and all
        for i in active:
            theirs[i].param_groups[0]["lr"] = learning_rate(trains[i], epoch)
            alone[i].grad = gradients[i]
            theirs[i].step()
        ours.step(torch.tensor(active), gradients[active])
        torch.testing.assert_close(stacked, torch.stack([p.detach() for p in alone]), rtol=1e-12, atol=1e-14)
