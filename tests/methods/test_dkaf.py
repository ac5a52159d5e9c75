"""DKAF's detector against a second implementation in numpy, sample by sample, and its state worked out by hand."""

import numpy as np
import pytest
import torch

from methods.registry import create


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def log_softmax(z):
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_the_loss_is_its_formula(epoch, make_batch, make_task):
    """In warm-up, after it, and where beliefs are averaged over epochs; texts and images are general unit vectors."""
    rng = np.random.default_rng(epoch)
    x, text, y = unit(rng.standard_normal((6, 4))), unit(rng.standard_normal((11, 4, 4))), np.array([0, 1, 2, 3, 0, 1])
    method = create("dkaf_text")
    method.start(make_task(x, y))
    method.alpha, room, alike = 0.3, np.array([4.0, 0.0, 9.0, 1.0]), rng.standard_normal((4, 4))
    method.room, method.alike, method.pseudo = torch.tensor(room), torch.tensor(alike), torch.tensor([1, 1, 3, 0, 2, 0])
    before = rng.uniform(size=6)
    method.belief = torch.tensor(before)
    contexts = torch.tensor(text).requires_grad_()
    loss = method.loss(make_batch(3 * x, y, epoch=epoch, contexts=contexts))

    z = np.einsum("bd,kcd->kbc", 3 * x, text)
    steps = torch.randint(1, 4, (6,), generator=torch.Generator().manual_seed(0)).numpy()
    margins = room[:, None] * (0.3 * text[0] @ text[0].T + 0.7 * alike)
    pairs = [(i, j) for i in range(1, 11) for j in range(i + 1, 11)]
    cosine = np.mean([np.mean([text[i, c] @ text[j, c] for i, j in pairs]) for c in range(4)])
    expected, fits, beliefs = np.zeros(6), np.zeros(6), np.zeros(6)
    for b in range(6):
        kept = [sigmoid(z[0, b, y[b]] - z[m, b, y[b]]) for m in range(1, 11)]
        kept = [0.7 * before[b] + 0.3 * p for p in kept] if epoch > 2 else kept
        beliefs[b] = np.mean(kept)
        for m in range(1, 11):
            gap, other = z[0, b] - z[m, b], (y[b] + steps[b]) % 4
            target = y[b] if epoch == 0 or kept[m - 1] > 0.5 else int(method.pseudo[b])
            expected[b] -= (np.log(sigmoid(-gap[other])) + np.log(sigmoid(gap[target]))) / 10
        if epoch == 0:
            p = np.exp(log_softmax(z[0, b]))
            fits[b] = -np.log(p[y[b]]) - sum(p[k] * np.log(1e-4) for k in range(4) if k != y[b])
        else:
            fits[b] = -log_softmax(z[0, b] + margins[y[b]] * (np.arange(4) != y[b]))[y[b]]
    clean = np.ones(6, dtype=bool) if epoch == 0 else beliefs > 0.5
    assert 0 < clean.sum() <= 6
    fits = np.where(clean, fits, 0) * 6 / clean.sum()
    np.testing.assert_allclose(loss.detach(), expected + fits + 0.5 * cosine, rtol=1e-9)
    np.testing.assert_allclose(method.clean_belief(), beliefs, rtol=1e-9)
    (gradient,) = torch.autograd.grad(loss.sum(), contexts)
    assert gradient.abs().amax(dim=(1, 2)).min() > 0, "all eleven contexts learn"


def test_prototypes_margins_and_the_weight_of_text(make_task):
    """Five samples of three classes; sample 4 is disbelieved, and confident of class 1 by both modalities."""
    x = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]])
    y = np.array([0, 0, 1, 2, 2])
    method = create("dkaf_text")
    method.start(make_task(x, y, scale=100.0))
    method.belief = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.2], dtype=torch.float64)
    logits = 9 * x
    logits[3] = [9, 0, 0]  # text takes sample 3 for class 0
    method.epoch_start(1, lambda: torch.tensor(logits)[None].repeat(11, 1, 1))
    assert method.alpha == 0.5, "not yet weighed"
    assert method.pseudo.tolist() == [0, 0, 1, 2, 1]
    assert method.room.tolist() == pytest.approx([0, 0, 4.5]), "two of class 0, two of class 1, one of class 2"
    np.testing.assert_allclose(method.alike, np.eye(3))
    method.epoch_start(3, lambda: torch.tensor(logits)[None].repeat(11, 1, 1))
    assert method.alpha == pytest.approx(3 / 7), "text agrees with three clean labels, prototypes with four"
    method.belief[:] = 0
    method.epoch_start(4, lambda: torch.zeros(11, 5, 3, dtype=torch.float64))
    assert method.room.tolist() == [9, 9, 9], "nobody is clean or confident"
