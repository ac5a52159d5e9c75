"""What a run's seconds are, on a clock that moves where a test says."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from bench.engine import fold, measure, member, train
from bench.engine.text import TextFeatures
from methods.base import Method
from tests.engine.conftest import CLASSES, TRAIN, make_member, make_spec


class Clock:
    now = 0.0


@dataclass
class Slow(Method):
    """Cross entropy; a step takes five seconds of each sample's run, folded or alone."""

    clock: Clock = field(default_factory=Clock)

    def loss(self, batch):
        self.clock.now += 5 * len(batch.labels) / TRAIN.batch_size
        return torch.nn.functional.cross_entropy(batch.z, batch.labels, reduction="none")


class Tower(TextFeatures):
    """Takes a second a pass."""

    def __call__(self, contexts):
        self.clock.now += 1
        return super().__call__(contexts)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for module in (fold, measure, member, train):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def seconds(backbone, clock, members):
    """Trains; the seconds of the stack and of its runs."""
    learner = Tower(backbone, CLASSES, TRAIN)
    learner.clock, clock.now = clock, 0.0
    stack = train.Stack(members, learner, None)
    outcomes = stack.run(keep_context=False)
    assert {outcome.status for outcome in outcomes} == {"done"}
    found = [outcome.metrics["wall_seconds"] for outcome in outcomes]
    assert sum(found) == pytest.approx(clock.now)
    assert outcomes[0].metrics["steps_per_second"] == pytest.approx(outcomes[0].metrics["steps"] / found[0])
    return stack, clock.now, found


def test_a_run_pays_for_its_method_and_by_contexts_for_the_tower(backbone, clock):
    members = [make_member(backbone, make_spec(name, seed=1)) for name in ("coop_ce", "coop_ce", "co_teaching")]
    members[1].method = Slow(clock)
    stack, total, (plain, slow, two) = seconds(backbone, clock, members)
    assert not stack.folds
    tower = members[0].steps + 1
    assert total == 5 * members[0].steps + tower
    assert (plain, slow, two) == pytest.approx((tower / 4, 5 * members[0].steps + tower / 4, tower / 2))


def test_folded_runs_pay_for_their_own_losses(backbone, clock):
    members = [make_member(backbone, make_spec("coop_ce", seed=seed)) for seed in (1, 2, 3, 4)]
    for one in members:
        one.table = members[0].table  # as of one draw of shots
    for one in members[2:]:
        one.method = Slow(clock)
    stack, total, found = seconds(backbone, clock, members)
    (fold,) = stack.folds
    assert len(fold.members) == 4
    steps = members[0].steps
    assert total == 2 * 5 * (steps + 1) + steps + 1  # once more, alone, in the first step
    assert found == pytest.approx([(steps + 1) / 4] * 2 + [(steps + 1) / 4 + 5 * (steps + 1)] * 2)


def test_the_tower_is_paid_by_steps(backbone, clock):
    short, longer = (make_member(backbone, make_spec("coop_ce", seed=1)) for _ in range(2))
    all_batches = longer.epoch_batches
    short.epoch_batches = lambda epoch: all_batches(epoch)[:1]
    _, total, (first, second) = seconds(backbone, clock, [short, longer])
    assert (short.steps, longer.steps) == (TRAIN.epochs, 5 * TRAIN.epochs)
    assert (first, second) == pytest.approx((total / 6, total * 5 / 6))


def test_what_runs_are_measured_together_for_is_shared_alike(backbone, clock, monkeypatch):
    figures = measure._figures

    def slow(runs):
        clock.now += 6
        return figures(runs)

    monkeypatch.setattr(measure, "_figures", slow)
    members = [make_member(backbone, make_spec(name, seed=1)) for name in ("coop_ce", "coop_ce", "co_teaching")]
    _, total, (first, second, two) = seconds(backbone, clock, members)
    tower = total - 6 * TRAIN.epochs
    assert (first, second, two) == pytest.approx((2 * TRAIN.epochs + tower / 4,) * 2 + (2 * TRAIN.epochs + tower / 2,))
