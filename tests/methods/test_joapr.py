"""JoAPR, which sorts samples before every epoch, against cases worked out by hand or a second way."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch

from methods import joapr
from methods.registry import create


def log_softmax(z):
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def test_equal_gaussians_cross_in_the_middle():
    assert joapr.crossing(np.array([0.2, 0.8]), np.array([0.01, 0.01])) == pytest.approx(0.5)
    assert joapr.crossing(np.array([0.8, 0.2]), np.array([0.01, 0.01])) == pytest.approx(0.5)


@pytest.mark.parametrize(("deviations"), [(0.05, 0.2), (0.2, 0.05), (0.1, 0.1001)])
def test_gaussians_cross_where_their_densities_are_equal(deviations):
    """Root by bisection between the means, on scipy's densities; public code takes variances for standard deviations."""
    means = np.array([0.1, 0.7])
    clean, noisy = (scipy.stats.norm(m, s) for m, s in zip(means, deviations, strict=True))
    expected = scipy.optimize.brentq(lambda x: clean.pdf(x) - noisy.pdf(x), *means)
    assert joapr.crossing(means, np.array(deviations) ** 2) == pytest.approx(expected, abs=1e-6)


def test_gaussians_that_never_cross():
    assert math.isfinite(joapr.crossing(np.array([0.5, 0.5]), np.array([0.1, 0.1])))


def test_partition_of_two_heaps_and_its_threshold():
    losses = np.array([0.0, 0.02, 0.04, 0.05, 0.06, 0.08, 0.9, 0.95, 1.0, 0.97])
    p_clean, clean, rate = joapr.partition(losses, 0.5, seed=0)
    assert clean.tolist() == [True] * 6 + [False] * 4
    assert (p_clean > 0.5).tolist() == clean.tolist()
    assert rate == pytest.approx(0.4)  # 4 of 10 at or below P(clean) = .5


def test_partition_is_the_union_of_both_sets(monkeypatch):
    """Between the crossing and the threshold on P(clean) the more lenient one decides."""
    losses = np.concatenate([np.linspace(0, 0.3, 30), np.linspace(0.5, 1, 10)])
    p_clean, _, rate = joapr.partition(losses, 0.5, seed=0)
    for crossing in (-1.0, 0.1, 2.0):
        monkeypatch.setattr(joapr, "crossing", lambda *_, at=crossing: at)
        _, clean, _ = joapr.partition(losses, 0.5, seed=0)
        assert clean.tolist() == ((losses < crossing) | (p_clean > rate)).tolist()


def heaps(wrong=(3,)):
    """Eight samples of two classes, all predicted rightly by a margin of 4; those of `wrong` have the other label."""
    true = np.arange(8) % 2
    z = 4.0 * np.eye(2)[true] + 0.1 * np.arange(8)[:, None] * np.array([[0.3, -0.3]])
    labels = np.where(np.isin(np.arange(8), wrong), 1 - true, true)
    return z, labels


@pytest.mark.parametrize(("threshold", "rate", "clean"), [(0.2, 1 / 6, 5), (0.5, 2 / 6, 4), (0.8, 4 / 6, 3)])
def test_the_noise_rate_is_counted_at_the_last_one(threshold, rate, clean, monkeypatch):
    """The share of P(clean) at or below the threshold given; it decides itself which P(clean) are clean."""
    p = np.array([0.95, 0.85, 0.75, 0.6, 0.3, 0.1])
    made_up = SimpleNamespace(means_=np.array([[0.1], [0.9]]), covariances_=np.full((2, 1, 1), 0.01))
    made_up.fit = lambda _: made_up
    made_up.predict_proba = lambda _: np.stack([p, 1 - p], 1)
    monkeypatch.setattr("sklearn.mixture.GaussianMixture", lambda *_, **__: made_up)
    above_the_crossing = np.full(6, 2.0)
    p_clean, chosen, found = joapr.partition(above_the_crossing, threshold, seed=0)
    assert p_clean.tolist() == p.tolist()
    assert found == pytest.approx(rate)
    assert chosen.tolist() == [i < clean for i in range(6)]


def test_the_mixture_is_that_of_the_public_code(monkeypatch):
    from sklearn.mixture import GaussianMixture

    made = []
    monkeypatch.setattr("sklearn.mixture.GaussianMixture", lambda *a, **k: made.append(GaussianMixture(*a, **k)) or made[-1])
    joapr.partition(np.linspace(0, 1, 10), 0.5, seed=7)
    expected = GaussianMixture(n_components=2, max_iter=10, tol=0.01, reg_covar=0.0005, random_state=7)
    assert [mixture.get_params() for mixture in made] == [expected.get_params()]


def test_joapr_hands_each_noise_rate_on_to_the_next_epoch(make_task, monkeypatch):
    """The first threshold is .5; the warm-up epoch needs none."""
    thresholds, rates = [], iter([0.3, 0.45, 0.2])
    monkeypatch.setattr(joapr, "partition", lambda losses, at, _: thresholds.append(at) or (losses, losses < 0.5, next(rates)))
    z, labels = heaps()
    method = create("joapr")
    method.start(make_task(z, labels))
    for epoch in range(4):
        method.epoch_start(epoch, lambda: torch.from_numpy(z)[None])
    assert thresholds == [0.5, 0.3, 0.45]


def test_joapr_keeps_weights_with_their_samples(make_task):
    """The weight of a sample is P(clean) of the mixture, from the second partition on times its own p_y."""
    z, labels = heaps()
    method = create("joapr")
    method.start(make_task(z, labels))
    predict = lambda: torch.from_numpy(z)[None]  # noqa: E731 - used once, on the next lines
    method.epoch_start(0, predict)
    assert method.clean.all()  # warm-up: nothing is partitioned
    method.epoch_start(1, predict)
    assert method.clean.tolist() == [True, True, True, False, True, True, True, True]
    first = method.weight.numpy().copy()
    method.epoch_start(2, predict)
    p_y = np.exp(log_softmax(z))[np.arange(8), labels]
    np.testing.assert_allclose(method.weight.numpy(), first * p_y, rtol=1e-5)


def test_joaprs_belief_is_the_mixtures_posterior(make_task):
    """Against scikit-learn's mixture on the same scaled losses, and no longer 0 or 1."""
    from sklearn.mixture import GaussianMixture

    z, labels = np.random.default_rng(1).standard_normal((24, 4)), np.arange(24) % 4  # between four classes
    method = create("joapr")
    method.start(make_task(z, labels))
    assert method.clean_belief().tolist() == [1] * 24
    seed = make_task(z, labels).draw_seed()
    method.epoch_start(1, lambda: torch.from_numpy(z)[None])
    log_p = log_softmax(z)
    losses = -log_p[np.arange(24), labels] - (np.exp(log_p) * log_p).sum(1)
    scaled = ((losses - losses.min()) / np.ptp(losses))[:, None]
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed).fit(scaled)
    expected = mixture.predict_proba(scaled)[:, mixture.means_.argmin()]
    np.testing.assert_allclose(method.clean_belief().numpy(), expected, atol=1e-6)
    assert ((expected > 0.05) & (expected < 0.95)).any()


def test_joapr_scales_losses_and_averages_five_epochs(make_task, monkeypatch):
    seen = []
    monkeypatch.setattr(joapr, "partition", lambda losses, *_: seen.append(losses) or (losses, losses < 0.5, 0.5))
    rng = np.random.default_rng(0)
    method, scaled = create("joapr"), []
    method.start(make_task(np.zeros((6, 3)), [0, 1, 2, 0, 1, 2]))
    for epoch in range(1, 8):
        z = 2 * rng.standard_normal((6, 3))
        method.epoch_start(epoch, lambda z=z: torch.from_numpy(z)[None])
        log_p = log_softmax(z)
        loss = -log_p[np.arange(6), [0, 1, 2, 0, 1, 2]] - (np.exp(log_p) * log_p).sum(1)
        scaled.append((loss - loss.min()) / (loss.max() - loss.min()))
        np.testing.assert_allclose(seen[-1], np.mean(scaled[-5:], axis=0), rtol=1e-9)


def test_joapr_pairs_clean_and_noisy_batches(make_task):
    method = create("joapr")
    method.start(make_task(np.zeros((19, 2)), np.arange(19) % 2))
    assert method.batches(0) is None
    method.clean = torch.arange(19) < 14  # three clean batches of 4 (the last, incomplete one is dropped), one of 4 noisy ones
    batches = method.batches(5)
    assert [len(batch) for batch in batches] == [8, 8, 8]
    noisy = [set(batch[4:].tolist()) for batch in batches]
    assert all(some <= set(range(14, 19)) and len(some) == 4 for some in noisy)
    drawn = [{frozenset(batch[4:].tolist()) for batch in method.batches(5)} for _ in range(20)]
    assert max(map(len, drawn)) > 1  # within an epoch: shuffled again whenever the list begins anew
    assert len({i for batch in batches for i in batch[:4].tolist()} & set(range(14))) == 12
    for every, sizes in ((torch.ones(19), [4, 4, 4, 4]), (torch.zeros(19), [4, 4, 4, 4])):
        method.clean = every.bool()
        assert [len(batch) for batch in method.batches(5)] == sizes


def test_joapr_refurbishes_labels(make_batch, make_task, monkeypatch):
    """w y + (1-w) p where clean, p where not; squared and renormalised; then soft CE and KL(uniform ‖ mean prediction)."""
    monkeypatch.setattr("methods.joapr.beta_draw", lambda *_: 1.0)
    x = np.array([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    labels, weight, clean = np.array([0, 1, 2]), np.array([0.7, 0.4, 0.9]), np.array([True, True, False])
    method = create("joapr", alpha2=0.5)
    method.start(make_task(x, labels))
    method.clean, method.weight = torch.from_numpy(clean), torch.from_numpy(weight)
    loss = method.loss(make_batch(x, labels, epoch=3)).mean().item()

    log_p = log_softmax(x)
    p, target = np.exp(log_p), np.exp(log_p)
    for i in np.flatnonzero(clean):
        target[i] = weight[i] * np.eye(3)[labels[i]] + (1 - weight[i]) * p[i]
    target = target**2 / (target**2).sum(1, keepdims=True)
    penalty = sum(1 / 3 * math.log((1 / 3) / p.mean(0)[k]) for k in range(3))
    assert loss == pytest.approx(-(target * log_p).sum(1).mean() + 0.5 * penalty, rel=1e-9)


def test_joapr_warms_up_on_ce_minus_entropy(make_batch):
    z, labels = np.random.default_rng(0).standard_normal((5, 4)), [0, 1, 2, 3, 0]
    log_p = log_softmax(z)
    expected = -log_p[np.arange(5), labels] + 0.5 * (np.exp(log_p) * log_p).sum(1)
    np.testing.assert_allclose(create("joapr").loss(make_batch(z, labels)).detach().numpy(), expected, rtol=1e-9)
