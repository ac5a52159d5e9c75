"""Methods that sort samples, each against a case small enough to work out by hand or a second way."""

import math
import warnings

import numpy as np
import ot
import pytest
import scipy.optimize
import scipy.stats
import torch

from methods import clipcleaner, co_teaching, joapr, nlprompt
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


def test_joapr_keeps_weights_with_their_samples(make_task):
    """The weight of a sample is P(clean) of the mixture, from the second partition on times its own p_y."""
    z, labels = heaps()
    method = create("joapr")
    method.start(make_task(z, labels))
    predict = lambda: torch.from_numpy(z)[None]  # noqa: E731
    method.epoch_start(0, predict)
    assert method.clean.all()  # warm-up: nothing is partitioned
    method.epoch_start(1, predict)
    assert method.clean.tolist() == [True, True, True, False, True, True, True, True]
    first = method.weight.numpy().copy()
    method.epoch_start(2, predict)
    p_y = np.exp(log_softmax(z))[np.arange(8), labels]
    np.testing.assert_allclose(method.weight.numpy(), first * p_y, rtol=1e-5)
    assert method.clean_belief().tolist() == [1, 1, 1, 0, 1, 1, 1, 1]


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
    drawn = [frozenset(batch[4:].tolist()) for _ in range(20) for batch in method.batches(5)]
    assert len(set(drawn)) == 5  # shuffled again whenever it begins anew: each of the five is left out at times
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


def test_a_small_regularisation_does_not_turn_the_method_into_mae(make_task):
    """At .001 the public code's Sinkhorn divides by zero; in the log domain the plan is whole and finds the clean samples."""
    labels = np.arange(40) % 10
    z = 8.0 * np.eye(10)[labels]
    z[::4] = np.roll(z[::4], 1, axis=1)  # every fourth label is wrong
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


# Co-teaching


def test_co_teaching_exchanges_its_small_losses(make_batch, make_task):
    """τ = .5 of four samples: each learner trains on the two that the other finds easiest."""
    z, labels = np.array([[2.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.5, 0.0]]), np.array([0, 0, 0, 0])
    second = torch.tensor([[-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)  # sees the first coordinate reversed
    method = create("co_teaching_oracle")
    method.start(make_task(z, labels, noise_rate=0.5))
    batch = make_batch(z, labels, epoch=10, contexts=torch.stack([torch.eye(2, dtype=torch.float64), second]))
    loss = method.loss(batch).mean().item()
    own, other = -log_softmax(z)[:, 0], -log_softmax(z * np.array([-1.0, 1.0]))[:, 0]
    assert np.argsort(own)[:2].tolist() == [0, 1]
    assert sorted(np.argsort(other)[:2].tolist()) == [2, 3]
    assert loss == pytest.approx(own[[2, 3]].mean() + other[[0, 1]].mean())
    assert method.clean_belief().tolist() == [0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(("epoch", "kept"), [(0, 8), (5, 6), (10, 4), (19, 4)])
def test_co_teaching_keeps_ever_fewer(epoch, kept, make_batch, make_task):
    z, labels = np.random.default_rng(0).standard_normal((8, 3)), np.zeros(8, dtype=int)
    method = create("co_teaching_oracle")
    method.start(make_task(z, labels, noise_rate=0.5))
    method.loss(make_batch(z, labels, epoch=epoch, contexts=torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)))
    assert method.clean_belief().sum().item() == kept


def test_leave_one_out_is_really_leaving_one_out():
    """The closed form against twelve regressions, each without its sample."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((12, 4)), np.arange(12) % 3
    got = co_teaching.left_out_predictions(torch.from_numpy(x), torch.from_numpy(labels), 3).numpy()
    padded = np.hstack([x, np.ones((12, 1))])
    for i in range(12):
        rest = np.arange(12) != i
        weights = np.linalg.solve(padded[rest].T @ padded[rest] + 0.01 * np.eye(5), padded[rest].T @ np.eye(3)[labels[rest]])
        assert got[i] == (padded[i] @ weights).argmax()


def test_the_triplet_estimate_by_hand():
    """Two classes: skills are 2 · agreement - 1. Agreements .8, .9 and .8 give √(.6 · .8 / .6) = .894, so a rate of .053."""
    given = torch.zeros(20, dtype=torch.long)
    one, other = given.clone(), given.clone()
    one[:4], other[3:5] = 1, 1  # agree with `given` in 16 and 18 of 20, with each other in 16
    assert co_teaching.estimated_noise_rate(given, one, other, 2) == pytest.approx((1 - math.sqrt(0.6 * 0.8 / 0.6)) / 2)
    assert co_teaching.estimated_noise_rate(given, given, given, 2) == 0


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.75])
def test_the_estimated_rate_is_near_the_true_one_for_independent_judges(rate):
    """Judges as poor as 40 % do not bias it; what confident learning or plain disagreement would call noise are their errors."""
    rng = np.random.default_rng(0)
    true = np.arange(4000) % 10

    def judge(errors: float) -> torch.Tensor:
        wrong = rng.random(4000) < errors
        return torch.from_numpy(np.where(wrong, (true + rng.integers(1, 10, 4000)) % 10, true))

    estimate = co_teaching.estimated_noise_rate(judge(rate), judge(0.6), judge(0.3), 10)
    assert estimate == pytest.approx(rate, abs=0.08)


def test_co_teaching_estimates_its_rate(make_task):
    """Well separated features, a zero-shot model right two times of three, every fourth label wrong."""
    rng = np.random.default_rng(0)
    true = np.arange(400) % 4
    features = np.eye(4)[true] + 0.2 * rng.standard_normal((400, 4))
    labels = np.where(np.arange(400) // 4 % 4 == 0, (true + 1 + np.arange(400) // 16 % 3) % 4, true)
    zero_shot = np.eye(4)[np.where(rng.random(400) < 1 / 3, rng.integers(0, 4, 400), true)]
    method = create("co_teaching")
    method.start(make_task(zero_shot, labels, images=torch.from_numpy(features)[None]))
    assert method.tau == pytest.approx(0.25, abs=0.07)


def test_the_oracle_needs_a_known_rate(make_task):
    for rate in (None, math.nan):
        with pytest.raises(ValueError, match="nobody knows"):
            create("co_teaching_oracle").start(make_task(np.eye(2), [0, 1], noise_rate=rate))


# DeFT


def test_deft_by_hand(make_batch, make_task):
    """Sample 0 is believed clean, sample 1 not: its CE drops out and its predicted class stands in for the label."""
    positive = np.array([[2.0, 0.0, -1.0], [1.5, -0.5, 0.2]])
    contexts = torch.stack([torch.eye(3), -torch.eye(3)]).double()  # s⁻ = -s⁺, so p_yes(c) = σ(2 s⁺_c)
    labels = np.array([0, 1])
    method = create("deft_text")
    method.start(make_task(positive, labels))
    batch = make_batch(positive, labels, epoch=1, contexts=contexts)
    other = (labels + torch.randint(1, 3, (2,), generator=torch.Generator().manual_seed(0)).numpy()) % 3
    p_yes, log_p = 1 / (1 + np.exp(-2 * positive)), log_softmax(positive)
    loss = method.loss(batch)
    (gradient,) = torch.autograd.grad(loss.sum(), batch.images, retain_graph=True)
    assert method.clean_belief().tolist() == pytest.approx([p_yes[0, 0], p_yes[1, 1]])
    expected = [
        -2 * log_p[0, 0] - math.log(1 - p_yes[0, other[0]]) - math.log(p_yes[0, 0]),  # mean over one clean sample of two: × 2
        -math.log(1 - p_yes[1, other[1]]) - math.log(p_yes[1, 0]),
    ]
    assert loss.tolist() == pytest.approx(expected)
    assert gradient.isfinite().all()


def test_deft_warms_up_on_all_samples_and_their_labels(make_batch, make_task):
    positive = np.array([[2.0, 0.0, -1.0], [1.5, -0.5, 0.2]])
    method = create("deft_text")
    method.start(make_task(positive, [0, 1]))
    contexts = torch.stack([torch.eye(3), -torch.eye(3)]).double()
    loss = method.loss(make_batch(positive, [0, 1], epoch=0, contexts=contexts))
    other = (1 + torch.randint(1, 3, (2,), generator=torch.Generator().manual_seed(0))[1].item()) % 3
    p_yes = 1 / (1 + np.exp(-2 * positive))
    expected = -log_softmax(positive)[1, 1] - math.log(1 - p_yes[1, other]) - math.log(p_yes[1, 1])
    assert loss[1].item() == pytest.approx(expected)


def test_deft_trains_the_positive_context_by_ce_alone(make_batch, make_task):
    """p_yes and p_no give the positive context no gradient, as in the public code."""
    z, labels = np.random.default_rng(0).standard_normal((6, 3)), np.arange(6) % 3
    contexts = torch.stack([torch.eye(3), -torch.eye(3)]).double().requires_grad_()
    method = create("deft_text")
    method.start(make_task(z, labels))
    batch = make_batch(z, labels, epoch=0, contexts=contexts)
    (got,) = torch.autograd.grad(method.loss(batch).sum(), contexts)
    plain = make_batch(z, labels, contexts=contexts)
    (expected,) = torch.autograd.grad(create("coop_ce").loss(plain).sum(), contexts)
    torch.testing.assert_close(got[0], expected[0])
    assert got[1].abs().sum() > 0


# CLIPCleaner


def test_the_per_class_mixture_finds_the_low_scores():
    labels = np.array([0] * 6 + [1] * 6)
    score = np.array([-0.1, -0.12, -0.11, -0.13, -5.0, -5.1, -8.0, -8.1, -8.05, -8.02, -20.0, -20.1])
    clean = clipcleaner.mixture_clean(score, labels, 0.5, seed=0)
    assert clean.tolist() == [True] * 4 + [False] * 2 + [True] * 4 + [False] * 2
    assert clipcleaner.mixture_clean(np.array([-1.0]), np.array([0]), 0.5, seed=0).tolist() == [True]


def two_moods(wrong=(5, 11)):
    """Twelve samples of two classes with features around their class, two labels wrong."""
    true = np.array([0] * 6 + [1] * 6)
    angle = np.where(true == 0, 0.1, np.pi / 2 - 0.1) + np.linspace(-0.05, 0.05, 12)
    features = np.stack([np.cos(angle), np.sin(angle)], 1)
    labels = np.where(np.isin(np.arange(12), wrong), 1 - true, true)
    return features, labels


def test_clipcleaner_selects_the_clean_samples(make_task):
    features, labels = two_moods()
    method = create("clipcleaner")
    method.start(make_task(features, labels))
    assert method.clean.tolist() == [i not in {5, 11} for i in range(12)]


def test_clipcleaner_takes_the_intersection(make_task, monkeypatch):
    """Of four made-up verdicts (mixture and consistency of two predictions) only samples in all four are clean."""
    verdicts = iter([np.array([True, True, True, False]), np.array([True, False, True, True])])
    monkeypatch.setattr(clipcleaner, "mixture_clean", lambda *_: next(verdicts))
    # the linear probe finds sample 0 consistent (.5 ≥ .8 · .6) and sample 2 not (.1 < .8 · .9); zero-shot finds all consistent
    monkeypatch.setattr(clipcleaner, "probe", lambda *_: np.array([[0.5, 0.6], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]]))
    method = create("clipcleaner")
    method.start(make_task(np.tile([1.0, 0.0], (4, 1)), [0, 0, 0, 0]))
    assert method.clean.tolist() == [True, False, False, False]


def test_clipcleaner_fills_an_empty_class_with_its_best(make_task, monkeypatch):
    """Class 1 loses all three samples; it gets back as many as the smallest other class has, best zero-shot p_y first."""
    monkeypatch.setattr(clipcleaner, "mixture_clean", lambda score, labels, *_: labels == 0)
    z = np.array([[1.0, 0.0], [1.0, 0.0], [0.9, 0.2], [0.5, 0.5], [0.9, 0.1]])
    method = create("clipcleaner")
    method.start(make_task(z, [0, 0, 1, 1, 1]))
    assert method.clean.tolist() == [True, True, True, True, False]  # the two kept of class 1 are the less wrong ones


@pytest.mark.parametrize("base", ["coop_ce", "gce", {"name": "gce", "q": 0.5}, "elr", "mixup"])
def test_clipcleaner_trains_its_base_on_the_selection_alone(base, make_batch, make_task):
    features, labels = two_moods()
    method, alone = create("clipcleaner", base=base), create(**({"name": base} if isinstance(base, str) else base))
    task = make_task(features, labels)
    method.start(task)
    alone.start(task)
    keep = method.clean
    batch = make_batch(features, labels)
    loss = method.loss(batch)
    assert not loss[~keep].any()
    expected = alone.loss(make_batch(features[keep], labels[keep])).mean()
    assert loss.mean().item() == pytest.approx(expected.item(), rel=1e-6)


def test_clipcleaners_base_partitions_too(make_task):
    features, labels = two_moods()
    task = make_task(features, labels)
    method, alone = create("clipcleaner", base="nlprompt"), create("nlprompt")
    for each in (method, alone):
        each.start(task)
        each.epoch_start(0, lambda: task.zero_shot[None])
    assert torch.equal(method.inner.clean, alone.clean)
    assert not method.inner.clean.all()


@pytest.mark.parametrize(("classes", "least"), [(2, 3), (4, 1)])
def test_clipcleaner_gives_an_empty_class_its_share(classes, least, make_task, monkeypatch):
    """At least N / C² samples: 12 / 4 of two classes, 12 / 16 and so the one of four."""
    monkeypatch.setattr("methods.clipcleaner.mixture_clean", lambda score, labels, *_: (labels == 0) & (np.arange(12) == 0))
    labels = np.arange(12) % classes
    method = create("clipcleaner", consistency=0.0)
    method.start(make_task(np.eye(classes)[labels], labels))
    assert np.bincount(labels[method.clean.numpy()], minlength=classes).tolist() == [1, *[least] * (classes - 1)]


def test_clipcleaner_without_a_selected_sample_in_the_batch(make_batch, make_task):
    features, labels = two_moods()
    method = create("clipcleaner")
    method.start(make_task(features, labels))
    batch = make_batch(features[[5]], labels[[5]])
    batch.index = torch.tensor([5])
    loss = method.loss(batch)
    (gradient,) = torch.autograd.grad(loss.sum(), batch.images)
    assert loss.tolist() == [0]
    assert not gradient.any()


@pytest.mark.parametrize("base", ["joapr", "co_teaching", "zero_shot", "gjs", "clean_only"])
def test_clipcleaner_refuses_a_base_that_cannot_train_on_a_selection(base, make_task):
    features, labels = two_moods()
    with pytest.raises(ValueError, match=f"cannot train with '{base}'"):
        create("clipcleaner", base=base).start(make_task(features, labels))
