"""JoAPR and NLPrompt, which sort samples before every epoch, each against a case worked out by hand or a second way."""

import math
import warnings
from types import SimpleNamespace

import numpy as np
import ot
import pytest
import scipy.optimize
import scipy.stats
import torch
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from methods import joapr, nlprompt
from methods.registry import create


def log_softmax(z):
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


# JoAPR


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
    z, labels = undecided(), np.arange(24) % 4
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


# NLPrompt


def sinkhorn(cost, reg, rounds=3000):
    """Plain Sinkhorn with uniform marginals, float64."""
    kernel = np.exp(-cost / reg)
    n, c = cost.shape
    v = np.ones(c)
    for _ in range(rounds):
        u = 1 / n / (kernel @ v)
        v = 1 / c / (kernel.T @ u)
    return u[:, None] * kernel * v


def cost_of(z):
    return -log_softmax(np.exp(log_softmax(z)))


@pytest.mark.parametrize("reg", [0.05, 0.01])
def test_the_plan_is_that_of_plain_sinkhorn_where_it_works(reg):
    z = 3 * np.random.default_rng(0).standard_normal((24, 4))
    plan = nlprompt.transport(torch.from_numpy(z), reg).numpy()
    np.testing.assert_allclose(plan.sum(1), 1 / 24, rtol=1e-4)
    np.testing.assert_allclose(plan.sum(0), 1 / 4, rtol=1e-4)
    np.testing.assert_allclose(plan, sinkhorn(cost_of(z), reg), atol=1e-6)
    direct = ot.sinkhorn(np.full(24, 1 / 24), np.full(4, 1 / 4), cost_of(z), reg, method="sinkhorn_log", numItermax=5000)
    np.testing.assert_allclose(plan, direct, atol=1e-6)


def confident():
    """Logits of 40 samples that are sure of one of ten classes, 40 labels; the classes are unequal, every fourth label is wrong."""
    labels = np.arange(40) % 10
    z = 8.0 * np.eye(10)[labels]
    z[::4] = np.roll(z[::4], 1, axis=1)
    return z, labels


def undecided():
    """Logits of 24 samples between four classes, whose plan moves with the regularisation."""
    return np.random.default_rng(1).standard_normal((24, 4))


@pytest.mark.parametrize(("z", "reg"), [(undecided(), 0.02), (undecided(), 0.005), (confident()[0], 0.001)])
def test_the_plan_at_a_small_regularisation(z, reg):
    """Sinkhorn on logarithms, in numpy; at .001 every entry of the plain kernel is zero. Logits are float32, the plan is not."""
    logits = torch.from_numpy(z).float()
    scaled = -cost_of(logits.double().numpy()) / reg
    assert np.exp(scaled).any() == (reg > 0.001)
    column = np.zeros(z.shape[1])
    for _ in range(3000):
        row = -np.log(z.shape[0]) - logsumexp(scaled + column, axis=1, keepdims=True)
        column = -np.log(z.shape[1]) - logsumexp(scaled + row, axis=0)
    plan = nlprompt.transport(logits, reg).numpy()
    assert plan.dtype == np.float64
    np.testing.assert_allclose(plan, np.exp(scaled + row + column), rtol=5e-4, atol=1e-9)


@pytest.mark.parametrize(("classes", "reg"), [(14, 0.01), (1000, 0.01), (10, 0.0035), (10, 0.0034), (10, 0.0032)])
def test_the_plan_does_not_depend_on_the_domain(classes, reg):
    """Confident logits, whose cost spreads over nearly 1: around reg = 1/300 the domain changes; 1,000 classes shift all costs."""
    z = 30 * np.eye(classes)[np.arange(60) % classes] + np.random.default_rng(0).standard_normal((60, classes))
    plan = nlprompt.transport(torch.from_numpy(z), reg).numpy()
    logs = ot.sinkhorn(np.full(60, 1 / 60), np.full(classes, 1 / classes), cost_of(z), reg, method="sinkhorn_log",
                       numItermax=1000, stopThr=1e-6, warn=False)  # fmt: skip
    np.testing.assert_allclose(plan, logs, rtol=1e-7, atol=1e-15)


@pytest.mark.parametrize(("given", "clean"), [({}, [True, True, False, False]), ({"reg": 1.0}, [True, False, False, False])])
def test_nlprompt_transports_at_its_own_regularisation(given, clean, make_task):
    """Two classes take two samples each. With d = p_0 - p_1, class 0 gets d > t where Σ σ((d - t) / reg) = 2: at .01 the two
    largest d, at 1 nearly all d above their mean, .3."""
    d = np.array([0.9, 0.2, 0.1, 0.0])
    z = np.stack([np.log((1 + d) / (1 - d)), np.zeros(4)], 1)
    method = create("nlprompt", **given)
    method.start(make_task(z, [0, 0, 0, 0]))
    method.epoch_start(0, lambda: torch.from_numpy(z)[None])
    assert method.clean.tolist() == clean
    # a row's mass splits between two classes as σ((d - t) / reg)
    reg = given.get("reg", 0.01)
    level = scipy.optimize.brentq(lambda t: (1 / (1 + np.exp(-(d - t) / reg))).sum() - 2, -1, 1)
    np.testing.assert_allclose(method.clean_belief().numpy(), 1 / (1 + np.exp(-(d - level) / reg)), atol=1e-4)


def test_a_small_regularisation_does_not_turn_the_method_into_mae(make_task):
    """At .001 the public code's Sinkhorn divides by zero; in the log domain the plan is whole and finds the clean samples."""
    z, labels = confident()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        plain = ot.sinkhorn(np.full(40, 1 / 40), np.full(10, 1 / 10), cost_of(z), 0.001)
    assert not np.nan_to_num(plain).any()
    method = create("nlprompt", reg=0.001)
    method.start(make_task(z, labels))
    method.epoch_start(0, lambda: torch.from_numpy(z)[None])
    assert method.clean.tolist() == [i % 4 != 0 for i in range(40)]


def test_uniform_class_marginals_move_the_least_certain_sample():
    """All four lean to class 0; two classes must take two each, so the two that lean least go to class 1."""
    z = torch.tensor([[3.0, 0.0], [0.5, 0.0], [2.0, 0.0], [1.0, 0.0]])
    assert nlprompt.transport(z, 0.01).argmax(1).tolist() == [0, 1, 0, 1]


def test_nlprompt_takes_ce_for_the_clean_and_mae_for_the_others(make_batch, make_task):
    z, labels = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 1, 1])
    method = create("nlprompt")
    method.start(make_task(z, labels))
    method.clean = torch.tensor([True, True, False])
    batch = make_batch(z[[2, 0]], labels[[2, 0]])
    batch.index = torch.tensor([2, 0])
    log_p = log_softmax(z)
    assert method.loss(batch).tolist() == pytest.approx([1 - math.exp(log_p[2, 1]), -log_p[0, 0]])
