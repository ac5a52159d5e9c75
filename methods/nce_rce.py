"""Active passive loss: normalised and reverse cross entropy."""

import math
from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Weight
from methods.nce import normalised_ce
from methods.registry import register


@register("nce_rce")
class NCERCE(Method):
    """Active passive loss, α NCE + β RCE, with NCE = log p_y / Σ_k log p_k.  Ma et al., ICML 2020.

    Paper: Normalized Loss Functions for Deep Learning with Noisy Labels (arXiv 2006.13554).
    Reference code: github.com/HanxunH/Active-Passive-Losses
    Tuned by the authors: α = β = 1 on CIFAR-10 (the default here), α = 10, β = .1 on CIFAR-100.
    Deviations: public code also clamps p at 1e-7, which the loss does not need.
    """

    title: ClassVar[str] = "NCE+RCE"
    alpha: Weight = 1.0
    beta: Weight = 1.0

    def loss(self, batch: Batch) -> Tensor:
        """α log p_y / Σ_k log p_k + 9.21 β (1 - p_y), [B]."""
        return self.alpha * normalised_ce(batch) - self.beta * math.log(1e-4) * (1 - batch.p_y)
