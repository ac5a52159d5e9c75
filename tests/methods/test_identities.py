"""What the losses must be to each other, exactly or in a limit."""

import math

import numpy as np
import pytest
import torch

from methods.registry import create

RNG = np.random.default_rng(1)


def draw(classes: int, spread: float = 3.0, samples: int = 40):
    return spread * RNG.standard_normal((samples, classes)), RNG.integers(classes, size=samples)


def value_and_gradient(method, batch):
    loss = method.loss(batch)
    (gradient,) = torch.autograd.grad(loss.sum(), batch.images)
    return loss.detach(), gradient


def assert_same(one, other, make_batch, z, y, atol=1e-12, factor=1.0):
    for a, b in zip(value_and_gradient(one, make_batch(z, y)), value_and_gradient(other, make_batch(z, y)), strict=True):
        torch.testing.assert_close(a, factor * b, rtol=0, atol=atol)


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_dspt_is_mae_plus_the_penalty(classes, make_batch):
    z, y = draw(classes)
    assert_same(create("dspt"), create("mae_lse"), make_batch, z, y)
    assert_same(create("mae"), create("mae_lse", weight=0.0), make_batch, z, y)
    assert_same(create("dspt"), create("dspt_t", temperature=1.0), make_batch, z, y)


@pytest.mark.parametrize(("classes", "span"), [(10, 0.059), (37, 0.018), (100, 0.007), (1000, 0.0007)])
def test_the_penalty_of_dspt_is_small(classes, span, make_batch):
    """Its whole span, from a flat to a fitted prediction, is log(C-1+e) - log C - 1/C."""
    fitted, flat = np.zeros((1, classes)), np.zeros((1, classes))
    fitted[0, 0] = 100.0
    penalty = [(create("dspt").loss(make_batch(z, [0])) - create("mae").loss(make_batch(z, [0]))).item() for z in (fitted, flat)]
    exact = math.log(classes - 1 + math.e) - math.log(classes) - 1 / classes
    assert penalty[0] - penalty[1] == pytest.approx(exact, abs=1e-12)
    assert exact == pytest.approx(span, rel=0.05)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_closed_form_gradient_of_dspt(classes, make_batch):
    """dL/dz_j = p_j [(q_j - 1{j=y}) - Σ_k p_k (q_k - 1{k=y})], q = softmax(p), in numpy."""
    z, y = draw(classes)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    error = np.exp(p) / np.exp(p).sum(1, keepdims=True) - np.eye(classes)[y]
    expected = p * (error - (p * error).sum(1, keepdims=True))
    _, gradient = value_and_gradient(create("dspt"), make_batch(z, y))
    np.testing.assert_allclose(gradient[0].numpy(), expected, rtol=0, atol=1e-13)


def test_the_gradient_of_dspt_is_small_at_both_ends(make_batch):
    """Fitted, or confident of another class: next to nothing; undecided between the two: order one. CE's stays at √2 when wrong."""
    fitted, undecided, wrong = np.zeros((3, 10))
    fitted[0], undecided[:2], wrong[1] = 12.0, 12.0, 12.0
    norms = {}
    for name in ("dspt", "coop_ce"):
        _, gradient = value_and_gradient(create(name), make_batch(np.stack([fitted, undecided, wrong]), [0, 0, 0]))
        norms[name] = gradient[0].norm(dim=1).tolist()
    assert norms["dspt"][0] < 1e-4
    assert norms["dspt"][2] < 1e-4
    assert norms["dspt"][1] > 0.3
    assert norms["coop_ce"][2] == pytest.approx(math.sqrt(2), rel=1e-3)


def test_dspt_never_reaches_zero(make_batch):
    z = np.zeros((2, 10))
    z[0, 0], z[1, 1] = 100.0, 100.0
    loss = create("dspt").loss(make_batch(z, [0, 0])).tolist()
    assert loss == pytest.approx([math.log(9 + math.e) - 1, math.log(9 + math.e)], abs=1e-12)


def test_gce_between_ce_and_mae(make_batch):
    z, y = draw(7)
    assert_same(create("gce", q=1.0), create("mae"), make_batch, z, y)
    assert_same(create("gce", q=1e-7), create("coop_ce"), make_batch, z, y, atol=1e-4)


def test_rce_is_a_larger_mae(make_batch):
    z, y = draw(7)
    assert_same(create("rce"), create("mae"), make_batch, z, y, factor=math.log(1e4))


def test_sce_and_the_active_passive_losses_are_sums(make_batch):
    z, y = draw(7)
    for one, weights, part in [
        ("sce", {"alpha": 0.0}, "rce"),
        ("nce_rce", {"alpha": 0.0}, "rce"),
        ("nce_mae", {"alpha": 0.0}, "mae"),
    ]:
        assert_same(create(one, **weights), create(part), make_batch, z, y)
    assert_same(create("sce", alpha=1.0, beta=0.0), create("coop_ce"), make_batch, z, y)
    assert_same(create("nce_rce", beta=0.0), create("nce_mae", beta=0.0), make_batch, z, y)


def test_phuber_is_ce_above_the_threshold_and_continuous(make_batch):
    z, y = draw(5)
    p_y = np.take_along_axis(np.exp(z) / np.exp(z).sum(1, keepdims=True), y[:, None], 1)[:, 0]
    above = p_y > 0.1
    assert 0 < above.sum() < len(y)
    assert_same(create("phuber_ce"), create("coop_ce"), make_batch, z[above], y[above])
    below = create("phuber_ce").loss(make_batch(z[~above], y[~above])).detach().numpy()
    assert (below < -np.log(p_y[~above])).all()
    joint = np.log(np.array([[0.1 - 1e-9, 0.9 + 1e-9], [0.1 + 1e-9, 0.9 - 1e-9]]))
    loss, gradient = value_and_gradient(create("phuber_ce"), make_batch(joint, [0, 0]))
    torch.testing.assert_close(loss[0], loss[1], rtol=0, atol=1e-7)
    torch.testing.assert_close(gradient[0, 0], gradient[0, 1], rtol=0, atol=1e-7)


def test_taylor_ce_between_mae_and_ce(make_batch):
    z, y = draw(5, spread=1.0)
    assert_same(create("taylor_ce", t=1), create("mae"), make_batch, z, y)
    assert_same(create("taylor_ce", t=2000), create("coop_ce"), make_batch, z, y, atol=1e-4)


def test_js_between_ce_and_mae(make_batch):
    z, y = draw(5, spread=1.0)
    assert_same(create("js", pi=1e-7), create("coop_ce"), make_batch, z, y, atol=1e-5)
    # towards π = 1 the limit is reached like 1 / log(1 - π), so slowly: it must come nearer
    far, near = (create("js", pi=pi).loss(make_batch(z, y)) - create("mae").loss(make_batch(z, y)) for pi in (0.9, 1 - 1e-9))
    assert near.abs().max() < 0.1
    assert near.abs().max() < far.abs().max() / 3


def test_gjs_of_equal_views_is_js(make_batch):
    z, y = draw(6)
    gjs = create("gjs").loss(make_batch(np.stack([z, z]), y))
    torch.testing.assert_close(gjs, create("js").loss(make_batch(z, y)), rtol=0, atol=1e-12)


def test_gjs_of_different_views_adds_their_disagreement(make_batch):
    """GJS is JS of the mean prediction plus a term that is zero only where the views agree (Englesson & Azizpour)."""
    z, y = draw(6)
    views = np.stack([z, z + RNG.standard_normal(z.shape)])
    p = np.exp(views) / np.exp(views).sum(-1, keepdims=True)
    mean = np.log(p.mean(0))
    more = create("gjs").loss(make_batch(views, y)) - create("js").loss(make_batch(mean, y))
    entropy = lambda q: -(q * np.log(q)).sum(-1)  # noqa: E731 - used once, on the next lines
    expected = 0.5 * (entropy(p.mean(0)) - entropy(p).mean(0)) / (-0.5 * math.log(0.5))
    np.testing.assert_allclose(more.detach().numpy(), expected, atol=1e-12)


def test_smoothing_and_bootstrapping_without_weight_are_ce(make_batch):
    z, y = draw(6)
    for name in ("label_smoothing", "bootstrap_soft"):
        assert_same(create(name, t=0.0), create("coop_ce"), make_batch, z, y)


def test_dspt_and_mae_point_the_same_way(make_batch):
    """Over batches of 32, half of them fitted, their gradients at the logits are nearly parallel: the suite has to say so."""
    cosines = {10: [], 100: []}
    for classes, found in cosines.items():
        for _ in range(20):
            z, y = draw(classes, samples=32)
            z[np.arange(16), y[:16]] += 6.0
            one, other = (value_and_gradient(create(name), make_batch(z, y))[1].flatten() for name in ("dspt", "mae"))
            found.append(torch.nn.functional.cosine_similarity(one, other, dim=0).item())
    assert np.median(cosines[10]) > 0.97
    assert np.median(cosines[100]) > 0.999
