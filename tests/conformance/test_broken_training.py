"""Methods that break a rule of training, and which check says so."""

import sys
from typing import ClassVar

import torch

from bench.check import check
from bench.check.training import TRAINING, alone
from methods.base import Method
from tests.conformance.conftest import Good


def test_a_good_method_trains(add):
    add(Good)
    assert [check("broken", rule).state for rule in TRAINING] == ["ok"] * len(TRAINING)


def test_trainings_that_depend_on_each_other(add):
    class Broken(Good):
        seen: ClassVar[list[int]] = []

        def loss(self, batch):
            self.seen.append(1)
            return -batch.log_p_y * (1 + len(self.seen) % 7)

    add(Broken)
    assert "end in different contexts" in check("broken", "same seed").reason
    for rule in ("alone and stacked", "learners"):
        assert "keep all state in the instance" in check("broken", rule).reason


def test_what_an_untrained_method_makes_of_shots(add, monkeypatch):
    """Predictions that hang on how often it was asked, and shots that it does not look at."""

    class Broken(Method):
        __doc__ = Good.__doc__
        train: ClassVar[bool] = False
        from_shots: ClassVar[bool] = True
        asked: ClassVar[list[int]] = []

        def scores(self, text, images, scale):
            self.asked.append(1)
            return super().scores(text, images, scale).roll(len(self.asked), dims=0)

    add(Broken)
    assert "end in different contexts" in check("broken", "same seed").reason
    monkeypatch.setattr(Broken, "scores", Method.scores)
    alone.cache_clear()
    assert check("broken", "same seed").state == check("broken", "clean labels unseen").state == "ok"
    assert "it has to gain 20 points" in check("broken", "learns").reason
    assert check("broken", "learners").state == "skipped"


def test_a_method_that_peeks_at_the_true_labels(add):
    """There is no way to them in the contract; this one climbs the call stack."""

    class Broken(Good):
        def loss(self, batch):
            member = sys._getframe(1).f_locals["self"]
            return torch.where(member.true[batch.index] == batch.labels, -batch.log_p_y, 0 * batch.log_p_y)

    add(Broken)
    assert "the true labels change what it learns" in check("broken", "clean labels unseen").reason
    assert check("broken", "same seed").state == "ok"


def test_a_method_that_learns_too_little_has_to_say_why(add, monkeypatch):
    class Broken(Good):
        def loss(self, batch):
            return -1e-6 * batch.log_p_y

    add(Broken)
    assert "it has to gain 20 points, or say in `learns_little`" in check("broken", "learns").reason
    monkeypatch.setattr(Broken, "learns_little", "it barely moves, on purpose")
    assert check("broken", "learns").reason.endswith("(it barely moves, on purpose)")


def test_a_failed_training_is_a_finding(add):
    class Broken(Good):
        def epoch_start(self, epoch, predict):
            raise RuntimeError("out of ideas")

    add(Broken)
    assert check("broken", "same seed").reason == "broken on fashion_mnist: the run fails with RuntimeError: out of ideas"


def test_a_loss_that_looks_at_the_batch_in_some_batches_only(add):
    class Broken(Good):
        def loss(self, batch):
            loss = -batch.log_p_y
            return loss * (2 if float(loss.detach().mean()) > 1.6 else 1)

    add(Broken)
    finding = check("broken", "row-wise")
    assert finding.state == "failed", finding.reason
