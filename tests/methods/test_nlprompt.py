"""NLPrompt, which sorts samples before every epoch, against cases worked out by hand or a second way."""

import math
import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from scipy.special import logsumexp

from methods import nlprompt
from methods.registry import create


def log_softmax(z):
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


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
    import ot

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
    import ot

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
    import ot

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
