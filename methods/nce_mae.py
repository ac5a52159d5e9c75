"""Active passive loss: normalised cross entropy and mean absolute error."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Weight
from methods.nce import normalised_ce
from methods.registry import register


@register("nce_mae")
class NCEMAE(Method):
    """Active passive loss, α NCE + β MAE, with NCE = log p_y / Σ_k log p_k.  Ma et al., ICML 2020.

    Paper: Normalized Loss Functions for Deep Learning with Noisy Labels (arXiv 2006.13554).
    Reference code: github.com/HanxunH/Active-Passive-Losses
    Tuned by the authors: α = β = 1 on CIFAR-10 (the default here), α = 10, β = 1 on CIFAR-100.
    Deviations: MAE is 1 - p_y, half the paper's sum, as in their code.
    """

    title: ClassVar[str] = "NCE+MAE"
    alpha: Weight = 1.0
    beta: Weight = 1.0

    def loss(self, batch: Batch) -> Tensor:
        """α log p_y / Σ_k log p_k + β (1 - p_y), [B]."""
        return self.alpha * normalised_ce(batch) + self.beta * (1 - batch.p_y)
