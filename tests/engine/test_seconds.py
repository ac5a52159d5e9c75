"""What a run's seconds are, on a clock that moves where a test says."""

from types import SimpleNamespace

import pytest
import torch

from bench.engine import fold, member, train
from bench.engine.text import TextFeatures
from methods.base import Method
from tests.engine.conftest import CLASSES, TRAIN, make_member, make_spec


class Slow(Method):
    """Cross entropy; takes five seconds a step."""

    def __init__(self, clock) -> None:
        self.clock = clock

    def loss(self, batch):
        self.clock.now += 5
        return torch.nn.functional.cross_entropy(batch.z, batch.labels, reduction="none")


class Tower(TextFeatures):
    """Takes a second a pass."""

    def __call__(self, contexts):
        self.clock.now += 1
        return super().__call__(contexts)


def test_a_run_pays_for_its_method_and_by_contexts_for_the_tower(backbone, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    for module in (fold, member, train):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    names = ["coop_ce", "coop_ce", "coop_ce", "co_teaching"]
    members = [make_member(backbone, make_spec(name, seed=seed)) for seed, name in enumerate(names, 1)]
    members[2].method = Slow(clock)
    learner = Tower(backbone, CLASSES, TRAIN)
    learner.clock, clock.now = clock, 0.0
    outcomes = train.Stack(members, learner, None).run(keep_context=False)
    assert {outcome.status for outcome in outcomes} == {"done"}
    steps = outcomes[0].metrics["steps"]
    tower, plain, again, slow, two = steps + 1, *(outcome.metrics["wall_seconds"] for outcome in outcomes)
    assert clock.now == 5 * steps + tower
    assert (plain, again, slow, two) == pytest.approx((tower / 5, tower / 5, 5 * steps + tower / 5, 2 * tower / 5))
    assert outcomes[2].metrics["steps_per_second"] == pytest.approx(steps / slow)
