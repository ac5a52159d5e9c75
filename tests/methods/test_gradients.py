"""Losses that hold something constant: value and both gradients against numpy, float64, by central differences.

A reference is a function of image features [M, B, D] and text features [K, C, D]. What the method detaches it does not compute
from them but takes as it was.
"""

import numpy as np
import pytest
import torch

from methods.registry import create

Y = np.array([0, 1, 2, 0, 1, 2])
ROWS = np.arange(6)
PARTNER = torch.randperm(6, generator=torch.Generator().manual_seed(0)).numpy()  # mixup's, where the draw of λ is patched


def log_softmax(z):
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def draw(contexts=1):
    """Six unit image features and the text features of three classes, four-dimensional."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((6, 4))
    return images / np.linalg.norm(images, axis=1, keepdims=True), 3 * rng.standard_normal((contexts, 3, 4))


def mixed_log_p(images, text, lam):
    mixed = lam * images[0] + (1 - lam) * images[0][PARTNER]
    return log_softmax(mixed / np.linalg.norm(mixed, axis=1, keepdims=True) @ text[0].T)


@pytest.fixture
def agree(differences):
    """That a method's mean loss over a batch and its gradients at images and text are those of a reference."""

    def check(method, batch, reference):
        leaves = [batch.images, batch.text.requires_grad_()]
        loss = method.loss(batch).mean()
        images, text = (leaf.detach().numpy() for leaf in leaves)
        assert loss.item() == pytest.approx(reference(images, text), rel=1e-9)
        at_images, at_text = torch.autograd.grad(loss, leaves)
        expected = differences(lambda moved: reference(moved, text), images)
        np.testing.assert_allclose(at_images.numpy(), expected, rtol=1e-5, atol=1e-8)
        expected = differences(lambda moved: reference(images, moved), text)
        np.testing.assert_allclose(at_text.numpy(), expected, rtol=1e-5, atol=1e-8)

    return check


def test_mixup_learns_from_both_of_a_pair(make_batch, monkeypatch, agree):
    monkeypatch.setattr("methods.mixup.beta_draw", lambda *_: 0.3)
    assert (Y[PARTNER] != Y).any()

    def reference(images, text):
        log_p = mixed_log_p(images, text, 0.3)
        return -(0.3 * log_p[ROWS, Y] + 0.7 * log_p[ROWS, Y[PARTNER]]).mean()

    x, text = draw()
    agree(create("mixup"), make_batch(x, Y, contexts=torch.from_numpy(text)), reference)


def test_joapr_mixes_constant_targets_and_learns_its_prior(make_batch, make_task, monkeypatch, agree):
    """Features and targets are mixed by max(λ, 1-λ); the targets' own p is that before mixing and gets no gradient."""
    monkeypatch.setattr("methods.joapr.beta_draw", lambda *_: 0.3)
    x, text = draw()
    clean, weight = np.array([True, False, True, True, False, True]), np.array([0.9, 0.8, 0.4, 0.6, 0.3, 0.2])
    p = np.exp(log_softmax(x @ text[0].T))
    own = np.where(clean, weight, 0)[:, None]
    target = (own * np.eye(3)[Y] + (1 - own) * p) ** 2
    target /= target.sum(1, keepdims=True)

    def reference(images, text):
        log_p = mixed_log_p(images, text, 0.7)
        fit = -((0.7 * target + 0.3 * target[PARTNER]) * log_p).sum(1).mean()
        return fit + 0.5 * (1 / 3 * np.log((1 / 3) / np.exp(log_p).mean(0))).sum()

    method = create("joapr", alpha2=0.5)
    method.start(make_task(np.zeros((6, 3)), Y))
    method.clean, method.weight = torch.from_numpy(clean), torch.from_numpy(weight)
    agree(method, make_batch(x, Y, epoch=1, contexts=torch.from_numpy(text)), reference)


@pytest.mark.parametrize("name", ["co_teaching", "co_teaching_oracle"])
def test_both_co_teaching_learners_learn(name, make_batch, make_task, agree):
    """τ = .5: each context's gradient is that of its CE on the three samples that the other finds easiest."""
    x, text = draw(2)

    def losses(images, text):
        return [-log_softmax(images[0] @ each.T)[ROWS, Y] for each in text]

    easy, easy_too = (np.argsort(each)[:3] for each in losses(x[None], text))
    assert set(easy) != set(easy_too)

    def reference(images, text):
        first, second = losses(images, text)
        return first[easy_too].mean() + second[easy].mean()

    method = create(name)
    method.start(make_task(np.zeros((6, 3)), Y, noise_rate=0.5))
    method.tau = 0.5
    agree(method, make_batch(x, Y, epoch=10, contexts=torch.from_numpy(text)), reference)


def deft(x, text, y, other, epoch):
    """-log p_y of the clean - log p_no(ȳ) - log p_yes(y'), both floored at 1e-5 and s⁺ constant in both."""
    rows = np.arange(len(y))
    constant = x @ text[0].T
    clean = ((constant - x @ text[1].T)[rows, y] > 0) | (epoch == 0)
    pseudo = np.where(clean, y, constant.argmax(1))

    def reference(images, text):
        p_yes = 1 / (1 + np.exp(images[0] @ text[1].T - constant))
        log_yes, log_no = (np.log(np.maximum(p, 1e-5)) for p in (p_yes[rows, pseudo], (1 - p_yes)[rows, other]))
        return -log_softmax(images[0] @ text[0].T)[rows, y][clean].mean() - log_no.mean() - log_yes.mean()

    return reference, clean


def test_deft_teaches_one_context_by_ce_and_the_other_by_both_logarithms(make_batch, make_task, agree):
    x, text = draw(2)
    other = (Y + torch.randint(1, 3, (6,), generator=torch.Generator().manual_seed(0)).numpy()) % 3
    reference, clean = deft(x, text, Y, other, epoch=1)
    assert 0 < clean.sum() < 6
    method = create("deft_text")
    method.start(make_task(np.zeros((6, 3)), Y))
    agree(method, make_batch(x, Y, epoch=1, contexts=torch.from_numpy(text)), reference)


def test_deft_floors_its_probabilities(make_batch, make_task, agree):
    """s⁻ = 0, two classes: a p_yes or p_no of σ(-9) = 1.2e-4 is above the floor, 1e-5, and learns; one of σ(-14) = 8e-7 is not."""
    x, y = np.array([[-9.0, 9.0], [-14.0, 9.0], [-9.0, 14.0], [-14.0, 14.0]]), np.zeros(4, dtype=int)
    text = np.stack([np.eye(2), np.zeros((2, 2))])
    reference, _ = deft(x, text, y, 1 - y, epoch=0)
    method = create("deft_text")
    method.start(make_task(np.zeros((4, 2)), y))
    agree(method, make_batch(x, y, contexts=torch.from_numpy(text)), reference)


def test_nlprompt_learns_from_every_sample(make_batch, make_task, agree):
    x, text = draw()
    clean = np.array([True, False, True, False, False, True])

    def reference(images, text):
        log_p = log_softmax(images[0] @ text[0].T)[ROWS, Y]
        return np.where(clean, -log_p, 1 - np.exp(log_p)).mean()

    method = create("nlprompt")
    method.start(make_task(np.zeros((6, 3)), Y))
    method.clean = torch.from_numpy(clean)
    agree(method, make_batch(x, Y, contexts=torch.from_numpy(text)), reference)


@pytest.mark.parametrize("name", ["clean_only", "clipcleaner"])
def test_a_selection_learns_by_ce(name, make_batch, make_task, agree):
    x, text = draw()
    clean = np.array([True, False, True, True, False, True])
    method = create(name)
    method.start(make_task(np.zeros((6, 3)), Y, clean_labels=torch.from_numpy(Y)))
    method.clean = torch.from_numpy(clean)
    reference = lambda images, text: -log_softmax(images[0] @ text[0].T)[ROWS, Y][clean].mean()  # noqa: E731 - used once, on the next lines
    agree(method, make_batch(x, Y, contexts=torch.from_numpy(text)), reference)


def test_elr_clamps_its_probabilities(make_batch, make_task, agree):
    """To [1e-4, 1 - 1e-4], in the target and in the regulariser: at its ends the latter has no gradient, and CE has its own."""
    z, y = np.array([[12.0, 0.0, -2.0], [1.0, 2.0, -12.0]]), np.array([1, 2])
    p = np.exp(log_softmax(z))
    assert (p[0] > 1 - 1e-4).sum() == 1
    assert [(row < 1e-4).sum() for row in p] == [2, 1]
    p = p.clip(1e-4, 1 - 1e-4)
    target = 0.3 * p / p.sum(1, keepdims=True)

    def reference(images, text):
        log_p = log_softmax(images[0] @ text[0].T)
        overlap = (target * np.exp(log_p).clip(1e-4, 1 - 1e-4)).sum(1)
        return (-log_p[[0, 1], y] + 3 * np.log(1 - overlap)).mean()

    method = create("elr")
    method.start(make_task(z, y))
    agree(method, make_batch(z, y), reference)
