"""What is tuned beside a prompt: against plain loops of torch's own, from zero-shot, stacked and mixed."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from bench.data.cards import load_card
from bench.data.load import load_data
from bench.data.task import task_digest
from bench.engine.backbone import load_backbone
from bench.engine.learners import Classifier, ClipAdapter, TipAdapter
from bench.engine.train import Stack, train_stack
from bench.engine.zero_shot import ZeroShot
from bench.engine.zero_shot import zero_shot_of as zero_shot_model
from bench.grid import Grid, expand
from bench.plan import make_plan
from bench.results.store import Store
from bench.spec import MethodSpec
from methods.base import Batch
from tests.engine.conftest import TRAIN, make_member, make_spec, make_task, zero_shot_of

CLASSIFIERS = ("linear_probe", "zero_shot_probe", "task_residual")
FROM_ZERO_SHOT = CLASSIFIERS[1:]


def member_of(backbone, tunes, method="coop_ce", rate=0.5, seed=1, train=TRAIN):
    spec = make_spec(method, rate, seed, train)
    return make_member(backbone, spec.model_copy(update={"method": MethodSpec(name=method, tunes=tunes)}))


def run(backbone, tunes, *members):
    return Stack(members, Classifier(zero_shot_of(backbone), tunes), None).run(keep_context=True)


@pytest.mark.parametrize("tunes", CLASSIFIERS)
def test_a_classifier_is_its_plain_formula_under_torchs_sgd(backbone, tunes):
    (outcome,) = run(backbone, tunes, member_of(backbone, tunes))
    reference, zero_shot = member_of(backbone, tunes), zero_shot_of(backbone)
    if tunes == "linear_probe":
        first = Classifier(zero_shot, tunes).first(reference)[0]
        assert 0.8 < float(first.norm(dim=1).mean()) < 1.2
    else:
        first = torch.zeros_like(zero_shot) if tunes == "task_residual" else zero_shot
    weights = first.clone().requires_grad_()
    optimiser = torch.optim.SGD([weights], lr=1, momentum=TRAIN.momentum, weight_decay=TRAIN.weight_decay)
    for epoch in range(TRAIN.epochs):
        optimiser.param_groups[0]["lr"] = outcome.history["lr"][epoch]
        for index in reference.epoch_batches(epoch):
            made = zero_shot + weights if tunes == "task_residual" else weights
            logits = backbone.scale * reference.images[1 + epoch % 2, index] @ (made / made.norm(dim=1, keepdim=True)).T
            optimiser.zero_grad()
            cross_entropy(logits, reference.given[index]).backward()
            optimiser.step()
    np.testing.assert_allclose(outcome.context[0], weights.detach(), atol=2e-5)
    assert np.abs(outcome.context[0] - first.numpy()).max() > 1e-2


@pytest.mark.parametrize("tunes", FROM_ZERO_SHOT)
def test_it_starts_as_the_zero_shot_classifier(backbone, tunes):
    (outcome,) = run(backbone, tunes, member_of(backbone, tunes))
    assert outcome.metrics["start"] == outcome.metrics["zero_shot"]
    learner, member = Classifier(zero_shot_of(backbone), tunes), member_of(backbone, tunes, "deft_text")
    first, second = learner(learner.first(member))
    torch.testing.assert_close(first, zero_shot_of(backbone), atol=1e-6, rtol=0)
    assert (second - first).abs().max() > 1e-3, "two learners that start alike stay alike"


def test_a_residual_without_decay_is_the_probe_that_starts_from_zero_shot(backbone):
    train = TRAIN.model_copy(update={"weight_decay": 0.0})
    (probe,), (residual,) = (run(backbone, tunes, member_of(backbone, tunes, train=train)) for tunes in FROM_ZERO_SHOT)
    np.testing.assert_allclose(probe.context, residual.context + zero_shot_of(backbone).numpy(), atol=1e-5)


@pytest.mark.parametrize("tunes", CLASSIFIERS)
def test_stacked_agrees_with_alone_whatever_the_method(backbone, tunes):
    methods = ("coop_ce", "gce", "joapr", "co_teaching", "deft_text", "mixup", "gjs")
    cases = [("coop_ce", 2), *((method, 1) for method in methods)]
    stacked = run(backbone, tunes, *(member_of(backbone, tunes, method, seed=seed) for method, seed in cases))
    for (method, seed), outcome in zip(cases, stacked, strict=True):
        (alone,) = run(backbone, tunes, member_of(backbone, tunes, method, seed=seed))
        assert outcome.status == "done", outcome.error
        np.testing.assert_allclose(outcome.context, alone.context, atol=1e-5)


def test_prompts_and_classifiers_in_one_shard_are_each_as_alone():
    """Interleaved, on an embedded task; and paired: the same labels for all of them."""
    grid = Grid(
        methods=[{"name": "gce", "tunes": ["task_residual", "prompt"]}, {"name": "coop_ce", "tunes": ["prompt", "linear_probe"]}],
        datasets=["digits"], noise={"symmetric": [0.5]}, seeds=[1, 2], train={"epochs": 2},
    )  # fmt: skip
    specs = expand(grid)
    assert [spec.task for spec in specs] == [task_digest("digits")] * 8
    together = train_stack(specs, device="cpu", keep_context=True)
    assert len({outcome.noise_digest for outcome in together}) == 2  # one per seed
    for spec, outcome in zip(specs, together, strict=True):
        (alone,) = train_stack([spec], device="cpu", keep_context=True)
        assert outcome.spec == spec
        np.testing.assert_allclose(outcome.context, alone.context, atol=1e-5)
        assert outcome.context.shape[1] == (16 if spec.method.tunes == "prompt" else 10), "context tokens, or classes"


@pytest.mark.parametrize("method", ["coop_ce", "gjs"])
def test_clip_adapter_is_its_plain_formula_under_torchs_sgd(backbone, method):
    zero_shot = zero_shot_of(backbone)
    (outcome,) = Stack([member_of(backbone, "clip_adapter", method)], ClipAdapter(zero_shot), None).run(keep_context=True)
    reference = member_of(backbone, "clip_adapter", method)
    down, up = (part.clone().requires_grad_() for part in ClipAdapter(zero_shot).first(reference)[0])
    assert down.abs().max() <= 24**-0.5 < up.abs().max() <= 6**-0.5
    optimiser = torch.optim.SGD([down, up], lr=1, momentum=TRAIN.momentum, weight_decay=TRAIN.weight_decay)
    reference.start()
    for epoch in range(TRAIN.epochs):
        optimiser.param_groups[0]["lr"] = outcome.history["lr"][epoch]
        for index in reference.epoch_batches(epoch):
            raw = torch.stack([reference.images[view, index] for view in reference.views(epoch)])
            images = 0.8 * raw + 0.2 * ((raw @ down.T).clamp_min(0) @ up).clamp_min(0)
            images = images / images.norm(dim=-1, keepdim=True)
            batch = Batch(zero_shot[None], images, reference.given[index], index, backbone.scale, epoch, reference.draws)
            optimiser.zero_grad()
            reference.method.loss(batch).mean().backward()
            optimiser.step()
    np.testing.assert_allclose(outcome.context[0], torch.stack([down, up]).detach(), atol=1e-5)
    assert (torch.stack([down, up]) - ClipAdapter(zero_shot).first(reference)[0]).abs().max() > 1e-3


def test_tip_adapter_f_is_its_plain_formula_under_torchs_sgd(backbone):
    """Beside a run with more shots, whose cache is longer."""
    zero_shot = zero_shot_of(backbone)
    more = make_member(backbone, make_spec("coop_ce"), make_task(zero_shot, shots=9))
    members = [member_of(backbone, "tip_adapter"), more]
    outcome, _ = Stack(members, TipAdapter(ZeroShot(zero_shot, backbone.scale), members), None).run(keep_context=True)
    reference = member_of(backbone, "tip_adapter")
    first = normalize(reference.images[1:].mean(dim=0), dim=1)
    keys, values = first.clone().requires_grad_(), torch.eye(5)[reference.given]
    optimiser = torch.optim.SGD([keys], lr=1, momentum=TRAIN.momentum, weight_decay=TRAIN.weight_decay)

    def logits(images):
        return backbone.scale * images @ zero_shot.T + torch.exp(-5.5 * (1 - images @ keys.T)) @ values

    assert outcome.metrics["start"] == 100 * float((logits(reference.test).argmax(dim=1) == reference.test_true).double().mean())
    for epoch in range(TRAIN.epochs):
        optimiser.param_groups[0]["lr"] = outcome.history["lr"][epoch]
        for index in reference.epoch_batches(epoch):
            optimiser.zero_grad()
            cross_entropy(logits(reference.images[1 + epoch % 2, index]), reference.given[index]).backward()
            optimiser.step()
    np.testing.assert_allclose(outcome.context[0][:40], keys.detach(), atol=1e-5)
    assert not outcome.context[0][40:].any(), "what fills the shorter cache stays nothing"
    assert (keys - first).abs().max() > 1e-2


def test_adapters_take_any_loss_stacked_as_alone():
    methods = ["coop_ce", "gce", "dspt", "joapr", "nlprompt", "elr", "gjs", "mixup"]
    entries = [{"name": name, "tunes": ["clip_adapter", "tip_adapter"]} for name in methods]
    specs = expand(
        Grid(methods=entries, datasets=["digits"], noise={"symmetric": [0.5]}, seeds=[1], shots=[4], train={"epochs": 2})
    )
    for spec, outcome in zip(specs, train_stack(specs, device="cpu", keep_context=True), strict=True):
        assert outcome.status == "done", (spec.method, outcome.error)
        (alone,) = train_stack([spec], device="cpu", keep_context=True)
        np.testing.assert_allclose(outcome.context, alone.context, atol=1e-6)


def test_a_method_with_class_features_of_its_own_is_refused_where_only_images_change(tmp_path):
    entries = [{"name": name, "tunes": ["clip_adapter", "task_residual", "tip_adapter"]} for name in ("co_teaching", "clap")]
    grid = Grid(methods=entries, datasets=["digits"], noise={"symmetric": [0.5]}, seeds=[1])
    plan = make_plan(grid, Store(tmp_path))
    assert plan.counts["new"] == 2
    assert plan.counts["unavailable"] == 4
    reasons = list(plan.reasons("unavailable"))
    assert "'co_teaching' learns class features of its own, which a clip_adapter leaves as they are." in reasons[0]


def test_a_method_that_trains_nothing_may_learn_from_shots_and_labels():
    """Tip-Adapter from the cards to its scores: a cell per noise setting and seed, and no step."""
    grid = Grid(methods=["tip_adapter", "zero_shot"], datasets=["digits"], noise={"symmetric": [0.0, 0.5]}, seeds=[1, 2], views=1)
    *cells, template = expand(grid)
    assert [(spec.seed, spec.noise.rate, spec.train, spec.sees_shots) for spec in cells] == [
        (seed, rate, None, True) for rate in (0.0, 0.5) for seed in (1, 2)
    ]
    assert not template.sees_shots
    outcomes = train_stack(cells, device="cpu")
    assert [outcome.metrics["realised_rate"] for outcome in outcomes] == [0.0, 0.0, 0.5, 0.5]
    assert len({outcome.noise_digest for outcome in outcomes}) == 4
    clean, _, noisy, _ = (outcome.metrics["accuracy"] for outcome in outcomes)
    assert clean > noisy > outcomes[0].metrics["zero_shot"]
    (data,) = load_data(cells[2:3])
    card = load_card("digits")
    text = zero_shot_model(load_backbone("embedded"), card)
    keys, values = data.train[1].astype(np.float64), np.eye(len(card.classes))[data.given]
    cache = np.exp(-5.5 * (1 - data.test @ keys.T)) @ values
    scores = text.scale * data.test @ text.text.numpy().T.astype(np.float64) + cache
    assert np.array_equal(outcomes[2].predictions, scores.argmax(axis=1))


def test_normalised_weights_leave_the_loss_nothing_but_cosines(backbone):
    learner = Classifier(zero_shot_of(backbone), "linear_probe")
    weights = 3 * learner.first(member_of(backbone, "linear_probe"))
    torch.testing.assert_close(learner(weights), normalize(weights, dim=-1))
    assert learner.max_stack(7) == 7
    assert learner.max_stack(None, processes=4) >= 1
