"""Metrics on cases worked by hand."""

import numpy as np
import pytest
import torch

from bench.engine.metrics import accuracy, belief_quality, calibration_error, distance_from


def test_accuracy_is_percent():
    scores = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 3.0]])
    assert accuracy(scores, torch.tensor([0, 1, 1, 1])) == 75.0


def test_calibration_error_by_hand():
    # confidences .8 .8 .6 .6; right, wrong, right, right: bins |.5 - .8| · 2/4 + |1 - .6| · 2/4 = .35
    probabilities = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4], [0.6, 0.4]])
    assert float(calibration_error(probabilities.log(), torch.tensor([0, 1, 0, 0]))) == pytest.approx(35.0, abs=1e-4)


def test_many_runs_are_each_measured_as_alone():
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(6, 40, 5, generator=generator) * 3, torch.randint(5, (6, 40), generator=generator)
    scores[4, 7] = float("nan")  # stays in its run
    for measure in (accuracy, calibration_error):
        together = measure(scores, labels)
        torch.testing.assert_close(together, torch.stack(list(map(measure, scores, labels))), rtol=0, atol=0, equal_nan=True)
        assert len(set(together.tolist())) > 3
    assert calibration_error(scores, labels).isnan().nonzero().tolist() == [[4]]


def test_a_sure_and_right_model_is_calibrated():
    assert float(calibration_error(torch.tensor([[100.0, 0.0], [0.0, 100.0]]), torch.tensor([0, 1]))) == pytest.approx(
        0.0, abs=1e-9
    )


def test_belief_quality_by_hand():
    belief, clean = torch.tensor([0.9, 0.8, 0.7, 0.1]), np.array([True, True, False, False])
    found = belief_quality(belief, clean)
    assert found == {"belief_precision": pytest.approx(200 / 3), "belief_recall": 100.0, "belief_auroc": 100.0}


@pytest.mark.parametrize("decimals", [1, 6])
def test_auroc_is_scikit_learns_with_and_without_ties(decimals):
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    belief, clean = rng.random(200).round(decimals), rng.random(200) > 0.3
    found = belief_quality(torch.from_numpy(belief), clean)["belief_auroc"]
    assert found == pytest.approx(100 * roc_auc_score(clean, belief), rel=1e-12)


def test_belief_without_wrong_labels_or_without_belief():
    none = belief_quality(torch.zeros(3), np.array([True, True, True]))
    assert none == {"belief_precision": None, "belief_recall": 0.0, "belief_auroc": None}


def test_distance_from_the_prior_by_hand():
    prior, now = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    found = distance_from(prior.log(), now.log())
    expected = (0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)) / 2
    assert found == {"zero_shot_agreement": 50.0, "zero_shot_kl": pytest.approx(expected, abs=1e-7)}
