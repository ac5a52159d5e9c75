"""Methods of the field that keep state, each against a case worked out by hand or a second way, in numpy."""

import numpy as np
import pytest
import torch

from methods.registry import create


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def onehot(y, classes):
    return np.eye(classes)[y]


def visit(make_batch, z, y, order, **more):
    """A batch of the samples in `order`, whose index says so."""
    batch = make_batch(z[..., order, :], y[order], **more)
    batch.index = torch.from_numpy(order)
    return batch


# TecoPrompt


def plan(*rows):
    """A plan [4, 2] whose rows are shares of a quarter."""
    return lambda *_: torch.tensor(rows, dtype=torch.float64) / 4


def test_tecoprompt_state_over_epochs(make_batch, make_task, monkeypatch):
    """Four samples, a window of 2. 0: sure of its label. 1: sure of another class. 2: unsure of its label. 3: wavers."""
    y = np.array([0, 0, 1, 1])
    method = create("tecoprompt", window=2, beta=0.5)
    method.start(make_task(np.zeros((4, 2)), y))
    plans = [
        [(1, 0), (0, 1), (0.4, 0.6), (1, 0)],
        [(1, 0), (0, 1), (0.4, 0.6), (0, 1)],
        [(0.6, 0.4), (0, 1), (0.9, 0.1), (0, 1)],
    ]
    trust = [[1, 1, 0.6, 1], [1, 1, 0.6, 1], [0.8, 1, 0.75, 1]]
    clean = [[1, 0, 0, 0], [1, 0, 0, 1], [1, 1, 0, 1]]  # epoch 2: sample 1 has the label that it was given at epoch 1
    between = [[0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    labels = [[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    z = np.array([[1.0, 0.0], [0.5, -0.5], [0.2, 0.1], [0.0, 2.0]])
    p = softmax(z)
    for epoch in range(3):
        monkeypatch.setattr("methods.tecoprompt.transport", plan(*plans[epoch]))
        method.epoch_start(epoch, lambda: torch.zeros(1, 4, 2))
        assert method.trust.tolist() == pytest.approx(trust[epoch])
        assert method.clean.int().tolist() == clean[epoch]
        assert method.between.int().tolist() == between[epoch]
        assert method.labels.tolist() == labels[epoch]
        order = np.array([2, 0, 3, 1])
        loss = method.loss(visit(make_batch, z, y, order, epoch=epoch))
        for b, i in enumerate(order):
            p_y = p[i, labels[epoch][i]]
            expected = -np.log(p_y) if clean[epoch][i] else (1 - p_y**0.5) / 0.5 if between[epoch][i] else 1 - p_y
            assert loss[b].item() == pytest.approx(expected, rel=1e-9)
    assert method.clean_belief().tolist() == pytest.approx([0.8, 0, 0, 1])  # of the given labels


# SOP


def test_sop_steps_over_two_visits(make_batch, make_task):
    """Four samples; u and v after each visit, and the loss, from the closed forms of both gradients."""
    y = np.array([0, 1, 2, 0])
    z = np.array([[2.0, 0.0, -1.0], [1.0, 0.2, 0.0], [-3.0, 0.0, 9.0], [-9.0, 4.0, 0.0]])
    p, given, hard = softmax(z), onehot(y, 3), onehot(z.argmax(1), 3)
    method = create("sop", std=0.3)
    method.start(make_task(z, y))
    u, v = method.u.numpy().copy(), method.v.numpy().copy()
    for order in (np.array([0, 1, 2, 3]), np.array([3, 1, 0, 2])):
        loss = method.loss(visit(make_batch, z, y, order))
        more, less = np.minimum(u**2 * given, 1 - 1e-4), np.minimum(v**2 * (1 - given), 1 - 1e-4)
        raised = np.maximum(p + more - less, 1e-4)
        share = raised / raised.sum(1, keepdims=True)
        for b, i in enumerate(order):
            assert loss[b].item() == pytest.approx(-np.log(max(share[i, y[i]], 1e-4)), rel=1e-9)
        free = ((p + more - less)[np.arange(4), y] > 1e-4) & (u[:, 0] ** 2 < 1 - 1e-4)  # no clamp holds u
        at_more = -1 / raised[np.arange(4), y] + 1 / raised.sum(1)  # of -log share_y, by raised_y
        u = u - 1.0 * (free * at_more * 2 * u[:, 0] / 4)[:, None]
        v = v + 10.0 * 2 * (hard + more - less - given) * (1 - given) * (v**2 < 1 - 1e-4) * 2 * v / 4
        np.testing.assert_allclose(method.u.numpy(), u, rtol=1e-9)
        np.testing.assert_allclose(method.v.numpy(), v, rtol=1e-9)


def test_sop_teaches_the_context_by_its_cross_entropy_alone(make_batch, make_task, differences):
    z, y = np.array([[0.3, 0.1, -0.4]]), np.array([1])
    method = create("sop", std=0.3)
    method.start(make_task(z, y))
    more, less = (method.u.numpy() ** 2 * onehot(y, 3))[0], (method.v.numpy() ** 2 * (1 - onehot(y, 3)))[0]

    def reference(row):
        raised = np.maximum(softmax(row) + more - less, 1e-4)
        return -np.log(raised[1] / raised.sum())

    batch = make_batch(z, y)
    (gradient,) = torch.autograd.grad(method.loss(batch).sum(), batch.images)
    np.testing.assert_allclose(gradient[0, 0].numpy(), differences(reference, z[0]), rtol=1e-5, atol=1e-8)


# SELC and self-adaptive training


@pytest.mark.parametrize("name", ["selc", "sat"])
def test_targets_move_from_the_labels_to_the_predictions(name, make_batch, make_task):
    """By the samples' index, after a fifth of 20 epochs; SAT weighs by the targets' largest entries."""
    rng, y = np.random.default_rng(0), np.array([0, 2, 1])
    method = create(name)
    method.start(make_task(np.zeros((3, 3)), y))
    target = onehot(y, 3)
    for epoch in (3, 4, 5):
        z, order = 2 * rng.standard_normal((3, 3)), np.roll(np.arange(3), epoch)
        loss = method.loss(visit(make_batch, z, y, order, epoch=epoch))
        p = softmax(z)
        if epoch >= 4:
            target = 0.9 * target + 0.1 * p
        weight = target.max(1) / target.max(1).mean() if name == "sat" and epoch >= 4 else np.ones(3)
        expected = -weight * (target * np.log(p)).sum(1)
        assert loss.tolist() == pytest.approx(expected[order].tolist(), rel=1e-9)
    assert method.clean_belief().tolist() == pytest.approx(target[np.arange(3), y].tolist())


# JoCoR


def test_jocor_learns_from_what_both_learners_agree_on(make_batch, make_task, differences):
    rng, y = np.random.default_rng(0), np.array([0, 1, 2, 0])
    x, text = rng.standard_normal((4, 3)), rng.standard_normal((2, 3, 3))
    method = create("jocor")
    method.start(make_task(x, y))
    method.tau = 0.5

    def joint(images):
        p, q = (softmax(images @ each.T) for each in text)
        divergence = (p * np.log(p / q)).sum(1) + (q * np.log(q / p)).sum(1)
        return 0.9 * -(np.log(p) + np.log(q))[np.arange(4), y] + 0.1 * divergence

    kept = np.argsort(joint(x))[:2]
    batch = make_batch(x, y, epoch=10, contexts=torch.from_numpy(text))
    loss = method.loss(batch).mean()
    assert loss.item() == pytest.approx(joint(x)[kept].mean(), rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, batch.images)
    np.testing.assert_allclose(gradient[0].numpy(), differences(lambda moved: joint(moved)[kept].mean(), x), rtol=1e-5, atol=1e-8)
    assert set(np.flatnonzero(method.clean_belief().numpy() > 0.5)) == set(kept)


# DivideMix


def test_each_dividemix_learner_divides_for_the_other(make_task):
    """Learner 0 finds samples 0 to 2 easy, learner 1 samples 3 to 5."""
    z = np.zeros((2, 6, 2))
    z[0, 3:, 1] = z[1, :3, 1] = 5
    method = create("dividemix")
    method.start(make_task(z[0], [0] * 6))
    method.epoch_start(1, lambda: torch.from_numpy(z))
    assert (method.p_clean > 0.5).int().tolist() == [[0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0]]


def test_dividemix_loss_is_that_of_both_learners(make_batch, make_task, monkeypatch):
    monkeypatch.setattr("methods.dividemix.beta_draw", lambda *_: 0.3)
    rng, y = np.random.default_rng(0), np.array([0, 1, 2, 0])
    x, text = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 3, 3))
    x /= np.linalg.norm(x, axis=2, keepdims=True)
    method = create("dividemix")
    method.start(make_task(x[0], y))
    weight = np.array([[0.9, 0.2, 0.6, 0.1], [0.4, 0.8, 0.3, 0.7]])
    method.p_clean = torch.from_numpy(weight)
    p = np.stack([softmax(x @ each.T).mean(0) for each in text])  # [2, 4, 3]
    generator = torch.Generator().manual_seed(0)
    expected = np.zeros(4)
    for k in range(2):
        w = weight[k][:, None]
        guess = np.where(w > 0.5, w * onehot(y, 3) + (1 - w) * p[k], p.mean(0)) ** 2
        target = guess / guess.sum(1, keepdims=True)
        partner = torch.randperm(4, generator=generator).numpy()
        mixed = 0.7 * x[0] + 0.3 * x[0][partner]
        q = softmax(mixed / np.linalg.norm(mixed, axis=1, keepdims=True) @ text[k].T)
        label = 0.7 * target + 0.3 * target[partner]
        unlabelled = 25 * 4 / 16 * ((q - label) ** 2).mean(1)  # four epochs after the warm-up
        prior = (np.log(1 / 3 / q.mean(0)) / 3).sum()
        expected += np.where(w[:, 0] > 0.5, -(label * np.log(q)).sum(1), unlabelled) + prior
    loss = method.loss(make_batch(x, y, epoch=5, contexts=torch.from_numpy(text)))
    assert loss.tolist() == pytest.approx(expected.tolist(), rel=1e-9)


def test_dividemix_sums_its_learners_logits():
    text, images = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 0.0]]]), torch.tensor([[0.6, 0.8]])
    assert create("dividemix").scores(text, images, 10.0).tolist() == [pytest.approx([24.0, 8.0])]


# SSR


def test_ssr_relabels_the_confident_and_keeps_what_its_neighbours_confirm(make_batch, make_task, monkeypatch):
    """Two clusters of three on a line, three neighbours each: sample 2 is mislabelled and unsure, sample 5 mislabelled and sure."""
    monkeypatch.setattr("methods.ssr.beta_draw", lambda *_: 0.2)
    x = np.array([[1.0, 0.0], [0.995, 0.1], [0.98, 0.2], [0.0, 1.0], [0.1, 0.995], [0.2, 0.98]])
    y = np.array([0, 0, 1, 1, 1, 0])
    method = create("ssr")
    method.start(make_task(x, y))
    z = np.array([[0.5, 0], [0.5, 0], [0.5, 0], [0, 0.5], [0, 0.5], [0, 5.0]])
    method.epoch_start(0, lambda: torch.from_numpy(z)[None])
    assert method.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert method.clean.tolist() == [True, True, False, True, True, True]
    # classes have 2 and 4 of 6 labels: votes of (2/3, 1/3) count 2 and 1/2, so the first cluster's other label is worth a quarter
    assert method.clean_belief().tolist() == pytest.approx([1, 1, 0.25, 1, 1, 0])
    keep = [0, 1, 3, 4, 5]
    clean, labels = x[keep], np.array([0, 0, 1, 1, 1])
    partner = torch.randperm(5, generator=torch.Generator().manual_seed(0)).numpy()
    mixed = 0.8 * clean + 0.2 * clean[partner]
    log_p = np.log(softmax(mixed / np.linalg.norm(mixed, axis=1, keepdims=True)))
    rows = np.arange(5)
    expected = -(0.8 * log_p[rows, labels] + 0.2 * log_p[rows, labels[partner]])
    assert method.loss(make_batch(x, y)).mean().item() == pytest.approx(expected.mean(), rel=1e-6)
