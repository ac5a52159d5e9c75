"""Runs that share one call of their loss learn what they learn alone."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.engine.arrays import Arrays
from bench.engine.fold import Rows, fold_plain, is_plain
from bench.engine.learners import ClipAdapter, TipAdapter
from bench.engine.member import Member, as_they_are
from bench.engine.text import TextFeatures
from bench.engine.train import Stack
from bench.engine.zero_shot import ZeroShot
from bench.spec import MethodSpec
from methods import registry
from methods.base import Method
from tests.engine.conftest import CLASSES, TRAIN, make_spec, make_task, zero_shot_of

PLAIN = [name for name in registry.names() if registry.load(name).train and is_plain(registry.create(name))]


def members_of(backbone, method="coop_ce", rates=(0.25, 0.5, 0.5), data=None, tunes="prompt", **fields):
    """Members of one shard: their features are one table."""
    zero_shot = zero_shot_of(backbone)
    arrays = Arrays(ZeroShot(zero_shot, backbone.scale))
    first = make_task(zero_shot, 0.5)
    tasks = data or [dataclasses.replace(make_task(zero_shot, rate, seed), table=first.table) for seed, rate in enumerate(rates)]
    specs = [make_spec(method, seed=seed, **fields) for seed in range(len(tasks))]
    specs = [spec.model_copy(update={"method": MethodSpec(name=method, params=spec.method.params, tunes=tunes)}) for spec in specs]
    return [Member(spec, task, arrays) for spec, task in zip(specs, tasks, strict=True)]


def train(backbone, members, folded=True):
    """The outcomes of a stack, and what is still folded at its end."""
    zero_shot = members[0].arrays.zero_shot
    match members[0].spec.method.tunes:
        case "clip_adapter":
            learner = ClipAdapter(zero_shot.text)
        case "tip_adapter":
            learner = TipAdapter(zero_shot, members)
        case _:
            learner = TextFeatures(backbone, CLASSES, members[0].spec.train)
    stack = Stack(members, learner, None)
    if not folded:
        stack.folds.clear()
    return stack.run(keep_context=True), stack.folds


def same(outcomes, others):
    """Whether runs ended alike, to the bit."""
    return all(
        (a.status, a.error) == (b.status, b.error) and (a.context is None or np.array_equal(a.context, b.context))
        for a, b in zip(outcomes, others, strict=True)
    )


def test_what_is_plain():
    assert {"coop_ce", "gce", "mae", "dspt", "label_smoothing", "js"} <= set(PLAIN)
    assert not {"elr", "joapr", "nlprompt", "gjs", "co_teaching", "clean_only", "deft_text"} & set(PLAIN)


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in {"mixup", "logit_clip"}])  # these read more than rows
def test_a_folded_gradient_is_each_runs_own_to_the_bit(backbone, name):
    """At whole batches of 32: torch computes what is left over of a vector register by other means (`pow`)."""
    members = members_of(backbone, name, train=TRAIN.model_copy(update={"batch_size": 32}))
    (fold,) = fold_plain(members, lambda _: as_they_are)
    fold.start_epoch(1)
    text = torch.nn.functional.normalize(torch.randn(3, len(CLASSES), 24, generator=torch.Generator().manual_seed(1)), dim=-1)
    found = fold.gradient(text, 0, 1, measure=True)
    for run, member in enumerate(members):
        alone = member.gradient(text[run : run + 1], fold.steps[0].order[run], 1, measure=True)
        assert torch.equal(found.at_leaf[run], alone.at_leaf[0])
        torch.testing.assert_close(found.loss[run], alone.loss[0])
        torch.testing.assert_close(found.shares[run], alone.shares[0])


@pytest.mark.parametrize("name", ["coop_ce", "nce_mae"])
def test_folded_runs_end_where_runs_one_by_one_do(backbone, name):
    (folded, folds), (alone, _) = (train(backbone, members_of(backbone, name), folded) for folded in (True, False))
    assert [len(fold.members) for fold in folds] == [3]
    assert same(folded, alone)
    for one, other in zip(folded, alone, strict=True):
        assert one.history.keys() == other.history.keys()
        for figure, values in one.history.items():
            assert values == pytest.approx(other.history[figure], rel=1e-5)


@pytest.mark.parametrize("tunes", ["clip_adapter", "tip_adapter"])
@pytest.mark.parametrize("rates", [(0.25, 0.5, 0.5), (0.25, 0.5)])
def test_folded_adapters_end_where_those_one_by_one_do(backbone, tunes, rates):
    (folded, folds), (alone, _) = (train(backbone, members_of(backbone, "gce", rates, tunes=tunes), fold) for fold in (True, False))
    assert [len(fold.members) for fold in folds] == [len(rates)]
    for one, other in zip(folded, alone, strict=True):
        np.testing.assert_allclose(one.context, other.context, atol=1e-6)
        assert one.history["grad_noisy"] == pytest.approx(other.history["grad_noisy"], rel=1e-4)
    assert np.abs(folded[0].context - folded[1].context).max() > 1e-3


@pytest.mark.parametrize("spoiled", [[1], [0, 1, 2]])
@pytest.mark.parametrize("tunes", ["prompt", "clip_adapter", "tip_adapter"])
def test_runs_that_turn_nan_leave_alone(backbone, tunes, spoiled):
    """A NaN among a run's features is met in some step of the first epoch that has its view."""
    tasks = [member.data for member in members_of(backbone)]
    bad = tasks[1].table.copy()
    bad = np.concatenate([bad, bad[:1] * np.nan])
    rows = tasks[1].rows.copy()
    rows[7] = len(bad) - 1
    data = [dataclasses.replace(task, table=bad, rows=rows if i in spoiled else task.rows) for i, task in enumerate(tasks)]
    (folded, folds), (alone, _) = (train(backbone, members_of(backbone, data=data, tunes=tunes), fold) for fold in (True, False))
    assert [i for i, outcome in enumerate(folded) if outcome.status == "failed"] == spoiled
    assert all("not finite in epoch 0" in folded[i].error for i in spoiled)
    assert [len(fold.members) for fold in folds] == [3 - len(spoiled)]
    assert same(folded, alone)


@pytest.mark.parametrize("tunes", ["prompt", "clip_adapter"])
def test_shares_of_a_folded_gradient_go_through_its_loss_once(backbone, tunes):
    backward = []

    class Counting(CE):
        def loss(self, batch):
            loss = super().loss(batch)
            loss.register_hook(backward.append)
            return loss

    outcomes, folds = train(backbone, with_method(members_of(backbone, tunes=tunes), Counting))
    steps = sum(outcome.metrics["steps"] for outcome in outcomes) // len(outcomes)
    assert len(folds) == 1
    assert len(backward) == steps + len(outcomes)  # these compare themselves with the fold once
    assert all(min(outcome.history["grad_noisy"]) > 0 for outcome in outcomes)


class CE(Method):
    """Cross entropy that a test may spoil."""

    def loss(self, batch):
        return torch.nn.functional.cross_entropy(batch.z, batch.labels, reduction="none")


class Picky(CE):
    """Raises at the last class, or leaves."""

    def loss(self, batch):
        if bool((batch.labels == 4).any()):
            raise SystemExit("not this class")
        return super().loss(batch)


class OfTheBatch(CE):
    """A sample's weight hangs on the others."""

    def loss(self, batch):
        loss = super().loss(batch)
        return loss * (loss >= loss.median())


class Mean(CE):
    """One value for all."""

    def loss(self, batch):
        return super().loss(batch).mean()


class Reading(CE):
    """Asks for what belongs to one run."""

    def loss(self, batch):
        return super().loss(batch) * (1 + batch.epoch)


class Keeping(CE):
    """Counts its calls."""

    def loss(self, batch):
        self.calls = getattr(self, "calls", 0) + 1
        return super().loss(batch) * (1 + self.calls % 3)


def with_method(members, cls):
    for member in members:
        member.method = cls()
    return members


def test_runs_of_several_methods_are_folded_beside_those_that_leave(backbone):
    """Two of one, one each of others; in between two that read more than rows."""
    names = ["gce", "logit_clip", "coop_ce", "dspt", "gce", "mae", "elr"]
    several = TRAIN.model_copy(update={"batch_size": 8, "drop_last": True})  # steps per epoch: who leaves does so within one

    def members():
        made = [members_of(backbone, name, rates=[0.5] * len(names), train=several)[seed] for seed, name in enumerate(names)]
        same_arrays = [
            Member(member.spec, dataclasses.replace(member.data, table=made[0].data.table), made[0].arrays) for member in made
        ]
        same_arrays[3].method = Reading()
        return same_arrays

    (folded, folds), (alone, _) = (train(backbone, members(), fold) for fold in (True, False))
    assert [fold.places for fold in folds] == [[0, 4, 2, 5]]
    assert [outcome.status for outcome in folded] == ["done"] * len(names)
    assert [outcome.metrics["steps"] for outcome in folded] == [outcome.metrics["steps"] for outcome in alone]
    assert same(folded, alone)


@pytest.mark.parametrize("cls", [OfTheBatch, Mean, Reading, Keeping])
def test_what_cannot_be_folded_is_computed_run_by_run(backbone, cls):
    (tried, folds), (alone, _) = (train(backbone, with_method(members_of(backbone), cls), fold) for fold in (True, False))
    assert folds == []
    assert all(outcome.status == "done" for outcome in tried)
    assert same(tried, alone)


def test_a_run_that_raises_ends_alone(backbone):
    few = [dataclasses.replace(member.data, given=member.data.given % 4) for member in members_of(backbone)]
    few[1] = members_of(backbone)[1].data
    tried, alone = (train(backbone, with_method(members_of(backbone, data=few), Picky), fold)[0] for fold in (True, False))
    assert [outcome.status for outcome in tried] == ["done", "failed", "done"]
    assert tried[1].error == "SystemExit: not this class"
    assert same(tried, alone)


def test_a_rows_batch_holds_logits_and_labels_alone():
    z, labels = torch.randn(6, 3), torch.arange(6) % 3
    rows = Rows(z, labels)
    assert torch.equal(rows.z, z)
    torch.testing.assert_close(rows.log_p_y, -torch.nn.functional.cross_entropy(z, labels, reduction="none"))
    for name in ("text", "images", "index", "epoch", "generator", "scale"):
        with pytest.raises(AttributeError):
            getattr(rows, name)


def test_runs_whose_epochs_end_earlier_wait(backbone):
    """Two shots sizes and a method with batches of its own: nobody moves without a batch."""
    zero_shot = zero_shot_of(backbone)
    arrays = Arrays(ZeroShot(zero_shot, backbone.scale))

    def make():
        sizes = [(4, "coop_ce"), (8, "coop_ce"), (4, "coop_ce"), (8, "coop_ce"), (8, "joapr"), (8, "gce")]
        tasks = {shots: make_task(zero_shot, shots=shots) for shots in (4, 8)}
        return [Member(make_spec(name, seed=seed), tasks[shots], arrays) for seed, (shots, name) in enumerate(sizes)]

    stacked, folds = train(backbone, make())
    assert [fold.places for fold in folds] == [[0, 2], [1, 3, 5]]
    assert [outcome.metrics["steps"] for outcome in stacked][:4] == [TRAIN.epochs * steps for steps in (2, 5, 2, 5)]
    for member, outcome in zip(make(), stacked, strict=True):
        ((alone,), _) = train(backbone, [member])
        np.testing.assert_allclose(outcome.context, alone.context, atol=1e-4)
