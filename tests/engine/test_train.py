"""The stacked training loop: paired, independent, exact."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.engine.member import Member
from bench.engine.prompts import initial_contexts
from bench.engine.text import TextFeatures
from bench.engine.train import Stack, _parts, eval_every, train_stack
from bench.errors import BenchError
from bench.spec import TrainSpec
from methods.base import Method
from tests.engine.conftest import (
    CLASSES,
    TRAIN,
    backbone_of,
    make_member,
    make_spec,
    make_task,
    scramble,
    tiny,
    train,
    zero_shot_of,
)


def test_a_run_alone_is_plain_coop(backbone):
    """One run against a loop of torch.optim.SGD on open_clip's own modules, batch by batch."""
    member = make_member(backbone, make_spec("coop_ce"))
    (outcome,) = train(backbone, member)
    reference = make_member(backbone, make_spec("coop_ce"))
    context = initial_contexts(backbone, TRAIN, 1, 1, len(CLASSES), "synthetic")[0].requires_grad_()
    optimiser = torch.optim.SGD([context], lr=1, momentum=TRAIN.momentum, weight_decay=TRAIN.weight_decay)
    plain = TextFeatures(backbone, CLASSES, TRAIN, path="plain")
    for epoch in range(TRAIN.epochs):
        optimiser.param_groups[0]["lr"] = outcome.history["lr"][epoch]
        for index in reference.epoch_batches(epoch):
            logits = backbone.scale * reference.images[1 + epoch % 2, index] @ plain(context[None])[0].T
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits, reference.given[index]).backward()
            optimiser.step()
    np.testing.assert_allclose(outcome.context[0], context.detach().numpy(), atol=2e-5)
    assert np.abs(outcome.context[0] - initial_contexts(backbone, TRAIN, 1, 1, 5, "synthetic")[0].numpy()).max() > 1e-3


def test_stacked_agrees_with_alone_and_repeats_to_the_bit(backbone):
    specs = [make_spec(name, rate, seed) for name in ("coop_ce", "dspt", "gce") for rate in (0, 0.5) for seed in (1, 2)]
    stacked, again = (train(backbone, *(make_member(backbone, spec) for spec in specs)) for _ in range(2))
    for spec, outcome, repeat in zip(specs, stacked, again, strict=True):
        (alone,) = train(backbone, make_member(backbone, spec))
        assert np.array_equal(outcome.context, repeat.context)
        np.testing.assert_allclose(outcome.context, alone.context, atol=1e-4)


def test_an_evaluation_takes_the_forward_pass_of_the_step_behind_it(backbone):
    """One pass per step, and one for what is measured at the end; a hook that asks for predictions costs none either."""
    passes = []

    class Counting(TextFeatures):
        def __call__(self, contexts):
            passes.append(len(contexts))
            return super().__call__(contexts)

    members = [make_member(backbone, make_spec(name, seed=seed)) for seed in (1, 2) for name in ("coop_ce", "nlprompt")]
    learner = Counting(backbone, CLASSES, TRAIN)
    passes.clear()
    outcomes = Stack(members, learner, None).run(keep_context=False)
    assert passes == [len(members)] * (outcomes[0].metrics["steps"] + 1)
    assert len(outcomes[0].history["epoch"]) == TRAIN.epochs


def test_methods_see_the_same_batches_and_start_and_labels_nest_over_rates(backbone):
    members = [make_member(backbone, make_spec(name, rate)) for name in ("coop_ce", "joapr") for rate in (0.25, 0.5)]
    for epoch in range(3):
        orders = [torch.cat(Member.epoch_batches(member, epoch)) for member in members[:2]]
        assert torch.equal(*orders)
    low, high = (members[i].given != members[i].true for i in (0, 1))
    assert bool((high | ~low).all())
    assert int(high.sum()) == 20


class Failing(Method):
    """Trains with cross entropy until a step, then goes wrong in a chosen way."""

    def __init__(self, how: str) -> None:
        self.how, self.count = how, 0

    def loss(self, batch):
        self.count += 1
        loss = torch.nn.functional.cross_entropy(batch.z, batch.labels, reduction="none")
        if self.count > 7:
            if self.how == "raise":
                raise RuntimeError("no more")
            if self.how == "nan":
                return loss * float("nan")
            batch.text.data.zero_()  # an in-place edit of its own leaf
        return loss


@pytest.mark.parametrize("how", ["raise", "nan"])
def test_a_failing_run_leaves_and_the_others_go_on(backbone, how):
    bad = make_member(backbone, make_spec("coop_ce"))
    bad.method = Failing(how)
    good = [make_member(backbone, make_spec("dspt", seed=seed)) for seed in (1, 2)]
    first, failed, second = train(backbone, good[0], bad, good[1])
    assert failed.status == "failed"
    assert ("no more" if how == "raise" else "not finite in epoch 1, step 7") in failed.error
    assert "Traceback" in failed.traceback
    for seed, outcome in ((1, first), (2, second)):
        (alone,) = train(backbone, make_member(backbone, make_spec("dspt", seed=seed)))
        assert outcome.status == "done"
        np.testing.assert_allclose(outcome.context, alone.context, atol=1e-4)


def test_a_sparse_gradient_is_a_gradient(backbone):
    members = [make_member(backbone, make_spec("elr", seed=seed)) for seed in (1, 2)]
    same = [make_member(backbone, member.spec) for member in members]
    loss = same[0].method.loss
    rows = torch.zeros(1, 5, 24, dtype=torch.long)
    same[0].method.loss = lambda batch: loss(replace(batch, text=batch.text.gather(0, rows, sparse_grad=True)))
    for found, expected in zip(train(backbone, *same), train(backbone, *members), strict=True):
        assert found.status == "done"
        np.testing.assert_array_equal(found.context, expected.context)


def test_a_gradient_that_is_not_finite_in_one_of_several_contexts_ends_its_run(backbone):
    bad, *good = (make_member(backbone, make_spec(name, seed=3)) for name in ("co_teaching", "co_teaching", "coop_ce"))
    loss = bad.method.loss
    bad.method.loss = lambda batch: loss(batch) + (batch.text[1].sum() * 0).abs().sqrt()  # 0 · ∞ on the way back
    failed, *done = train(backbone, bad, *good)
    assert failed.error == "NotFiniteError: the loss or its gradient is not finite in epoch 0, step 0"
    for outcome, member in zip(done, good, strict=True):
        (alone,) = train(backbone, make_member(backbone, member.spec))
        np.testing.assert_allclose(outcome.context, alone.context, atol=1e-4)


def test_an_in_place_edit_stays_in_its_run(backbone):
    bad = make_member(backbone, make_spec("coop_ce"))
    bad.method = Failing("edit")
    good = make_member(backbone, make_spec("coop_ce"))
    outcome = train(backbone, bad, good)[1]
    (alone,) = train(backbone, make_member(backbone, make_spec("coop_ce")))
    np.testing.assert_allclose(outcome.context, alone.context, atol=1e-4)


@pytest.mark.parametrize("hook", ["start", "epoch_start", "batches", "scores", "clean_belief"])
def test_an_error_in_any_hook_is_that_runs_own(backbone, hook):
    bad, good = (make_member(backbone, make_spec("coop_ce")) for _ in range(2))

    def explode(*_):
        raise ValueError(f"in {hook}")

    setattr(bad.method, hook, explode)
    failed, done = train(backbone, bad, good)
    assert (failed.status, done.status) == ("failed", "done")
    assert failed.error == f"ValueError: in {hook}"


def test_runs_with_other_batch_counts_and_schedules_stack(backbone):
    few = make_member(backbone, make_spec("coop_ce"), make_task(zero_shot_of(backbone), shots=4))
    own = make_member(backbone, make_spec("coop_ce"))
    own.method.batches = lambda epoch: [torch.arange(3)] * epoch
    many = make_member(backbone, make_spec("co_teaching"))
    outcomes = train(backbone, few, own, many)
    assert [outcome.metrics["steps"] for outcome in outcomes] == [6 * 2, 15, 6 * 5]
    assert all(outcome.status == "done" for outcome in outcomes)
    assert outcomes[2].context.shape[0] == 2


def test_clean_labels_change_no_trajectory_but_the_oracles(backbone):
    for name, same in (("coop_ce", True), ("elr", True), ("clean_only", False)):
        spec = make_spec(name)
        data = make_task(zero_shot_of(backbone))
        a, b = (train(backbone, make_member(backbone, spec, some))[0] for some in (data, scramble(data)))
        assert np.array_equal(a.context, b.context) == same


@pytest.mark.parametrize(("name", "labels", "rate"), [
    ("coop_ce", False, False), ("joapr", False, False), ("co_teaching", False, False),
    ("co_teaching_oracle", False, True), ("clean_only", True, True),
])  # fmt: skip
def test_only_a_declared_oracle_is_told_what_nobody_knows(backbone, name, labels, rate):
    member = make_member(backbone, make_spec(name, 0.25))
    told = []
    member.method.start = told.append
    member.start()
    assert (told[0].clean_labels is not None, told[0].noise_rate is not None) == (labels, rate)
    assert torch.equal(told[0].labels, member.given)
    assert told[0].noise_rate in {None, 0.25}


@pytest.mark.parametrize(("kind", "layout"), [
    ("clip", {"class_position": "front"}), ("clip", {"class_position": "middle"}), ("clip", {"class_specific": True}),
    ("clip", {"ctx_init": "words", "ctx_words": "a photo of a", "n_ctx": 0}), ("siglip", {}), ("quick_gelu", {}), ("custom", {}),
])  # fmt: skip
def test_every_layout_and_tower_trains(kind, layout):
    backbone = backbone_of(tiny(kind))
    layout = TRAIN.model_copy(update={"lr": 0.005, **layout})  # small enough for class-specific contexts too
    members = [make_member(backbone, make_spec(name, 0, train=layout)) for name in ("coop_ce", "deft_text")]
    plain, two = train(backbone, *members)
    assert (plain.status, two.status) == ("done", "done")
    assert plain.metrics["steps"] == 30
    assert plain.history["loss"][-1] < plain.history["loss"][0]
    assert two.context.shape[0] == 2


def test_gradient_parts_add_up_to_the_whole(backbone):
    member = make_member(backbone, make_spec("gce"))
    member.start()
    text = TextFeatures(backbone, CLASSES, TRAIN)(initial_contexts(backbone, TRAIN, 1, 1, 5))
    index = torch.arange(16)
    found = member.gradient(text, index, 0, measure=True)
    clean, noisy = found.shares[0].tolist()
    only = (member.given == member.true)[index]
    leaf = text.detach().requires_grad_()
    z = member.scale * member.images[1, index] @ leaf[0].T
    p = z.softmax(1).gather(1, member.given[index][:, None])[:, 0]
    per_sample = (1 - p**0.7) / 0.7
    (expected,) = torch.autograd.grad(per_sample[only].sum() / 16, leaf)
    assert clean == pytest.approx(float(expected.norm()), rel=1e-4)
    assert noisy == pytest.approx(float((found.at_leaf - expected).norm()), rel=1e-4)


def test_progress_counts_run_steps(backbone):
    seen = []
    train(backbone, *(make_member(backbone, make_spec(seed=seed)) for seed in (1, 2)), progress=seen.append)
    assert seen == [2] * 30


def test_stack_size_is_capped_by_contexts(backbone):
    members = [make_member(backbone, make_spec(name)) for name in ("coop_ce", "co_teaching", "coop_ce", "dspt")]
    assert [len(part) for part in _parts(members, 2)] == [1, 1, 2]
    assert [len(part) for part in _parts(members, 1)] == [1, 1, 1, 1]
    features = TextFeatures(backbone, CLASSES, TRAIN)
    assert features.max_stack(3) == 3
    assert TextFeatures(backbone, CLASSES, TRAIN, path="plain").max_stack(7) == 7


@pytest.mark.parametrize("path", ["shared", "plain"])
def test_processes_share_thememory_left(backbone, path, monkeypatch):
    monkeypatch.setattr("bench.engine.text.memory_left", lambda device: 2.0**30)
    features = TextFeatures(backbone, CLASSES, TRAIN, path=path)
    alone, together = features.max_stack(None), features.max_stack(None, processes=4)
    assert together == pytest.approx(alone / 4, abs=1)


def test_runs_that_cannot_stack_are_refused():
    with pytest.raises(BenchError, match="cannot train as one stack"):
        train_stack([make_spec(), make_spec(train=TRAIN.model_copy(update={"epochs": 7}))])


def test_small_rules():
    assert [eval_every(epochs) for epochs in (1, 30, 50, 200)] == [1, 1, 2, 8]


def test_last_batch_rule(backbone):
    for size, drop, counts in ((8, True, [8] * 5), (16, True, [16] * 2), (16, False, [16, 16, 8]), (64, True, [40])):
        protocol = TrainSpec(epochs=2, n_ctx=4, batch_size=size, drop_last=drop)
        member = make_member(backbone, make_spec(train=protocol))
        assert [len(batch) for batch in member.epoch_batches(0)] == counts


def test_unknown_true_labels_are_not_measured(backbone):
    data = replace(make_task(zero_shot_of(backbone)), true_known=False)
    (outcome,) = train(backbone, make_member(backbone, make_spec("joapr"), data))
    assert outcome.metrics["realised_rate"] is None
    assert set(outcome.history["train_true"]) == {None}
    assert "belief_auroc" not in outcome.history


def test_stack_of_nothing_alive_ends(backbone):
    bad = make_member(backbone, make_spec())
    bad.method = Failing("raise")
    features = TextFeatures(backbone, CLASSES, TRAIN)
    (outcome,) = Stack([bad], features, None).run(keep_context=False)
    assert outcome.status == "failed"
