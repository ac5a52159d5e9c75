"""Self-adaptive training."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch
from methods.registry import register
from methods.selc import SELC


@register("sat")
class SAT(SELC):
    """Self-adaptive training: SELC's moving targets, samples weighted by their target's largest entry.  Huang et al., NeurIPS 2020.

    Paper: Self-Adaptive Training: beyond Empirical Risk Minimization (arXiv 2002.10319).
    Reference code: github.com/LayneH/self-adaptive-training
    Tuned by the authors: momentum α = .9; targets begin to move at a fixed epoch, 40 of 200 by their code's default.
    Deviations: that epoch is a fifth of the run's. It came before `selc`, which drops the weights.
    """

    title: ClassVar[str] = "SAT"

    def loss(self, batch: Batch) -> Tensor:
        """-log p_y during warm-up; then -w Σ_k t_k log p_k, [B], w = max_k t_k over its mean in the batch."""
        loss = super().loss(batch)
        if batch.epoch < self.warmup * self.task.epochs:
            return loss
        weight = self.target[batch.index].max(dim=1).values
        return loss * weight / weight.mean()
