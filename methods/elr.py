"""Early-learning regularisation."""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method, Task
from methods.kinds import Share, Weight
from methods.registry import register


@register("elr")
class ELR(Method):
    """Early-learning regularisation, CE + λ log(1 - <t, p>), t a running mean of each sample's p.  Liu et al., NeurIPS 2020.

    Paper: Early-Learning Regularization Prevents Memorization of Noisy Labels (arXiv 2007.00151).
    Reference code: github.com/shengliu66/ELR
    Tuned by the authors: β = .7, λ = 3 on CIFAR-10 (the default here); β = .9, λ = 7 on CIFAR-100.
    Deviations: none. As in their code, p is clamped to [1e-4, 1 - 1e-4], so that the logarithm stays finite.
    """

    title: ClassVar[str] = "ELR"
    beta: Share = 0.7
    lam: Weight = 3.0

    def start(self, task: Task) -> None:
        """One target per training sample, zero at first."""
        super().start(task)
        self.target = task.zero_shot.new_zeros(len(task.labels), task.num_classes)  # [N, C]

    def loss(self, batch: Batch) -> Tensor:
        """-log p_y + λ log(1 - <t_i, p>), [B], after t_i ← β t_i + (1-β) p."""
        p = batch.log_p.exp().clamp(1e-4, 1 - 1e-4)
        now = p.detach() / p.detach().sum(dim=1, keepdim=True)
        self.target[batch.index] = self.beta * self.target[batch.index] + (1 - self.beta) * now
        return -batch.log_p_y + self.lam * torch.log(1 - (self.target[batch.index] * p).sum(dim=1))
