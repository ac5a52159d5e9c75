"""Self-ensemble label correction."""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method, Task
from methods.kinds import Share
from methods.registry import register


@register("selc")
class SELC(Method):
    """SELC: CE to a target that moves from the given label to a running mean of the sample's own predictions.  Lu & He, IJCAI 2022.

    Paper: SELC: Self-Ensemble Label Correction Improves Learning with Noisy Labels (arXiv 2205.01156).
    Reference code: github.com/MacLLL/SELC
    Tuned by the authors: α = .9; the epoch at which targets begin to move per data set *and noise rate*, 20 to 40 of 200, an
    oracle.
    Deviations: targets begin to move after a fixed fifth of the epochs, the latest of theirs.
    """

    title: ClassVar[str] = "SELC"
    alpha: Share = 0.9
    warmup: Share = 0.2  # of the epochs

    def start(self, task: Task) -> None:
        """Targets are the given labels at first."""
        super().start(task)
        self.target = torch.nn.functional.one_hot(task.labels, task.num_classes).to(task.zero_shot)  # [N, C]

    def loss(self, batch: Batch) -> Tensor:
        """-log p_y during warm-up; then -Σ_k t_k log p_k, [B], after t ← α t + (1-α) p."""
        if batch.epoch < self.warmup * self.task.epochs:
            return -batch.log_p_y
        now = batch.log_p.detach().exp()
        self.target[batch.index] = self.alpha * self.target[batch.index] + (1 - self.alpha) * now
        return -(self.target[batch.index] * batch.log_p).sum(dim=1)

    def clean_belief(self) -> Tensor:
        """The target's share at the given label, [N]."""
        return self.target.gather(1, self.task.labels[:, None])[:, 0].clamp(0, 1)
