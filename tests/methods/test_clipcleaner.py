"""CLIPCleaner's selection and what it trains on it, each against a case worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from methods import clipcleaner
from methods.registry import create


def test_the_per_class_mixture_finds_the_low_scores():
    labels = np.array([0] * 6 + [1] * 6)
    score = np.array([-0.1, -0.12, -0.11, -0.13, -5.0, -5.1, -8.0, -8.1, -8.05, -8.02, -20.0, -20.1])
    clean = clipcleaner.mixture_clean(score, labels, seed=0)
    assert clean.round(6).tolist() == [1] * 4 + [0] * 2 + [1] * 4 + [0] * 2
    assert clipcleaner.mixture_clean(np.array([-1.0]), np.array([0]), seed=0).tolist() == [1]


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


def test_clipcleaner_asks_the_mixture_for_one_half(make_task, monkeypatch):
    """A made-up posterior of the higher component; all four are consistent, and the probe knows a single class."""
    p = np.array([0.49, 0.5, 0.9, 0.96])
    made_up = SimpleNamespace(means_=np.array([[0.2], [0.8]]), predict_proba=lambda _: np.stack([1 - p, p], 1))
    made_up.fit = lambda _: made_up
    monkeypatch.setattr("sklearn.mixture.GaussianMixture", lambda *_, **__: made_up)
    method = create("clipcleaner")
    method.start(make_task([[0.1, 0.0], [0.11, 0.0], [0.12, 0.0], [0.13, 0.0]], [0, 0, 0, 0]))
    assert method.clean.tolist() == [False, True, True, True]


def test_clipcleaner_asks_both_predictions_for_four_fifths(make_task, monkeypatch):
    """p_y / max p: .818, .786 and .5625 by the probe; by zero-shot, at temperature .07 for CLIP's, e^(-.015 / .07) = .807 and
    e^(-.017 / .07) = .784 for cosines that differ by .015 and .017. The smallest margins are the beliefs."""
    monkeypatch.setattr(clipcleaner, "mixture_clean", lambda score, *_: np.ones(len(score)))
    monkeypatch.setattr(clipcleaner, "probe", lambda *_: np.array([[0.45, 0.55], [0.44, 0.56], [0.36, 0.64], [1, 0], [1, 0]]))
    cosines = np.array([[0.3, 0.2], [0.3, 0.2], [0.3, 0.2], [0.3, 0.315], [0.3, 0.317]])
    method = create("clipcleaner")
    method.start(make_task(100 * cosines, [0, 0, 0, 0, 0], scale=100.0))
    assert method.clean.tolist() == [True, False, False, True, False]
    ratios = np.array([0.45 / 0.55, 0.44 / 0.56, 0.36 / 0.64, np.exp(-0.015 / 0.07), np.exp(-0.017 / 0.07)])
    np.testing.assert_allclose(method.clean_belief().numpy(), 0.5 + ratios - 0.8)
    wider = create("clipcleaner")  # a backbone of scale 25, its cosines four times as far apart: the same test
    wider.start(make_task(25 * (4 * cosines), [0, 0, 0, 0, 0], scale=25.0))
    assert torch.equal(wider.clean_belief(), method.clean_belief())


def test_clipcleaner_takes_the_intersection(make_task, monkeypatch):
    """Of four made-up verdicts (mixture and consistency of two predictions) only samples in all four are clean."""
    verdicts = iter([np.array([1, 1, 1, 0.3]), np.array([0.6, 0.45, 1, 1])])
    monkeypatch.setattr(clipcleaner, "mixture_clean", lambda *_: next(verdicts))
    # the linear probe finds sample 0 consistent (.5 ≥ .8 · .6) and sample 2 not (.1 < .8 · .9); zero-shot finds all consistent
    monkeypatch.setattr(clipcleaner, "probe", lambda *_: np.array([[0.5, 0.6], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]]))
    method = create("clipcleaner")
    method.start(make_task(np.tile([1.0, 0.0], (4, 1)), [0, 0, 0, 0]))
    assert method.clean.tolist() == [True, False, False, False]
    # .5 / .6 - .8 = .033 is smaller than .6 - .5; .45 - .5; .1 / .9 - .8, clipped at 0; .3 - .5
    assert method.clean_belief().tolist() == pytest.approx([0.5 + 0.5 / 0.6 - 0.8, 0.45, 0, 0.3])


def test_clipcleaner_fills_an_empty_class_with_its_best(make_task, monkeypatch):
    """Class 1 loses all three samples; it gets back as many as the smallest other class has, best zero-shot p_y first."""
    monkeypatch.setattr(clipcleaner, "mixture_clean", lambda score, labels, *_: np.where(labels == 0, 1, 0.4))
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
    monkeypatch.setattr("methods.clipcleaner.mixture_clean", lambda score, labels, *_: 1.0 * ((labels == 0) & (np.arange(12) == 0)))
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
