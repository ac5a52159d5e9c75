"""What is measured of a stack's runs: each as if it were alone, and by an independent count."""

import numpy as np
import pytest
import torch

from bench.engine import measure
from bench.engine.text import TextFeatures
from bench.engine.train import train_members
from tests.engine.conftest import CLASSES, TRAIN, make_member, make_spec, make_task, train, zero_shot_of


def test_what_is_measured(backbone):
    (outcome,) = train(backbone, make_member(backbone, make_spec("joapr", 0.25)), keep_context=False)
    metrics, history = outcome.metrics, outcome.history
    assert outcome.context is None
    assert outcome.predictions.shape == (100,)
    assert history["epoch"] == list(range(6))
    assert metrics["accuracy"] == history["accuracy"][-1]
    assert metrics["realised_rate"] == 0.25
    truth = np.repeat(np.arange(5), 20)
    assert metrics["accuracy"] == pytest.approx(100 * (outcome.predictions == truth).mean())
    assert 0 <= metrics["belief_auroc"] <= 100
    assert all(len(values) == 6 for values in history.values())


def test_scores_that_are_not_finite_end_the_run_in_those_words(backbone):
    """As where weights have grown until their products overflow, though the loss of the last batch was finite."""
    bad, good = (make_member(backbone, make_spec("coop_ce")) for _ in range(2))
    scores = bad.method.scores
    bad.method.scores = lambda *args: scores(*args) * float("nan")
    failed, outcome = train(backbone, bad, good)
    assert failed.error.startswith("NotFiniteError: the scores of the test images are not finite after epoch 0")
    assert outcome.status == "done"


@pytest.mark.parametrize(("wrong", "said"), [
    (lambda scores: scores[:, :3], "torch.float32 [100, 3] on cpu; it is [N, C] = [100, 5] of floats on cpu"),
    (lambda scores: scores.argsort(dim=1), "torch.int64 [100, 5]"),
    (lambda scores: scores.to("meta"), "on meta"),
    (lambda scores: scores.numpy(), "scores() gives ndarray; it is a tensor [N, C]"),
    (lambda scores: scores.to(torch.float8_e4m3fn), "not implemented for 'Float8_e4m3fn'"),
    (torch.Tensor.to_sparse, "sparse"),
    (lambda scores: scores * float("inf"), "the scores of the test images are not finite"),
])  # fmt: skip
@pytest.mark.parametrize("calls", [0, 3])
def test_scores_of_another_kind_are_their_runs_own_failure(backbone, wrong, said, calls):
    bad, *good = (make_member(backbone, make_spec("coop_ce", seed=seed)) for seed in (1, 2, 3))
    scores, called = bad.method.scores, []

    def later(*args):
        called.append(1)
        return wrong(scores(*args)) if len(called) > calls else scores(*args)

    bad.method.scores = later
    failed, *done = train(backbone, bad, *good)
    assert failed.status == "failed"
    assert said.lower() in failed.error.lower()
    for outcome, member in zip(done, good, strict=True):
        assert outcome.status == "done"
        assert outcome.history == train(backbone, *(make_member(backbone, member.spec) for _ in range(3)))[0].history


@pytest.mark.parametrize(("calls", "part"), [(1, "test"), (14, "test"), (15, "validation")])
def test_a_run_whose_last_scores_are_not_finite_has_failed(backbone, calls, part):
    """One that trains nothing is scored once; one that trains before that, twice in each of six evaluations, and at the end."""
    spec = make_spec("coop_ce") if calls > 1 else make_spec("zero_shot", train=None)
    bad = make_member(backbone, spec)
    scores, called = bad.method.scores, []

    def later(*args):
        called.append(1)
        return scores(*args) * (float("nan") if len(called) >= calls else 1)

    bad.method.scores = later
    (failed,) = train(backbone, bad) if calls > 1 else train_members(backbone, [bad])
    assert (failed.status, failed.error) == ("failed", f"NotFiniteError: the scores of the {part} images are not finite")


def test_scores_in_a_buffer_that_runs_share_are_each_runs_own(backbone):
    specs, buffer = [make_spec("coop_ce", seed=seed) for seed in (1, 2)], {}
    members = [make_member(backbone, spec) for spec in specs]
    for member in members:
        member.method.scores = lambda *args, of=member.method.scores: buffer.setdefault(
            len(args[1]), torch.empty(len(args[1]), 5)
        ).copy_(of(*args))
    expected = train(backbone, *(make_member(backbone, spec) for spec in specs))
    assert [outcome.history for outcome in train(backbone, *members)] == [outcome.history for outcome in expected]
    assert expected[0].history != expected[1].history


def test_where_runs_cannot_be_measured_together_each_is_alone(backbone, monkeypatch):
    """As where memory is short."""
    specs = [make_spec("coop_ce", seed=seed) for seed in (1, 2, 3)]
    expected = train(backbone, *(make_member(backbone, spec) for spec in specs))
    figures = measure._figures

    def short_of_memory(runs):
        if len(runs) > 1 or runs[0].member.spec.seed == 2:
            raise MemoryError("no more")
        return figures(runs)

    monkeypatch.setattr(measure, "_figures", short_of_memory)
    first, failed, third = train(backbone, *(make_member(backbone, spec) for spec in specs))
    assert failed.error == "MemoryError: no more"
    assert (first.history, third.history) == (expected[0].history, expected[2].history)


@pytest.mark.parametrize("at_once", [1, 3000, 10**9])
def test_runs_measured_together_are_measured_as_alone(backbone, at_once, monkeypatch):
    """Of other shots, in other precision, in steps and in none: each as in a stack of its own."""
    monkeypatch.setattr(measure, "AT_ONCE", at_once)

    def members():
        made = [make_member(backbone, make_spec(name, seed=seed)) for name in ("coop_ce", "joapr") for seed in (1, 2)]
        made.append(make_member(backbone, make_spec("gce"), make_task(zero_shot_of(backbone), shots=4)))
        made += [make_member(backbone, make_spec("coop_ce", seed=3)) for _ in range(2)]
        precise, resting = made[-2:]
        scores = precise.method.scores
        precise.method.scores = lambda *args: scores(*args).double()
        resting.method.batches = lambda epoch: [] if epoch % 2 else None
        return made

    stacked = train(backbone, *members())
    for outcome, member in zip(stacked, members(), strict=True):
        (alone,) = train(backbone, member)
        assert outcome.history.keys() == alone.history.keys()
        assert outcome.history["epoch"] == list(range(6))
        for name, values in alone.history.items():
            np.testing.assert_allclose(
                *(np.array(found, dtype=float) for found in (outcome.history[name], values)), atol=1e-2, err_msg=name
            )
    assert [loss is None for loss in stacked[-1].history["loss"]] == [False, True] * 3


def test_the_last_row_is_what_the_learned_context_scores(backbone):
    member = make_member(backbone, make_spec("coop_ce"))
    (outcome,) = train(backbone, member)
    text = TextFeatures(backbone, CLASSES, TRAIN)(torch.from_numpy(outcome.context))[0]
    test, seen = ((images @ text.T).argmax(dim=1).numpy() for images in (member.test, member.images[0]))
    data = member.data
    for name, hits in (
        ("accuracy", test == data.test_true),
        ("train_given", seen == data.given),
        ("train_true", seen == data.true),
    ):
        assert outcome.history[name][-1] == pytest.approx(100 * hits.mean()), name
    assert len({outcome.history[name][-1] for name in ("accuracy", "train_given", "train_true")}) == 3
