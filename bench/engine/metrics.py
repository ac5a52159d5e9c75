"""What is measured of a run. Accuracies and errors are percent."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from torch import Tensor

BINS = 15  # of the expected calibration error, as in Guo et al., ICML 2017


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Percent of samples whose highest score [..., N, C] is at the label [..., N], per run [...]; NaN without samples."""
    return (scores.argmax(dim=-1) == labels).double().mean(dim=-1) * 100


def calibration_error(scores: Tensor, labels: Tensor) -> Tensor:
    """Expected calibration error in percent (Guo et al., ICML 2017): mean |accuracy - confidence| over bins of equal width.

    Of scores [..., N, C] and labels [..., N], per run [...], on the CPU.
    """
    confidence, predicted = scores.softmax(dim=-1).max(dim=-1)
    gap = (predicted == labels).double() - confidence.double()
    bins = (confidence * BINS).long().clamp(0, BINS - 1)  # of a run without finite scores too: its error is NaN, and it ends
    sums = torch.zeros(*gap.shape[:-1], BINS, dtype=torch.float64)
    sums.scatter_add_(-1, bins.cpu(), gap.cpu())  # a GPU adds in no fixed order
    return sums.abs().sum(dim=-1) / gap.shape[-1] * 100


def distance_from(zero_shot: Tensor, scores: Tensor) -> dict[str, float]:
    """How far a model has moved from the prior, from both models' logits [N, C].

    Returns:
        zero_shot_agreement: The percent of samples that both predict alike.
        zero_shot_kl: The mean of KL(zero-shot's probabilities, the model's), in nats.
    """
    prior, now = zero_shot.double().log_softmax(dim=1), scores.double().log_softmax(dim=1)
    return {
        "zero_shot_agreement": float((scores.argmax(dim=1) == zero_shot.argmax(dim=1)).double().mean() * 100),
        "zero_shot_kl": float(F.kl_div(now, prior, reduction="batchmean", log_target=True)),
    }


def belief_quality(belief: Tensor, clean: NDArray[np.bool_]) -> dict[str, float | None]:
    """How well a method tells clean samples: precision and recall of "clean" (belief above .5), AUROC; percent.

    None where a figure is not defined (nothing believed clean; no wrong label at all).
    """
    score = belief.detach().double().cpu().numpy()
    believed = score > 0.5
    hits = int((believed & clean).sum())
    both = clean.any() and not clean.all()
    return {
        "belief_precision": 100 * hits / int(believed.sum()) if believed.any() else None,
        "belief_recall": 100 * hits / int(clean.sum()) if clean.any() else None,
        "belief_auroc": 100 * _auroc(score, clean) if both else None,
    }


def _auroc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The chance that a positive sample's score is above a negative one's, ties counting half: Mann and Whitney's U over pairs."""
    from scipy.stats import rankdata  # noqa: PLC0415 - takes a second; only runs of methods that hold a belief need it

    pairs = int(positive.sum()) * int((~positive).sum())
    above = rankdata(score)[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(above / pairs)
