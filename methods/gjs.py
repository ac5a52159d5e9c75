"""Generalised Jensen-Shannon divergence over two augmented views."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import OpenShare
from methods.registry import register


def entropy(log_m: Tensor) -> Tensor:
    """H(m) = -Σ_k m_k log m_k over the last dimension; finite where m underflows."""
    return -(log_m.exp() * log_m).sum(dim=-1)


def jensen_shannon(log_p: Tensor, labels: Tensor, pi: float) -> Tensor:
    """[H(π e_y + Σ_m (1-π)/M p_m) - Σ_m (1-π)/M H(p_m)] / Z with Z = -(1-π) log(1-π), [B].

    Args:
        log_p: Log probabilities of M views, [M, B, C].
        labels: Given labels [B].
        pi: Weight of the label.
    """
    log_mean = math.log1p(-pi) + log_p.logsumexp(dim=0) - math.log(len(log_p))
    given = labels[:, None]
    log_mixture = log_mean.scatter(1, given, torch.logaddexp(log_mean.gather(1, given), log_mean.new_tensor(math.log(pi))))
    return (entropy(log_mixture) - (1 - pi) * entropy(log_p).mean(dim=0)) / (-(1 - pi) * math.log1p(-pi))


@register("gjs")
class GJS(Method):
    """Generalised Jensen-Shannon divergence of the label and two views' predictions.  Englesson & Azizpour, NeurIPS 2021.

    Paper: Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels (arXiv 2105.04522).
    Reference code: github.com/ErikEnglesson/GJS
    Tuned by the authors: π per data set *and noise rate* (.1 to .9), an oracle; fixed at .5 here.
    Deviations: π; two cached crops instead of RandAugment and CutOut. With fewer than two views it would be `js`, and is refused.
    """

    title: ClassVar[str] = "GJS"
    views: ClassVar[int] = 2
    pi: OpenShare = 0.5

    def loss(self, batch: Batch) -> Tensor:
        """The divergence of e_y, p of view 1 and p of view 2 at weights π, (1-π)/2, (1-π)/2, over Z, [B]."""
        return jensen_shannon(batch.logits[0].log_softmax(dim=-1), batch.labels, self.pi)
