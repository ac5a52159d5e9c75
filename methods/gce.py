"""Generalised cross entropy."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import PositiveShare
from methods.registry import register


@register("gce")
class GCE(Method):
    """Generalised cross entropy, (1 - p_y^q) / q.  Zhang & Sabuncu, NeurIPS 2018.

    q → 0 is cross entropy, q = 1 is MAE. The published prompt-tuning protocol PTNL (Wu et al., ICCV 2023) is this with q = .5.

    Paper: Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels (arXiv 1805.07836).
    Reference code: none by the authors; for prompts: github.com/CEWu/PTNL
    Tuned by the authors: q = .7 for all their data sets; .5 in PTNL.
    Deviations: not the truncated variant. p_y^q is exp(q log p_y), where public code adds an epsilon to p_y.
    """

    title: ClassVar[str] = "GCE"
    q: PositiveShare = 0.7

    def loss(self, batch: Batch) -> Tensor:
        """(1 - p_y^q) / q, [B]."""
        return (1 - (self.q * batch.log_p_y).exp()) / self.q
