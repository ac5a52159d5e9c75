"""Every loss against a second implementation: numpy, float64, plain probabilities, gradients by central differences."""

import numpy as np
import pytest
import torch

from methods.registry import create

Array = np.ndarray


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max())
    return e / e.sum()


def onehot(y: int, classes: int) -> Array:
    return np.eye(classes)[y]


def kl(a: Array, b: Array) -> float:
    inside = a > 0
    return float((a[inside] * np.log(a[inside] / b[inside])).sum())


def ce(p: Array, y: int) -> float:
    return float(-np.log(p[y]))


def rce(p: Array, y: int) -> float:
    return float(-(p * np.log(np.maximum(onehot(y, len(p)), 1e-4))).sum())


def mae(p: Array, y: int) -> float:
    return float(np.abs(onehot(y, len(p)) - p).sum() / 2)


def nce(p: Array, y: int) -> float:
    return ce(p, y) / sum(ce(p, k) for k in range(len(p)))


def phuber(p: Array, y: int) -> float:
    return ce(p, y) if p[y] > 1 / 10 else -10 * p[y] + np.log(10) + 1


def divergence(views: list[Array], y: int, pi: float) -> float:
    """The paper's form: a weighted sum of Kullback-Leibler divergences to the mixture."""
    target = onehot(y, len(views[0]))
    mixture = pi * target + (1 - pi) * np.mean(views, axis=0)
    total = pi * kl(target, mixture) + (1 - pi) * np.mean([kl(p, mixture) for p in views])
    return float(total / (-(1 - pi) * np.log(1 - pi)))


def normalised_negative(p: Array, y: int) -> float:
    above = np.log(np.maximum(p, 1e-7)) - np.log(1e-7)
    return float(1 - above[y] / above.sum())


def eps_softmax(p: Array, y: int) -> float:
    q = (p + 1e5 * onehot(int(p.argmax()), len(p))) / (1e5 + 1)
    return float(-0.01 * np.log(max(q[y], 1e-8)) + 5 * np.abs(p - onehot(y, len(p))).sum())


REFERENCE = {
    "coop_ce": ce,
    "mae": mae,
    "rce": rce,
    "gce": lambda p, y: (1 - p[y] ** 0.7) / 0.7,
    "sce": lambda p, y: 0.1 * ce(p, y) + rce(p, y),
    "nce_rce": lambda p, y: nce(p, y) + rce(p, y),
    "nce_mae": lambda p, y: nce(p, y) + mae(p, y),
    "agce": lambda p, y: (1.6**0.6 - (0.6 + p[y]) ** 0.6) / 0.6,
    "phuber_ce": phuber,
    "taylor_ce": lambda p, y: (1 - p[y]) + (1 - p[y]) ** 2 / 2,
    "js": lambda p, y: divergence([p], y, 0.5),
    "label_smoothing": lambda p, y: -((0.9 * onehot(y, len(p)) + 0.1 / len(p)) * np.log(p)).sum(),
    "bootstrap_soft": lambda p, y: -((0.95 * onehot(y, len(p)) + 0.05 * p) * np.log(p)).sum(),
    "dspt": lambda p, y: ce(softmax(p), y),
    "dspt_t": lambda p, y: ce(softmax(p / 0.5), y),
    "mae_lse": lambda p, y: (1 - p[y]) + np.log(np.exp(p).sum()) - 1,
    "nce": nce,
    "aul": lambda p, y: ((5.5 - p[y]) ** 3 - 4.5**3) / 3,
    "ael": lambda p, y: np.exp(-p[y] / 2.5),
    "nce_agce": lambda p, y: nce(p, y) + 4 * (7**1.5 - (6 + p[y]) ** 1.5) / 1.5,
    "nce_aul": lambda p, y: nce(p, y) + 4 * ((6.3 - p[y]) ** 1.5 - 5.3**1.5) / 1.5,
    "nce_ael": lambda p, y: nce(p, y) + 4 * np.exp(-p[y] / 5),
    "anl_ce": lambda p, y: 5 * nce(p, y) + 5 * normalised_negative(p, y),
    "jal_ce": lambda p, y: 5 * nce(p, y) + ((p - 20 * onehot(y, len(p))) ** 2).mean(),
    "eps_softmax": eps_softmax,
    "focal": lambda p, y: (1 - p[y]) ** 0.5 * ce(p, y),
}


def draw(classes: int, spread: float, samples: int = 6) -> tuple[Array, Array]:
    rng = np.random.default_rng(classes)
    return spread * rng.standard_normal((samples, classes)), rng.integers(classes, size=samples)


@pytest.mark.parametrize("classes", [2, 5, 30])
@pytest.mark.parametrize("spread", [0.5, 4.0])
@pytest.mark.parametrize("name", REFERENCE)
def test_value_and_gradient(name, classes, spread, make_batch, differences):
    z, y = draw(classes, spread)
    batch = make_batch(z, y)
    loss = create(name).loss(batch)
    (gradient,) = torch.autograd.grad(loss.sum(), batch.images)
    for b in range(len(y)):
        assert loss[b].item() == pytest.approx(REFERENCE[name](softmax(z[b]), y[b]), rel=1e-10, abs=1e-12)
        expected = differences(lambda row, b=b: REFERENCE[name](softmax(row), y[b]), z[b])
        rounding = 1e-8 * max(1.0, loss[b].item())  # of the differences
        np.testing.assert_allclose(gradient[0, b].numpy(), expected, rtol=1e-5, atol=rounding)


def test_every_plain_loss_has_a_reference():
    """A new plain loss must come with a second implementation of it."""
    from bench.curves import is_plain
    from methods.registry import names

    own = {name for name in names() if is_plain(create(name))}
    assert own - {"gjs", "mixup", "logit_clip"} == set(REFERENCE)  # these three are below


def test_gjs_of_two_views(make_batch, differences):
    z, y = draw(5, 2.0)
    views = np.stack([z, z[:, ::-1] + 0.3])
    batch = make_batch(views, y)
    loss = create("gjs").loss(batch)
    (gradient,) = torch.autograd.grad(loss.sum(), batch.images)
    for b in range(len(y)):

        def reference(rows: Array, b: int = b) -> float:
            return divergence([softmax(rows[0]), softmax(rows[1])], y[b], 0.5)

        assert loss[b].item() == pytest.approx(reference(views[:, b]), rel=1e-10)
        np.testing.assert_allclose(gradient[:, b].numpy(), differences(reference, views[:, b]), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("norm", "clipped"), [(0.5, 0.5), (2.0, 1.0)])
def test_logit_clip_bounds_the_norm_in_units_of_the_logit_scale(norm, clipped, make_batch, differences):
    """A sample of norm 2 · scale learns as one of norm scale would, one of half the scale as by CE."""
    z, y = draw(5, 1.0)
    z *= norm / np.linalg.norm(z, axis=1, keepdims=True)
    batch = make_batch(z, y)
    batch.scale = 7.0
    loss = create("logit_clip").loss(batch)
    (gradient,) = torch.autograd.grad(loss.sum(), batch.images)
    for b in range(len(y)):

        def reference(row: Array, b: int = b) -> float:
            return ce(softmax(7 * row * min(1.0, 1 / np.linalg.norm(row))), y[b])

        assert loss[b].item() == pytest.approx(ce(softmax(7 * clipped * z[b] / norm), y[b]), rel=1e-10)
        np.testing.assert_allclose(gradient[0, b].numpy(), differences(reference, z[b]), rtol=1e-5, atol=1e-8)


def test_elr_over_three_visits(make_batch, make_task):
    """Targets follow t ← β t + (1-β) p per sample, by the sample's index, whatever the order of the batch."""
    rng = np.random.default_rng(0)
    y = np.array([0, 2, 1])
    method = create("elr")
    method.start(make_task(np.zeros((3, 3)), y))
    targets = np.zeros((3, 3))
    for visit in range(3):
        z, order = 2 * rng.standard_normal((3, 3)), np.roll(np.arange(3), visit)
        batch = make_batch(z[order], y[order])
        batch.index = torch.from_numpy(order)
        loss = method.loss(batch)
        for b, i in enumerate(order):
            p = softmax(z[i]).clip(1e-4, 1 - 1e-4)
            targets[i] = 0.7 * targets[i] + 0.3 * p / p.sum()
            expected = ce(softmax(z[i]), y[i]) + 3 * np.log(1 - (targets[i] * p).sum())
            assert loss[b].item() == pytest.approx(expected, rel=1e-9)


def test_elr_gradient_treats_the_target_as_a_constant(make_batch, make_task, differences):
    z, y = np.array([[1.0, 0.2, -0.5]]), [0]
    method = create("elr")
    method.start(make_task(z, y))
    batch = make_batch(z, y)
    (gradient,) = torch.autograd.grad(method.loss(batch).sum(), batch.images)
    fixed = 0.3 * softmax(z[0])
    expected = differences(lambda row: ce(softmax(row), 0) + 3 * np.log(1 - fixed @ softmax(row)), z[0])
    np.testing.assert_allclose(gradient[0, 0].numpy(), expected, rtol=1e-5, atol=1e-8)


def test_mixup_mixes_features_and_labels(make_batch, monkeypatch):
    monkeypatch.setattr("methods.mixup.beta_draw", lambda *_: 0.3)
    x = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.8]])
    y = [0, 1, 2]
    loss = create("mixup").loss(make_batch(x, y))
    partner = torch.randperm(3, generator=torch.Generator().manual_seed(0)).numpy()
    assert (partner != np.arange(3)).any()
    for b in range(3):
        mixed = 0.3 * x[b] + 0.7 * x[partner[b]]
        p = softmax(mixed / np.linalg.norm(mixed))
        assert loss[b].item() == pytest.approx(0.3 * ce(p, y[b]) + 0.7 * ce(p, y[partner[b]]), rel=1e-9)


def test_beta_draws_follow_the_distribution():
    """Beta(1, 1) is uniform, Beta(.001, .001) lies at the ends: JoAPR's published mixup does nothing."""
    from methods.mixup import beta_draw

    generator = torch.Generator().manual_seed(0)
    uniform = np.array([beta_draw(1.0, generator) for _ in range(2000)])
    assert abs(uniform.mean() - 0.5) < 0.03
    assert abs(uniform.var() - 1 / 12) < 0.01
    ends = np.array([beta_draw(0.001, generator) for _ in range(2000)])
    assert (np.maximum(ends, 1 - ends) > 0.99).mean() > 0.985


def test_clean_only_trains_on_the_clean_alone(make_batch, make_task):
    z, y, true = draw(4, 2.0)[0], np.array([0, 1, 2, 3, 0, 1]), np.array([0, 1, 2, 0, 1, 2])
    method = create("clean_only")
    method.start(make_task(z, y, clean_labels=torch.from_numpy(true)))
    loss = method.loss(make_batch(z, y)).mean().item()
    assert loss == pytest.approx(np.mean([ce(softmax(z[b]), y[b]) for b in range(3)]), rel=1e-9)
    assert method.clean_belief().tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(ValueError, match="clean labels"):
        create("clean_only").start(make_task(z, y))
