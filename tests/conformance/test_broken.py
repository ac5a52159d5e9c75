"""Methods that break one rule each, and which check says so."""

import random
from typing import ClassVar

import numpy as np
import pytest
import torch

from bench.check import check
from bench.check.losses import ALWAYS, LOSSES
from tests.conformance.conftest import Good


def failures(cls, add):
    """The checks that a class fails, and why."""
    add(cls)
    return {rule: finding.reason for rule in (*ALWAYS, *LOSSES) if (finding := check("broken", rule)).state == "failed"}


def test_a_good_method_passes(add):
    assert failures(Good, add) == {}


def test_a_method_without_documentation(add):
    class Broken(Good):
        """Cross entropy."""

    assert failures(Broken, add) == {
        "documented": "the docstring lacks: Paper, Reference code, Tuned, Deviations (say 'none' where there is none)"
    }


def test_a_hyper_parameter_that_no_specification_can_hold(add):
    class Broken(Good):
        weight: float = float("inf")

    assert "'weight', inf, cannot be written as JSON" in failures(Broken, add)["hyper-parameters"]


def test_the_logarithm_of_a_softmax_is_not_finite(add):
    class Broken(Good):
        def loss(self, batch):
            return -batch.z.softmax(1).gather(1, batch.given)[:, 0].log()

    found = failures(Broken, add)
    assert "logits 10,000 apart, 2 classes: epoch 0: the loss is not finite; work on batch.log_p" in found["extreme logits"]


def test_a_gradient_that_is_not_finite(add):
    """The loss is finite everywhere; its gradient is 0 · ∞ where p_y underflows, as in public code without an epsilon."""

    class Broken(Good):
        def loss(self, batch):
            return 1 - batch.z.softmax(1).gather(1, batch.given)[:, 0] ** 0.7

    assert "the gradient is not finite" in failures(Broken, add)["extreme logits"]


def test_a_loss_that_favours_a_class_number(add):
    class Broken(Good):
        def loss(self, batch):
            return -batch.log_p_y - 0.1 * batch.log_p[:, 0]

    assert set(failures(Broken, add)) == {"class permutation"}


def test_a_random_class_that_is_not_drawn_as_an_offset(add):
    class Broken(Good):
        def loss(self, batch):
            other = torch.randint(0, batch.z.shape[1], (len(batch.labels), 1), generator=batch.generator)
            return -batch.log_p_y + batch.log_p.gather(1, other)[:, 0]

    assert "draw a random class as an offset from the label" in failures(Broken, add)["class permutation"]


@pytest.mark.parametrize(
    ("library", "draw"), [("torch", lambda: torch.rand(())), ("numpy", np.random.rand), ("random", random.random)]
)
def test_global_random_numbers(library, draw, add):
    """A constant is added, so the gradients stay the same: it is the generator's state that tells."""

    class Broken(Good):
        def loss(self, batch):
            return -batch.log_p_y + 0 * float(draw())

    assert f"uses {library}'s global generator" in failures(Broken, add)["random draws"]


def test_state_that_outlives_a_run(add):
    class Broken(Good):
        seen: ClassVar[list[int]] = []

        def loss(self, batch):
            self.seen.append(1)
            return -batch.log_p_y * len(self.seen)

    assert "two runs of one seed differ" in failures(Broken, add)["random draws"]


def test_an_edit_of_the_task(add):
    class Broken(Good):
        def start(self, task):
            super().start(task)
            task.labels[0] = 0
            task.zero_shot.mul_(2)

    assert "edits task.zero_shot in place" in failures(Broken, add)["inputs untouched"]


def test_a_mean_over_nothing(add):
    class Broken(Good):
        def loss(self, batch):
            return -batch.log_p_y[batch.p_y > 0.5].mean()

    assert (
        "every sample contradicts its label, so none is judged clean: epoch 0: the loss is not finite"
        in failures(Broken, add)["edge cases"]
    )


def test_a_crash_names_the_task_it_crashed_on(add):
    class Broken(Good):
        def start(self, task):
            super().start(task)
            if len(task.labels.unique()) < 5 == task.num_classes:
                raise IndexError("no sample of class 4")

    assert failures(Broken, add)["edge cases"] == "a class has no sample: it raises IndexError: no sample of class 4"


def test_wrong_shapes(add):
    class Broken(Good):
        def loss(self, batch):
            return batch.log_p

        def scores(self, text, images, scale):
            return scale * images @ text[0].T[:, :2]

        def clean_belief(self):
            return torch.full((3,), 2.0)

    found = failures(Broken, add)
    assert "loss() gives shape [16, 5]" in found["random draws"]
    assert "scores() gives shape [61, 2]" in found["scores"]


def test_a_belief_outside_its_range(add):
    class Broken(Good):
        def clean_belief(self):
            return 2 * torch.ones(len(self.task.labels))

    assert "clean_belief() gives shape [61] from 2 to 2; it is [N] numbers from 0 to 1" in failures(Broken, add)["random draws"]


def test_a_loss_that_cannot_learn(add):
    class Broken(Good):
        def loss(self, batch):
            return -batch.log_p_y.detach()

    assert "the loss does not depend on the text features" in failures(Broken, add)["random draws"]


def test_a_loss_in_double_precision(add):
    class Broken(Good):
        def loss(self, batch):
            return -batch.log_p_y.double()

    assert "losses are float32" in failures(Broken, add)["random draws"]
