"""Symmetric cross entropy."""

import math
from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Weight
from methods.registry import register


@register("sce")
class SCE(Method):
    """Symmetric cross entropy, α CE + β RCE.  Wang et al., ICCV 2019.

    Paper: Symmetric Cross Entropy for Robust Learning with Noisy Labels (arXiv 1908.06112).
    Reference code: github.com/YisenWang/symmetric_cross_entropy_for_noisy_labels
    Tuned by the authors: α = .1, β = 1 on CIFAR-10 (the default here), α = 6, β = .1 on CIFAR-100; DeFT's baseline has 1 and 1.
    Deviations: public code also clamps p at 1e-7, which the loss does not need.
    """

    title: ClassVar[str] = "SCE"
    alpha: Weight = 0.1
    beta: Weight = 1.0

    def loss(self, batch: Batch) -> Tensor:
        """-α log p_y + 9.21 β (1 - p_y), [B]."""
        return -self.alpha * batch.log_p_y - self.beta * math.log(1e-4) * (1 - batch.p_y)
