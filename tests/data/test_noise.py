"""The noise protocols against their definitions, on drawn and on real labels."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.noise import PROTOCOLS, count, identifiable, kind, make_noise, realised_rate
from bench.errors import BenchError

FLIPS = [protocol for protocol in PROTOCOLS if protocol != "clean"]
REPLACING = ("fp_symmetric", "fp_even", "fp_pairflip")
EXACT = ("symmetric", "pairflip", "confusion", *REPLACING)
RATES = [0, 0.125, 0.25, 0.29, 0.375, 0.5, 0.625, 0.75, 0.99, 1]


def inputs(true, classes, seed=0):
    """Random features, zero-shot logits and human labels that fit the true ones."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(len(true), 6))
    return {
        "features": (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32),
        "zero_shot": rng.normal(size=(len(true), classes)).astype(np.float32) * 3,
        "human": (true + (rng.uniform(size=len(true)) < 0.4)) % classes,
    }


def noise(protocol, true, classes, rate, seed=1, **others):
    return make_noise(protocol, true, classes, rate, seed, **(inputs(true, classes) | others))


labelled = st.integers(2, 8).flatmap(
    lambda classes: st.tuples(st.just(classes), st.lists(st.integers(0, classes - 1), min_size=1, max_size=60))
)


@settings(max_examples=60, deadline=None)
@given(labelled, st.sampled_from(FLIPS), st.integers(0, 2**31), st.sampled_from(RATES), st.sampled_from(RATES))
def test_wrong_labels_are_nested_over_rates(task, protocol, seed, one, other):
    classes, true = task[0], np.array(task[1])
    low, high = (noise(protocol, true, classes, rate, seed) for rate in sorted((one, other)))
    for labels in (low, high):
        assert labels.shape == true.shape
        assert labels.min() >= 0
        assert labels.max() < classes
    wrong = low != true
    assert np.array_equal(high[wrong], low[wrong])


@settings(max_examples=60, deadline=None)
@given(labelled, st.sampled_from(EXACT), st.integers(0, 2**31), st.integers(0, 100))
def test_a_share_of_all_samples_flips_exactly(task, protocol, seed, percent):
    classes, true = task[0], np.array(task[1])
    labels = noise(protocol, true, classes, percent / 100, seed)
    assert (labels != true).sum() == percent * len(true) // 100
    if protocol.endswith("pairflip"):
        assert np.isin((labels - true) % classes, (0, 1)).all()


def test_shares_are_counted_on_decimals():
    assert int(0.29 * 100) == 28
    assert count(0.29, 100) == 29
    assert count(0.7, 10) == 7


def test_symmetric_reaches_every_other_class_alike_and_never_its_own():
    true = np.repeat(np.arange(5), 4000)
    steps = Counter((noise("symmetric", true, 5, 1.0) - true) % 5)
    assert 0 not in steps
    assert all(abs(steps[k] / 20000 - 0.25) < 0.015 for k in (1, 2, 3, 4))


def test_symmetric_with_self_has_the_rate_times_one_minus_one_over_c():
    true = np.repeat(np.arange(4), 5000)
    assert realised_rate(noise("symmetric_with_self", true, 4, 0.6), true) == pytest.approx(0.6 * 3 / 4, abs=0.01)


@pytest.mark.parametrize("protocol", REPLACING)
def test_few_validation_labels_are_as_noisy_as_asked_at_every_rate(protocol):
    """Four per class of six, as behind 16 shots: by class, an eighth of them would round to none, and 1/2 and 5/8 to the same."""
    true = np.repeat(np.arange(6), 4)
    wrong = [(make_noise(protocol, true, 6, rate, 1, "val") != true).sum() for rate in (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1)]
    assert wrong == [3, 6, 9, 12, 15, 18, 24]


def test_instance_noise_gives_like_images_like_wrong_labels():
    rng = np.random.default_rng(3)
    classes, dim = 10, 32
    centres = rng.normal(size=(40, dim))
    features = np.repeat(centres, 50, axis=0) + 0.01 * rng.normal(size=(2000, dim))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    true = np.zeros(2000, dtype=np.int64)
    labels = noise("instance", true, classes, 0.5, features=features)
    agree = [Counter(group[group != 0]).most_common(1)[0][1] / (group != 0).sum() for group in labels.reshape(40, 50)]
    unlike = noise("instance", true, classes, 0.5, features=rng.permutation(features)).reshape(40, 50)
    shuffled = [Counter(group[group != 0]).most_common(1)[0][1] / (group != 0).sum() for group in unlike]
    assert np.mean(agree) > np.mean(shuffled) + 0.3
    assert realised_rate(labels, true) == pytest.approx(0.5, abs=0.04)


def test_instance_noise_has_the_mean_of_its_truncated_normal():
    from scipy.stats import truncnorm

    true, rng = np.tile(np.arange(10), 2000), np.random.default_rng(1)
    features = rng.normal(size=(20000, 4)) / 2
    for rate in (0.1, 0.3, 1.0):
        expected = truncnorm.mean(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
        assert realised_rate(noise("instance", true, 10, rate, features=features), true) == pytest.approx(expected, abs=0.012)


def test_confusion_flips_the_doubtful_first_and_to_what_they_are_confused_with():
    true = np.zeros(4000, dtype=np.int64)
    logits = np.tile([4.0, 2.0, 0.0], (4000, 1))
    logits[2000:, 1] = 6.0  # the second half looks like class 1
    labels = noise("confusion", true, 3, 0.25, zero_shot=logits)
    assert (labels[2000:] != 0).sum() > 4 * (labels[:2000] != 0).sum()
    flipped = labels[2000:][labels[2000:] != 0]
    assert (flipped == 1).mean() > 0.97  # e⁶ / (e⁶ + e⁰) = .9975
    sure = noise("confusion", true, 3, 1.0, zero_shot=np.tile([4.0, 2.0, 0.0], (4000, 1)))
    assert (sure == 1).mean() == pytest.approx(np.exp(2) / (np.exp(2) + 1), abs=0.02)


def test_human_noise_at_rate_one_is_what_people_said():
    true = np.arange(50) % 5
    said = np.random.default_rng(0).integers(0, 5, 50)
    assert np.array_equal(noise("human:worse", true, 5, 1.0, human=said), said)
    half = noise("human", true, 5, 0.5, human=said)
    assert ((half == said) | (half == true)).all()
    assert (half != true).sum() <= 25


@pytest.mark.parametrize("protocol", [*FLIPS, "clean"])
def test_corners(protocol):
    true = np.array([0, 1, 2, 2])  # two classes of one sample
    assert np.array_equal(noise(protocol, true, 3, 0), true)
    if protocol == "clean":
        return
    assert noise(protocol, true[:0], 3, 0.5).shape == (0,)
    assert np.array_equal(noise(protocol, true, 3, 0.5, seed=4), noise(protocol, true, 3, 0.5, seed=4))
    if protocol in EXACT:
        assert (noise(protocol, true, 3, 1) != true).all()
        two = np.array([0, 0, 1])
        assert np.array_equal(noise(protocol, two, 2, 1), 1 - two)
    with pytest.raises(BenchError, match="at least two classes"):
        make_noise(protocol, np.zeros(4, dtype=np.int64), 1, 0.5, 1)


def test_the_same_seed_gives_the_same_labels_always():
    """Labels are part of stored results: these must never change without a new protocol name."""
    true = np.repeat(np.arange(4), 3)
    got = {p: make_noise(p, true, 4, 0.5, 11).tolist() for p in ("symmetric", "pairflip", "symmetric_with_self", "fp_symmetric")}
    assert got == json.loads((Path(__file__).parent / "noise_pinned.json").read_text())["labels"]


def test_train_and_val_are_drawn_independently():
    true = np.repeat(np.arange(4), 50)
    assert not np.array_equal(make_noise("symmetric", true, 4, 0.5, 1), make_noise("symmetric", true, 4, 0.5, 1, "val"))


@pytest.mark.parametrize(("protocol", "what"), [("instance", "features"), ("confusion", "zero-shot"), ("human", "human labels")])
def test_a_missing_input_is_named(protocol, what):
    with pytest.raises(BenchError, match=what):
        make_noise(protocol, np.array([0, 1]), 2, 0.5, 1)


def test_unknown_protocols_and_rates_are_refused():
    with pytest.raises(BenchError, match="Did you mean 'symmetric'"):
        kind("symetric")
    with pytest.raises(BenchError, match="no noise protocol"):
        kind("pairflip:x")
    assert kind("human:aggre_label") == "human"
    for unknown in ("Symmetric", "fp_other", "symmetric ", ""):  # none of them falls through to another protocol
        with pytest.raises(BenchError, match="no noise protocol"):
            make_noise(unknown, np.array([0, 1]), 2, 0.5, 1)
        with pytest.raises(BenchError, match="no noise protocol"):
            identifiable(unknown, 0.1, 2)
    with pytest.raises(BenchError, match="outside"):
        make_noise("symmetric", np.array([0, 1]), 2, 1.5, 1)
    with pytest.raises(BenchError, match="needs a protocol of its own"):
        make_noise("clean", np.array([0, 1]), 2, 0.5, 1)


@pytest.mark.parametrize("protocol", ["symmetric", "pairflip", "symmetric_with_self", "fp_symmetric"])
@pytest.mark.parametrize("rate", [0.25, 0.45, 0.55, 0.74, 0.8, 0.95])
def test_identifiable_says_whether_the_true_class_leads(protocol, rate):
    """Against a count: many samples of one class of four, is the true class the most frequent given label?"""
    true = np.zeros(60000, dtype=np.int64)
    given_labels = noise(protocol, true, 4, rate)
    assert identifiable(protocol, rate, 4) == (np.bincount(given_labels, minlength=4).argmax() == 0)


def test_identifiable_where_the_wrong_class_may_be_one():
    for protocol in ("instance", "confusion", "fp_pairflip"):
        assert identifiable(protocol, 0.49, 10)
        assert not identifiable(protocol, 0.5, 10)
    assert identifiable("clean", 0, 2)
    assert identifiable("human:worse_label", 1, 10)
    assert not identifiable("symmetric", 0.5, 2)
