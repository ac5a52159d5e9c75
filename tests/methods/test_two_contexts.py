"""Co-teaching and DeFT, which learn two contexts, each against a case worked out by hand or a second way."""

import math

import numpy as np
import pytest
import torch

from methods import co_teaching
from methods.registry import create


def log_softmax(z):
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


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
    # ranks 0, 1, 3, 2 by the first learner and 3, 2, 0, 1 by the second, of two that stay: 1 - rank / 4, and the mean of both
    assert method.clean_belief().tolist() == [(1 + 0.25) / 2, (0.75 + 0.5) / 2, (0.25 + 1) / 2, (0.5 + 0.75) / 2]


@pytest.mark.parametrize(("epoch", "kept"), [(0, 8), (5, 6), (10, 4), (19, 4)])
def test_co_teaching_keeps_ever_fewer(epoch, kept, make_batch, make_task):
    z, labels = np.random.default_rng(0).standard_normal((8, 3)), np.zeros(8, dtype=int)
    method = create("co_teaching_oracle")
    method.start(make_task(z, labels, noise_rate=0.5))
    method.loss(make_batch(z, labels, epoch=epoch, contexts=torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)))
    order = np.argsort(-log_softmax(z)[:, 0])
    belief = method.clean_belief().numpy()[order]
    np.testing.assert_allclose(belief, np.maximum(0, 1 - np.arange(8) / (2 * kept)))
    assert (belief > 0.5).sum() == kept


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
    method.start(make_task(zero_shot, labels, features=lambda: torch.from_numpy(features)[None]))
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


def test_deft_believes_a_sample_clean_above_one_half(make_batch, make_task):
    """s⁻ = 0, so p_yes(y) = σ(s⁺_y): just above .5, .5, just below. Only the first has a CE, the mean over one clean of three."""
    z, labels = np.array([[0.02, 0.0], [0.0, 0.0], [-0.02, 0.0]]), [0, 0, 0]
    method = create("deft_text")
    method.start(make_task(z, labels))
    contexts = torch.stack([torch.eye(2), torch.zeros(2, 2)]).double()
    loss = method.loss(make_batch(z, labels, epoch=1, contexts=contexts)).tolist()
    p_yes = 1 / (1 + math.exp(-0.02))  # which, of two classes, is p of class 0 as well
    assert loss == pytest.approx([-3 * math.log(p_yes) + math.log(2) - math.log(p_yes), 2 * math.log(2), 2 * math.log(2)])
